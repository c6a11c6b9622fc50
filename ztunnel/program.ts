// Reads the environment, starts the node proxy, runs until a signal. main.ts loads it.
import { printFaults } from '../core/base/index.ts';
import { type Running, runUntilSignal, systemClock, systemRandom } from '../core/runtime/index.ts';
import { createLog, createMetrics } from '../core/telemetry/index.ts';
import { readConfig, startZtunnel, type ZtunnelConfig } from './index.ts';
import { RevocationFile } from './revocation-file.ts';
import { connectWire } from './wire.ts';

const { config } = readConfig(process.env);
if (!config.ok) {
  process.stderr.write(`ztunnel: bad configuration: ${printFaults(config.faults)}\n`);
  process.exit(1);
}
const { logLevel, logFormat, logLossless: lossless, drainMs } = config.value;
const log = createLog('ztunnel', { level: logLevel, format: logFormat, lossless });
log.info('configuration', { ...config.value });
await runUntilSignal(log, () => start(config.value), drainMs + 2_000);

async function start(options: ZtunnelConfig): Promise<Running> {
  const metrics = createMetrics();
  const base = { clock: systemClock, random: systemRandom, log, metrics };
  const wire = connectWire(options, base);
  const crl = new RevocationFile(options.crlPath, {
    clock: systemClock,
    log: log.child('certs'),
    changed: () => ztunnel?.recheck(),
  });
  let ztunnel: Awaited<ReturnType<typeof startZtunnel>> | undefined;
  if (options.crlPath !== '') await crl.start();
  ztunnel = await startZtunnel(options, {
    ...base,
    feed: wire.feed,
    ca: wire.ca,
    revocations: () => crl.current,
    fatal: (why) => {
      log.error('the node agent broke the rules of ZDS', { error: why });
      process.exit(1);
    },
    quit: () => process.kill(process.pid, 'SIGTERM'),
  });
  const running = ztunnel;
  return {
    async stop() {
      await running.stop({ graceMs: options.drainMs });
      crl.stop();
      wire.stop();
    },
  };
}
