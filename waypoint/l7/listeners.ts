// What an ingress gateway listens on, prepared: routes by host name, certificates by SNI. The most specific listener
// and then the most specific host of it are taken; nothing falls through to a wider one (waypoint-l7.md 3.3, rule 1).
import type { EdgeCertificate } from '../../certs/index.ts';
import { bestHost, hostOf, type NamespacedHost, namespacedHost } from '../../core/model/index.ts';
import { L7ListenerProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { RequestHead } from '../http/exchange.ts';
import { defaultCluster } from './cluster.ts';
import type { CompiledPort } from './compile.ts';
import type { CompileContext } from './faults.ts';
import type { Caller, Meter } from './match.ts';
import { compileNamed, type NamedTcp } from './tcp-routes.ts';
import { type CompiledRule, compileTable, type RouteTable } from './routes.ts';

export type ListenerKind = 'http' | 'https' | 'tcp' | 'tls';

export interface CompiledListener {
  readonly name: string;
  /** Empty = any. */
  readonly hostname: string;
  /** None = TLS is not ended here. The same list as long as nothing of it changes. */
  readonly certificates: readonly EdgeCertificate[];
  readonly port: CompiledPort;
  /** By SNI; of TCP and TLS. */
  readonly connections: readonly NamedTcp[];
}

/** All listeners of one port. */
export interface CompiledBind {
  readonly bindPort: number;
  readonly port: number;
  readonly kind: ListenerKind;
  readonly listeners: readonly CompiledListener[];
  /** Of plain HTTP: the listener is chosen by each request's host. */
  readonly shared: CompiledPort;
}

export const noRoutes: RouteTable = { find: () => undefined };

type Find = RouteTable['find'];

class HostTable implements RouteTable {
  readonly #hosts: readonly { readonly hostname: string; readonly find: Find }[];

  constructor(hosts: readonly { readonly hostname: string; readonly find: Find }[]) {
    this.#hosts = hosts;
  }

  find(head: RequestHead, caller: Caller, meter?: Meter): CompiledRule | undefined {
    const found = bestHost(this.#hosts, hostOf(head.authority), (h) => h.hostname);
    return found?.find(head, caller, meter);
  }
}

const kinds: Readonly<Record<number, ListenerKind>> = {
  [L7ListenerProtocol.LISTEN_HTTP]: 'http',
  [L7ListenerProtocol.LISTEN_HTTPS]: 'https',
  [L7ListenerProtocol.LISTEN_TCP]: 'tcp',
  [L7ListenerProtocol.LISTEN_TLS]: 'tls',
};

function portOf(key: NamespacedHost, port: number, routes: RouteTable | undefined): CompiledPort {
  return {
    port,
    protocol: routes ? 'http' : 'tcp',
    cluster: defaultCluster(key, port, ''),
    routes,
    consumers: new Map(),
    tcp: undefined,
    tls: [],
  };
}

function certificatesOf(
  l: wire.L7Listener,
  before: readonly CompiledListener[],
): readonly EdgeCertificate[] {
  const first = l.certificates === '' ? [] : [l];
  const now = [...first, ...l.moreCertificates].map(({ certificates, privateKey }) => ({
    certificates,
    privateKey,
  }));
  const last = before.find((b) => b.name === l.name)?.certificates ?? [];
  return JSON.stringify(last) === JSON.stringify(now) ? last : now;
}

function compileListener(
  l: wire.L7Listener,
  kind: ListenerKind,
  key: NamespacedHost,
  c: CompileContext,
  before: readonly CompiledListener[],
): CompiledListener {
  const hosts = l.hosts.map((h) => {
    const table = compileTable(h.routes ?? { rules: [], entries: [] }, c);
    const find: Find = (head, caller, meter) => table.find(head, caller, meter);
    return { hostname: h.hostname, find };
  });
  const http = kind === 'http' || kind === 'https';
  return {
    name: l.name,
    hostname: l.hostname,
    certificates: certificatesOf(l, before),
    port: portOf(key, l.port, http ? new HostTable(hosts) : undefined),
    connections: compileNamed(l.connections, c),
  };
}

/** `binds` is what held before. */
export function compileListeners(
  s: wire.L7ServiceConfig,
  c: CompileContext,
  binds: readonly CompiledBind[],
): CompiledBind[] {
  const before = binds.flatMap((b) => b.listeners);
  const key = namespacedHost(s.namespace, s.hostname);
  const byPort = Map.groupBy(s.listeners, (l) => l.bindPort);
  return [...byPort].flatMap(([bindPort, listeners]): CompiledBind[] => {
    const [first] = listeners;
    const kind = first && kinds[first.protocol];
    if (!first || !kind || listeners.some((l) => l.protocol !== first.protocol)) {
      c.faults.add(`listeners of port ${bindPort} do not agree on their protocol`);
      return [];
    }
    const made = listeners.map((l) => compileListener(l, kind, key, c, before));
    const shared = new HostTable(
      made.map((l) => ({
        hostname: l.hostname,
        find: (head, caller, meter) => l.port.routes?.find(head, caller, meter),
      })),
    );
    return [
      {
        bindPort,
        port: first.port,
        kind,
        listeners: made,
        shared: portOf(key, first.port, shared),
      },
    ];
  });
}
