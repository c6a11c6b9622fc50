// Reads the environment, starts the node agent, runs until a signal.
import { printFaults } from '../core/base/index.ts';
import { connectKube } from '../core/kube/index.ts';
import { namespacesAvailable, netToolsAvailable } from '../core/linux/index.ts';
import {
  type Running,
  runUntilSignal,
  serveOps,
  systemClock,
  systemRandom,
} from '../core/runtime/index.ts';
import { createLog } from '../core/telemetry/index.ts';
import { type NodeAgentConfig, NodeAgent, procFinder, readConfig, recordFinder } from './index.ts';

const { config } = readConfig(process.env);
if (!config.ok) {
  process.stderr.write(`node-agent: bad configuration: ${printFaults(config.faults)}\n`);
  process.exit(1);
}
const { logLevel, logFormat, logLossless: lossless } = config.value;
const log = createLog('node-agent', { level: logLevel, format: logFormat, lossless });
await runUntilSignal(log, () => start(config.value), 5_000);

async function start(options: NodeAgentConfig): Promise<Running> {
  for (const available of [netToolsAvailable(), namespacesAvailable()]) {
    if (!available.ok) throw new Error(available.reason);
  }
  const kube = await connectKube({
    kubeconfig: options.kubeconfig,
    clock: systemClock,
    random: systemRandom,
    log: log.child('kube'),
  });
  const agent = new NodeAgent(options, {
    kube,
    finder:
      options.netnsRecords === ''
        ? procFinder(options.procPath)
        : recordFinder(options.netnsRecords),
    clock: systemClock,
    random: systemRandom,
    log,
    ready: (is) => log.info(is ? 'pods can join' : 'no ztunnel is connected', {}),
  });
  await agent.start();
  // Ready when it can be used, not when ztunnel is there: ztunnel may be waiting for us.
  const ops = await serveOps({
    ...options.readiness,
    routes: new Map([
      ['GET /healthz', () => ({ status: 200, body: 'ok\n' })],
      ['GET /readyz', () => ({ status: 200, body: 'ok\n' })],
    ]),
    log,
  });
  log.info('node agent started', { node: options.nodeName });
  return {
    async stop() {
      await agent.stop();
      await ops.stop();
    },
  };
}
