// Reads the environment, starts the waypoint, runs until a signal.
import { printCidr, printFaults } from '../core/base/index.ts';
import { type Running, runUntilSignal, systemClock, systemRandom } from '../core/runtime/index.ts';
import { createLog, createMetrics } from '../core/telemetry/index.ts';
import { readConfig, startWaypoint, type WaypointConfig } from './index.ts';
import { connectWire } from './wire.ts';

const { config } = readConfig(process.env);
if (!config.ok) {
  process.stderr.write(`waypoint: bad configuration: ${printFaults(config.faults)}\n`);
  process.exit(1);
}
const { logLevel, logFormat, logLossless: lossless, drainMs, names } = config.value;
const log = createLog('waypoint', { level: logLevel, format: logFormat, lossless });
const blocked = names.blocked.map(printCidr);
log.info('configuration', { ...config.value, names: { ...names, blocked } });
await runUntilSignal(log, () => start(config.value), drainMs + 2_000);

async function start(options: WaypointConfig): Promise<Running> {
  const base = { clock: systemClock, random: systemRandom, log };
  const wire = connectWire(options, base);
  const waypoint = await startWaypoint(options, {
    ...base,
    feed: wire.feed,
    services: wire.services,
    ca: wire.ca,
    metrics: createMetrics(),
    quit: () => process.kill(process.pid, 'SIGTERM'),
  });
  return {
    async stop() {
      await waypoint.stop({ graceMs: options.drainMs });
      wire.stop();
    },
  };
}
