// How a connection to an application begins, where a DestinationRule says so: a PROXY header first, then TLS of the
// waypoint's own (waypoint-l7.md 1.5, 5.3).
import type { Duplex } from 'node:stream';
import { type Clock, type IpPort, printIpPort, proxyHeader } from '../../core/base/index.ts';
import type { Cluster } from '../l7/cluster.ts';
import { withOutsideTls } from './outside.ts';
import type { Endpoint } from './tunnels.ts';

export interface Meant {
  readonly cluster: Cluster;
  readonly endpoint: Endpoint;
  readonly client: IpPort;
  /** Where the caller wanted to go; absent = to that very endpoint. */
  readonly target?: IpPort | undefined;
}

/** `authority` names the server where the rule does not. Rejects with TLS_FAILED; the stream is then destroyed. */
export function begin(
  stream: Duplex,
  m: Meant,
  authority: string,
  alpn: readonly string[],
  clock: Clock,
): Promise<Duplex> {
  // A waypoint on the way does for its service what is asked here.
  if (m.endpoint.via) return Promise.resolve(stream);
  const { header } = m.cluster.policy.connection;
  const print = header === 'V1' ? proxyHeader.printV1 : proxyHeader.printV2;
  if (header !== undefined) stream.write(print(m.client, targetOf(m)));
  return withOutsideTls(stream, m.cluster, authority, alpn, clock);
}

const targetOf = ({ target, endpoint: e }: Meant): IpPort =>
  target ?? { ip: e.address, port: e.port };

/** For whom alone such a connection is; empty = for anybody. */
export function boundTo(m: Meant): string {
  const { header } = m.cluster.policy.connection;
  if (header === undefined) return '';
  return `${header} ${printIpPort(m.client)} ${printIpPort(targetOf(m))}`;
}

const boundIdleMs = 15_000;

/** 0 = the default. What one caller alone may use is not kept for long. */
export function idleMsOf({ policy }: Cluster): number {
  if (policy.connection.header === undefined) return policy.idleMs;
  return Math.min(policy.idleMs || boundIdleMs, boundIdleMs);
}
