// Where plugins stand on a request's way: one message per plugin and phase, in the order of the configuration, answers in
// the opposite order. A plugin that gives no usable answer ends the request, or is passed over, as its failure mode says.
import type { WaypointContext } from '../context.ts';
import type { WorkloadUid } from '../../core/model/index.ts';
import { printable } from '../../core/base/index.ts';
import {
  applyEdits,
  type Hook,
  type HookAnswer,
  type PluginContext,
  type PluginEndpoint,
  type PluginLogEntry,
  type PluginRequest,
  type PluginSpec,
  type Refusal,
} from '../plugins/index.ts';
import { clusterEndpoints } from '../upstream/pick.ts';
import {
  type Exchange,
  headerOf,
  type LocalReply,
  type RequestHead,
  type ResponseHead,
} from './exchange.ts';
import { reply } from './local-reply.ts';
import type { Way } from './way.ts';

/** Endpoints that a plugin chooses from; of more, these. */
const maxEndpoints = 200;

/** Files of the waypoint first, then what the service has; `undefined` = none. */
export function pluginsOf(ctx: WaypointContext, x: Exchange): readonly PluginSpec[] | undefined {
  const own = x.connection.service.plugins;
  const { all } = ctx.pluginFiles;
  return all.length === 0 ? own : [...all, ...(own ?? [])];
}

const told = (h: RequestHead): PluginRequest => ({
  method: h.method,
  path: h.path,
  query: h.query,
  authority: h.authority,
  headers: h.headers,
});

function contextOf(x: Exchange, plugin: string): PluginContext {
  const { peer, source, sourceWorkload, service, target } = x.connection;
  return {
    plugin,
    source: {
      identity: peer.id ?? '',
      namespace: peer.identity?.namespace ?? '',
      serviceAccount: peer.identity?.serviceAccount ?? '',
      workload: sourceWorkload?.name ?? '',
      address: source.ip,
    },
    ...(x.user && {
      user: { issuer: x.user.issuer, subject: x.user.subject, claims: x.user.claims },
    }),
    service: { namespace: service.namespace, hostname: service.hostname, port: target.port },
    route: x.outcome.route,
    requestId: headerOf(x.head.headers, 'x-request-id') ?? '',
    authorizer: x.metadata,
  };
}

function count(ctx: WaypointContext, plugin: string, hook: Hook, outcome: string): void {
  ctx.reports.metrics.pluginCalls.add({ plugin, hook, outcome });
}

/** The reply of a plugin that fails closed; `undefined` = go on without it. */
function failed(
  ctx: WaypointContext,
  s: PluginSpec,
  hook: Hook,
  why: string,
): LocalReply | undefined {
  count(ctx, s.name, hook, s.failOpen ? 'failed-open' : 'failed-closed');
  if (ctx.sideCalls.mayLog(`plugin ${s.name}`, ctx.clock.monotonic())) {
    const fields = { plugin: s.name, hook, why: printable(why, 300), passedOver: s.failOpen };
    ctx.log.warn('plugin gave no answer', fields);
  }
  if (s.failOpen) return undefined;
  return reply(500, '', '-', 'plugin_error', { reason: 'PLUGIN_FAILED', policy: s.name });
}

/** Asks one; `undefined` = it has no such hook, or is passed over. */
async function ask(
  ctx: WaypointContext,
  s: PluginSpec,
  hook: Hook,
  args: readonly unknown[],
): Promise<HookAnswer | { readonly kind: 'failed'; readonly reply: LocalReply } | undefined> {
  const answer = await ctx.plugins.call(s, hook, args);
  if (answer === undefined) return undefined;
  if (typeof answer !== 'string') {
    count(ctx, s.name, hook, answer.kind === 'reply' ? 'replied' : 'ok');
    return answer;
  }
  const refusal = failed(ctx, s, hook, answer);
  return refusal && { kind: 'failed', reply: refusal };
}

function refused(s: PluginSpec, r: Refusal): LocalReply {
  const { status, body, headers } = r;
  const type = headers.find(([n]) => n === 'content-type')?.[1];
  return reply(status, body, '-', 'plugin_reply', {
    headers: headers.filter(([n]) => n !== 'content-type'),
    ...(type !== undefined && { type }),
    ...(status >= 400 && { reason: 'PLUGIN_DENIED' }),
    policy: s.name,
  });
}

const left = reply(503, '', 'DC', 'downstream_remote_disconnect');

/** A phase: may refuse what policies have allowed. */
export async function pluginsAuthorize(
  ctx: WaypointContext,
  x: Exchange,
  all: readonly PluginSpec[],
): Promise<LocalReply | undefined> {
  for (const s of all) {
    const answer = await ask(ctx, s, 'authorize', [told(x.head), contextOf(x, s.name)]);
    if (x.down.gone.aborted) return left;
    if (answer?.kind === 'failed') return answer.reply;
    if (answer?.kind === 'reply') return refused(s, answer.reply);
  }
  return undefined;
}

/** A phase: changes what goes upstream, or answers. */
export async function pluginsOnRequest(
  ctx: WaypointContext,
  x: Exchange,
  all: readonly PluginSpec[],
): Promise<LocalReply | undefined> {
  for (const s of all) {
    const answer = await ask(ctx, s, 'onRequest', [told(x.upstream), contextOf(x, s.name)]);
    if (x.down.gone.aborted) return left;
    if (answer?.kind === 'failed') return answer.reply;
    if (answer?.kind === 'reply') return refused(s, answer.reply);
    if (answer?.kind === 'edits') {
      x.upstream = { ...x.upstream, headers: applyEdits(x.upstream.headers, answer.edits) };
    }
  }
  return undefined;
}

/** The way with an endpoint that a plugin chose for the first try; the first plugin that chooses has it. */
export async function pluginsPick(
  ctx: WaypointContext,
  x: Exchange,
  way: Way,
): Promise<Way | LocalReply> {
  const all = pluginsOf(ctx, x);
  if (!all || way.pinned || way.cluster.workload !== undefined) return way;
  const endpoints: PluginEndpoint[] = clusterEndpoints(ctx, way.cluster)
    .filter((l) => l.healthy)
    .slice(0, maxEndpoints)
    .map(({ workload: w }) => ({
      id: w.uid,
      workload: w.name,
      address: w.addresses[0] ?? '',
      zone: w.locality.zone,
      node: w.node,
    }));
  const known = new Set<string>(endpoints.map((e) => e.id));
  for (const s of all) {
    const answer = await ask(ctx, s, 'pick', [endpoints, told(way.head), contextOf(x, s.name)]);
    if (x.down.gone.aborted) return left;
    if (answer?.kind === 'failed') return answer.reply;
    if (answer?.kind !== 'endpoint') continue;
    const { id } = answer;
    if (known.has(id)) return { ...way, pinned: (uid: WorkloadUid) => uid === id };
    const refusal = failed(ctx, s, 'pick', 'it chose an endpoint that is none');
    if (refusal) return refusal;
  }
  return way;
}

/** Before an upstream's head goes down; in the opposite order. */
export async function pluginsOnResponse(
  ctx: WaypointContext,
  x: Exchange,
  head: ResponseHead,
): Promise<LocalReply | undefined> {
  for (const s of (pluginsOf(ctx, x) ?? []).toReversed()) {
    const args = [
      { status: head.status, headers: head.headers },
      told(x.head),
      contextOf(x, s.name),
    ];
    const answer = await ask(ctx, s, 'onResponse', args);
    if (answer?.kind === 'failed') return answer.reply;
    if (answer?.kind !== 'edits') continue;
    const { edits } = answer;
    head = { ...head, headers: applyEdits(head.headers, edits) };
    x.responseHeaders.push((h) => applyEdits(h, edits));
  }
  return undefined;
}

/** After the end: nobody waits. */
export function pluginsOnLog(ctx: WaypointContext, x: Exchange): void {
  const { outcome: o } = x;
  for (const s of pluginsOf(ctx, x) ?? []) {
    const entry: PluginLogEntry = {
      request: told(x.head),
      status: o.status,
      flags: o.flags,
      durationMs: Math.round(ctx.clock.monotonic() - x.startedMs),
      bytesReceived: o.bytesReceived,
      bytesSent: o.bytesSent,
      endpoint: o.endpointAddress,
    };
    void ask(ctx, s, 'onLog', [entry, contextOf(x, s.name)]).then((answer) => {
      if (answer?.kind === 'text')
        ctx.log.info('plugin says', { plugin: s.name, text: printable(answer.text, 1_000) });
    });
  }
}
