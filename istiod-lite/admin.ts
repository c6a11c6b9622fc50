// Readiness, metrics and debug pages of the control plane. They show names and revisions, no secrets; names only to
// those on the same machine (K8).
import {
  type OpsAnswer,
  type OpsHandler,
  packageVersion,
  type Readiness,
} from '../core/runtime/index.ts';
import { addressType, authorizationType, type Snapshots } from '../core/xds/index.ts';
import type { IstiodMetrics } from './metrics.ts';
import type { XdsServer } from './xds/serve.ts';

const json = (value: unknown): OpsAnswer => ({
  status: 200,
  type: 'application/json',
  body: `${JSON.stringify(value, null, 2)}\n`,
});

export function debugRoutes(d: {
  snapshots: Snapshots;
  xds: XdsServer;
  metrics: IstiodMetrics;
}): Map<string, OpsHandler> {
  const metrics: OpsHandler = async ({ headers }) => {
    const { type, body } = await d.metrics.registry.render(headers.accept);
    return { status: 200, type, body };
  };
  return new Map<string, OpsHandler>([
    ['GET /metrics', metrics],
    ['GET /stats/prometheus', metrics],
    [
      'GET /debug/syncz',
      ({ local }) => {
        const clients = d.xds.status();
        const synced = clients.every((c) => c.synced);
        return json({ revision: d.snapshots.revision, synced, ...(local && { clients }) });
      },
    ],
    [
      'GET /debug/resources',
      ({ local }) => {
        if (!local) return { status: 403, body: 'only served to local peers\n' };
        return json(
          Object.fromEntries(
            [addressType, authorizationType].map((type) => [
              type,
              [...(d.snapshots.type(type)?.entries() ?? [])].map((e) => ({
                name: e.name,
                version: e.version,
                bytes: e.bytes.length,
              })),
            ]),
          ),
        );
      },
    ],
    ['GET /version', () => json({ name: 'istiod-lite', version: packageVersion() })],
  ]);
}

export function httpRoutes(
  readiness: Readiness,
  debug: Map<string, OpsHandler>,
): Map<string, OpsHandler> {
  return new Map<string, OpsHandler>([
    ...debug,
    [
      'GET /ready',
      () =>
        readiness.ready
          ? { status: 200, body: 'ready\n' }
          : { status: 503, body: `not ready, pending: ${readiness.pending.join(', ')}\n` },
    ],
  ]);
}
