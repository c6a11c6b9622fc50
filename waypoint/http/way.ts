// Where one request goes: the backend by weight or by session, the protocol, what is changed for that backend, what
// it is hashed by. Decided once per request; the endpoint is chosen per try.
import { xxh64 } from '../balance/hash.ts';
import type { Workload, WorkloadUid } from '../../core/model/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { WaypointContext } from '../context.ts';
import type { Backend } from '../l7/backend.ts';
import type { Cluster } from '../l7/cluster.ts';
import { forName } from '../l7/wildcard.ts';
import { cookieOf, hashOf } from '../upstream/hash-key.ts';
import { clusterEndpoints, pickBackend } from '../upstream/pick.ts';
import {
  type Exchange,
  headerOf,
  type HeaderList,
  type LocalReply,
  type RequestHead,
} from './exchange.ts';
import { changeHeaders, changeRequest, redirect, rewrite } from './filters.ts';
import { reply } from './local-reply.ts';

export interface Way {
  readonly cluster: Cluster;
  readonly protocol: 'http' | 'http2';
  readonly head: RequestHead;
  readonly change: (headers: HeaderList) => HeaderList;
  readonly hash: bigint | undefined;
  /** A cookie made for the hash. */
  readonly setCookie: string | undefined;
  readonly pinned: ((uid: WorkloadUid) => boolean) | undefined;
  /** What the answer tells the caller about where it went. */
  readonly sessionHeader: (endpoint: Workload) => readonly [string, string] | undefined;
}

const lost: Readonly<Record<500 | 503, LocalReply>> = {
  500: reply(500, '', 'NC', 'cluster_not_found', { grpcStatus: 14 }),
  503: reply(503, '', 'NC', 'cluster_not_found', { grpcStatus: 14 }),
};

export function protocolOf(
  declared: Backend['protocol'],
  head: RequestHead,
  cluster: Cluster,
): 'http' | 'http2' {
  if (head.upgrade !== undefined) return 'http';
  if (declared === 'http2') return 'http2';
  const { upgradeH2, useClientProtocol } = cluster.policy;
  if (declared === 'detect' || useClientProtocol) return head.version === '2' ? 'http2' : 'http';
  return upgradeH2 ? 'http2' : 'http';
}

const idCache = new WeakMap<Workload, Map<string, string>>();

/** Stands for an endpoint towards the caller: no address is told. */
function endpointId(cluster: Cluster, w: Workload): string {
  const known = idCache.get(w) ?? new Map<string, string>();
  idCache.set(w, known);
  const id = known.get(cluster.key) ?? xxh64(`${cluster.key}|${w.uid}`).toString(36);
  known.set(cluster.key, id);
  return id;
}

/** `id.seconds`: the endpoint, and since when (waypoint-l7.md 3.7). */
function readToken(
  s: wire.L7Session,
  head: RequestHead,
  nowMs: number,
): { readonly id: string; readonly sinceMs: number } | undefined {
  const text =
    s.header === '' ? cookieOf(head.headers, s.cookie) : headerOf(head.headers, s.header);
  const m = /^([0-9a-z]{1,16})\.([0-9a-z]{1,10})$/.exec(text ?? '');
  if (!m) return undefined;
  const sinceMs = Number.parseInt(m[2] ?? '', 36) * 1000;
  const tooOld = s.absoluteTimeoutMs > 0 && nowMs - sinceMs > s.absoluteTimeoutMs;
  return tooOld || sinceMs > nowMs + 60_000 ? undefined : { id: m[1] ?? '', sinceMs };
}

function printToken(s: wire.L7Session, id: string, sinceMs: number): readonly [string, string] {
  const value = `${id}.${Math.floor(sinceMs / 1000).toString(36)}`;
  if (s.header !== '') return [s.header, value];
  const age = Math.round(s.absoluteTimeoutMs / 1000);
  const life = s.permanent && age > 0 ? `; Max-Age=${age}` : '';
  return ['set-cookie', `${s.cookie}="${value}"${life}; Path=${s.path || '/'}; HttpOnly`];
}

interface Pinned {
  readonly backend: Backend;
  readonly uid: WorkloadUid;
}

function pinnedTo(ctx: WaypointContext, all: readonly Backend[], id: string): Pinned | undefined {
  for (const backend of all) {
    if (backend.invalid !== false) continue;
    const found = clusterEndpoints(ctx, backend.cluster).find(
      (l) => l.healthy && endpointId(backend.cluster, l.workload) === id,
    );
    if (found) return { backend, uid: found.workload.uid };
  }
  return undefined;
}

/** By filters of the backend, after those of the rule. */
function changed(head: RequestHead, b: Backend, prefix: string): RequestHead {
  const after = b.requestHeaders ? changeRequest(head, b.requestHeaders) : head;
  return b.rewrite ? rewrite(after, prefix, b.rewrite) : after;
}

export function wayOf(ctx: WaypointContext, x: Exchange): Way | LocalReply {
  const { rule, connection: c } = x;
  const session = rule?.session;
  const now = ctx.clock.now();
  const token = session && readToken(session, x.head, now);
  const pin = rule && token ? pinnedTo(ctx, rule.backends, token.id) : undefined;
  const backend = rule && (pin?.backend ?? pickBackend(ctx, rule.backends));
  if (rule && (!backend || backend.invalid !== false)) return lost[backend?.invalid || 500];
  const cluster = forName(ctx.view, backend?.cluster ?? c.port.cluster, x.head.authority);
  if (!cluster) return lost[503];
  const declared = backend?.protocol ?? c.port.protocol;
  if (rule && backend?.redirect) {
    return redirect(x.head, rule.prefix, backend.redirect, c.target.port, c.edge?.scheme);
  }
  const { responseHeaders } = backend ?? {};
  const head = backend ? changed(x.upstream, backend, rule?.prefix ?? '') : x.upstream;
  const source = cluster.policy.hash;
  const hashed = source && hashOf(source, x.head, c.source.ip, ctx.random);
  return {
    cluster,
    protocol: protocolOf(declared, x.upstream, cluster),
    head,
    change: (h) => (responseHeaders ? changeHeaders(h, responseHeaders) : h),
    hash: hashed?.hash,
    setCookie: hashed?.setCookie,
    pinned: pin && ((uid) => uid === pin.uid),
    sessionHeader(endpoint) {
      if (!session) return undefined;
      const id = endpointId(cluster, endpoint);
      // A cookie the caller has already is not sent again.
      if (token?.id === id)
        return session.header === '' ? undefined : printToken(session, id, token.sinceMs);
      return printToken(session, id, now);
    },
  };
}
