// Servers outside the mesh: TLS as a DestinationRule asks for it, names that are resolved when they are dialled
// (waypoint-l7.md 11).
import { lookup } from 'node:dns/promises';
import type { Duplex } from 'node:stream';
import { originateTls } from '../../certs/index.ts';
import { type Clock, type IpAddress, MeshError, parseIp } from '../../core/base/index.ts';
import { hostOf } from '../../core/model/index.ts';
import type { Cluster } from '../l7/cluster.ts';

/** What a server is asked for by name; empty = no TLS of ours. */
export function serverNameFor(c: Cluster, authority: string): string {
  const { tls } = c.policy;
  return tls ? tls.sni || hostOf(authority) : '';
}

/** Whether a caller's Host decides which connection it needs: then callers decide how many there are. */
export const callersName = (c: Cluster): boolean =>
  c.name !== undefined || c.policy.tls?.sni === '';

/** The stream as it is, or with TLS inside. Rejects with TLS_FAILED; the stream is then destroyed. */
export async function withOutsideTls(
  stream: Duplex,
  c: Cluster,
  authority: string,
  alpn: readonly string[],
  clock: Clock,
): Promise<Duplex> {
  const { tls } = c.policy;
  if (!tls) return stream;
  if (tls.fault !== '') {
    stream.destroy();
    throw new MeshError('TLS_FAILED', { detail: tls.fault });
  }
  const { connectTimeoutMs: ms } = c.policy;
  const how = ms > 0 ? { clock, handshakeMs: ms } : { clock };
  return originateTls(stream, { ...tls, sni: serverNameFor(c, authority) }, alpn, how);
}

/** Rejects with DIAL_REFUSED. */
export async function resolveHost(host: string): Promise<IpAddress> {
  try {
    const [first] = await lookup(host, { all: true, verbatim: true });
    const ip = parseIp(first?.address ?? '');
    if (ip) return ip;
  } catch (cause) {
    throw new MeshError('DIAL_REFUSED', { detail: `cannot resolve ${host}`, cause });
  }
  throw new MeshError('DIAL_REFUSED', { detail: `${host} has no address` });
}
