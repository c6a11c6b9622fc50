// Reads the environment, starts the control plane, runs until a signal.
import { printFaults } from '../core/base/index.ts';
import { connectKube } from '../core/kube/index.ts';
import { runUntilSignal, systemClock, systemRandom } from '../core/runtime/index.ts';
import { createLog } from '../core/telemetry/index.ts';
import { readConfig, startIstiodLite } from './index.ts';

const config = readConfig(process.env);
if (!config.ok) {
  process.stderr.write(`istiod-lite: bad configuration: ${printFaults(config.faults)}\n`);
  process.exit(1);
}
const { logLevel, logFormat, logLossless: lossless, kubeconfig } = config.value;
const log = createLog('istiod', { level: logLevel, format: logFormat, lossless });
log.info('configuration', { ...config.value });
await runUntilSignal(
  log,
  async () => {
    const kube = await connectKube({
      kubeconfig,
      clock: systemClock,
      random: systemRandom,
      log: log.child('kube'),
    });
    return startIstiodLite(config.value, { kube, clock: systemClock, log });
  },
  5_000,
);
