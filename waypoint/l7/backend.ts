// Where a route sends to, prepared.
import { namespacedHost } from '../../core/model/index.ts';
import { L7PortProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Cluster } from './cluster.ts';
import type { CompileContext } from './faults.ts';

export type PortClass = 'detect' | 'http' | 'http2' | 'tcp';

export interface Backend {
  readonly cluster: Cluster;
  readonly weight: number;
  /** Leads nowhere: answered 500, or 503 where only the subset is missing. */
  readonly invalid: false | 500 | 503;
  readonly protocol: PortClass;
  readonly requestHeaders: wire.L7HeaderChange | undefined;
  readonly responseHeaders: wire.L7HeaderChange | undefined;
  readonly rewrite: wire.L7Rewrite | undefined;
  readonly redirect: wire.L7Redirect | undefined;
}

const classes: Record<number, PortClass> = {
  [L7PortProtocol.DETECT]: 'detect',
  [L7PortProtocol.HTTP]: 'http',
  [L7PortProtocol.HTTP2]: 'http2',
  [L7PortProtocol.TCP]: 'tcp',
};

export const classOf = (protocol: number): PortClass => classes[protocol] ?? 'detect';

export function compileBackend(b: wire.L7RouteBackend, c: CompileContext): Backend {
  return {
    cluster: c.cluster(namespacedHost(b.namespace, b.hostname), b.port, b.subset),
    weight: b.weight,
    invalid: b.invalid ? 500 : b.noCluster ? 503 : false,
    protocol: classOf(b.protocol),
    requestHeaders: b.requestHeaders ?? undefined,
    responseHeaders: b.responseHeaders ?? undefined,
    rewrite: b.rewrite ?? undefined,
    redirect: b.redirect ?? undefined,
  };
}
