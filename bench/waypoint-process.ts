// A waypoint in a process of its own, so that its CPU is its own: CA material, mesh and configuration come from the
// parent over IPC.
import { type CaMaterial, loadCa, localCaClient } from '../certs/index.ts';
import type { Service, Workload } from '../core/model/index.ts';
import type * as wire from '../core/proto/index.ts';
import { type Draft, encode } from '../core/rpc/index.ts';
import { systemClock, systemRandom } from '../core/runtime/index.ts';
import { createLog, createMetrics } from '../core/telemetry/index.ts';
import { MeshFeed } from '../core/xds/index.ts';
import { readConfig, ServiceConfigs, startWaypoint } from '../waypoint/index.ts';

export interface WaypointSetup {
  readonly ca: CaMaterial;
  readonly ip: string;
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  readonly configs: readonly Draft<wire.L7ServiceConfig>[];
}

async function start(setup: WaypointSetup): Promise<void> {
  const log = createLog('waypoint', { level: 'warn' });
  const feed = new MeshFeed(log);
  feed.apply({ workloads: setup.workloads, services: setup.services });
  const services = new ServiceConfigs();
  const { config } = readConfig({
    BIND_ADDRESS: setup.ip,
    INSTANCE_IP: setup.ip,
    POD_NAMESPACE: 'shop',
    POD_NAME: 'waypoint-1',
    ADMIN_PORT: '0',
    STATS_ADDRESS: '127.0.0.1',
    STATS_PORT: '0',
    READINESS_ADDRESS: '127.0.0.1',
    READINESS_PORT: '0',
  });
  if (!config.ok) throw new Error('configuration');
  const resources = setup.configs.map((c) => ({
    name: `${c.namespace ?? ''}/${c.hostname ?? ''}`,
    bytes: encode('ambientlite.waypoint.v1.ServiceConfig', c),
  }));
  const bad = services.apply(resources, []);
  if (bad.length > 0) throw new Error(JSON.stringify(bad));
  const waypoint = await startWaypoint(config.value, {
    feed,
    services,
    ca: localCaClient(loadCa(setup.ca, { clock: systemClock })),
    clock: systemClock,
    random: systemRandom,
    log,
    metrics: createMetrics(),
  });
  feed.markSynced();
  await waypoint.ready;
  process.once('disconnect', () => {
    void waypoint.stop({ graceMs: 0 }).finally(() => process.exit(0));
  });
}

process.on('message', (message: WaypointSetup | 'usage') => {
  if (message === 'usage') {
    const { user, system } = process.cpuUsage();
    process.send?.({ cpuMicros: user + system, rssBytes: process.memoryUsage().rss });
    return;
  }
  start(message).then(
    () => process.send?.('ready'),
    (error: unknown) => {
      process.stderr.write(`bench waypoint: ${String(error)}\n`);
      process.exit(1);
    },
  );
});
