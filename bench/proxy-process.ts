// A ztunnel in a process of its own, so that its CPU and memory are its own: CA material and mesh come from
// the parent over IPC, the pod over a node agent in the same process.
import { type CaMaterial, loadCa, localCaClient } from '../certs/index.ts';
import type { Service, Workload } from '../core/model/index.ts';
import { systemClock, systemRandom } from '../core/runtime/index.ts';
import { createLog, createMetrics } from '../core/telemetry/index.ts';
import { MeshFeed } from '../core/xds/index.ts';
import { startNodeAgent } from '../test/kit/index.ts';
import { readConfig, startZtunnel } from '../ztunnel/index.ts';

export interface ProxySetup {
  readonly ca: CaMaterial;
  readonly workloads: readonly Workload[];
  readonly services?: readonly Service[];
  /** Uid of the pod this proxy serves. */
  readonly pod: string;
}

export interface ProxyUsage {
  readonly cpuMicros: number;
  readonly rssBytes: number;
}

async function start(setup: ProxySetup): Promise<void> {
  const agent = await startNodeAgent();
  const log = createLog('ztunnel', { level: 'warn' });
  const feed = new MeshFeed(log);
  feed.apply({ workloads: setup.workloads, services: setup.services ?? [] });
  const { config } = readConfig({
    PROXY_MODE: 'addressed',
    INPOD_UDS: agent.path,
    ADMIN_PORT: '0',
    STATS_ADDRESS: '127.0.0.1',
    STATS_PORT: '0',
    READINESS_ADDRESS: '127.0.0.1',
    READINESS_PORT: '0',
  });
  if (!config.ok) throw new Error('configuration');
  const ztunnel = await startZtunnel(config.value, {
    feed,
    ca: localCaClient(loadCa(setup.ca, { clock: systemClock })),
    clock: systemClock,
    random: systemRandom,
    log,
    metrics: createMetrics(),
  });
  feed.markSynced();
  await agent.snapshot();
  const pod = setup.workloads.find((w) => w.uid === setup.pod);
  if (!pod) throw new Error('no such pod');
  const { uid, name, namespace, serviceAccount, addresses } = pod;
  const error = await agent.add({ uid, name, namespace, serviceAccount, addresses });
  if (error !== '') throw new Error(error);
  process.once('disconnect', () => {
    void Promise.all([ztunnel.stop({ graceMs: 0 }), agent.stop()]).finally(() => process.exit(0));
  });
}

process.on('message', (message: ProxySetup | 'usage') => {
  if (message === 'usage') {
    const { user, system } = process.cpuUsage();
    const usage: ProxyUsage = { cpuMicros: user + system, rssBytes: process.memoryUsage().rss };
    process.send?.(usage);
    return;
  }
  start(message).then(
    () => process.send?.('ready'),
    (error: unknown) => {
      process.stderr.write(`bench proxy: ${String(error)}\n`);
      process.exit(1);
    },
  );
});
