// The ordered phases of a request. Each may end it with an answer of its own; the last one carries it on.
import { normalisePath } from './path.ts';
import { MeshError, newTraceparent, printable } from '../../core/base/index.ts';
import type { WaypointContext } from '../context.ts';
import { forName } from '../l7/wildcard.ts';
import type { CompiledRule, RouteTable } from '../l7/routes.ts';
import {
  type Downstream,
  type Exchange,
  headerOf,
  type L7Connection,
  type LocalReply,
  newOutcome,
  type RequestHead,
} from './exchange.ts';
import { changeHeaders, changeRequest, cors, redirect, rewrite } from './filters.ts';
import { accessFacts } from './access-facts.ts';
import { checkTokens } from './authenticate.ts';
import { askOthers } from './external.ts';
import { inject } from './fault.ts';
import { forward } from './forward.ts';
import { atEdge, cleanRequest } from './headers.ts';
import { limitRate } from './limit.ts';
import { renderReply, reply } from './local-reply.ts';
import { pluginsAuthorize, pluginsOf, pluginsOnLog, pluginsOnRequest } from './plugin-phases.ts';

type Phase = (
  ctx: WaypointContext,
  x: Exchange,
) => LocalReply | undefined | Promise<LocalReply | undefined>;

const notFound = reply(404, '', 'NR', 'route_not_found');

/** Hop-by-hop names away, one form of the path for everything that follows, who called told from the tunnel. */
function sanitise(ctx: WaypointContext, x: Exchange): LocalReply | undefined {
  const { head } = x;
  const cleaned = cleanRequest(head.headers);
  if (!cleaned.ok) return reply(cleaned.status, '', 'DPE', cleaned.details);
  if (!head.path.startsWith('/')) return reply(404, '', 'NR', 'absolute_path_rejected');
  const normal = normalisePath(`${head.path}${head.query}`, x.connection.service.pathNormalization);
  if (!normal) return reply(400, '', 'DPE', 'path_normalization_failed');
  const { service, peer, edge, source } = x.connection;
  const came = edge ? atEdge(cleaned.headers, edge.scheme, source.ip) : cleaned.headers;
  const added: [string, string][] = [];
  if (headerOf(came, 'x-request-id') === undefined) added.push(['x-request-id', requestId(ctx)]);
  if (headerOf(came, 'x-forwarded-proto') === undefined) added.push(['x-forwarded-proto', 'http']);
  if (service.forwardClientCert && peer.id !== undefined) {
    // Copies of the caller's own are gone by now.
    added.push(['x-forwarded-client-cert', `By=${ctx.identity};URI=${peer.id}`]);
  }
  x.head = { ...head, path: normal.path, query: normal.query, headers: [...came, ...added] };
  x.upstream = x.head;
  if (head.upgrade !== undefined && head.upgrade !== 'websocket') {
    return reply(403, '', 'DPE', 'upgrade_failed');
  }
  return undefined;
}

/** A version 4 UUID. */
function requestId(ctx: WaypointContext): string {
  const trace = newTraceparent(ctx.random).slice(3, 35);
  const variant = '89ab'[Number.parseInt(trace[16] ?? '0', 16) % 4] ?? '8';
  return `${trace.slice(0, 8)}-${trace.slice(8, 12)}-4${trace.slice(13, 16)}-${variant}${trace.slice(17, 20)}-${trace.slice(20)}`;
}

/** Consumer routes replace the service's own for callers of their namespace (3.9). */
export function tableFor(c: L7Connection): RouteTable | undefined {
  const namespace = c.peer.identity?.namespace;
  const own = namespace === undefined ? undefined : c.port.consumers.get(namespace);
  return own ?? c.port.routes;
}

function authenticate(ctx: WaypointContext, x: Exchange): ReturnType<Phase> {
  const { tokens } = x.connection.service;
  return tokens && checkTokens(ctx, x, tokens);
}

/** CUSTOM before DENY and ALLOW; before tokens, too, unless a policy wants it after them (6.1). */
const askFirst: Phase = (ctx, x) =>
  x.connection.service.external ? askOthers(ctx, x, false) : undefined;
const askLater: Phase = (ctx, x) =>
  x.connection.service.external ? askOthers(ctx, x, true) : undefined;

function route(_ctx: WaypointContext, x: Exchange): undefined {
  const { peer, sourceWorkload } = x.connection;
  const namespace = peer.identity?.namespace ?? '';
  const caller = { uid: sourceWorkload?.uid ?? '', namespace, user: x.user };
  x.rule = tableFor(x.connection)?.find(x.head, caller);
  if (x.rule) x.outcome.route = x.rule.name;
}

function authorize(_ctx: WaypointContext, x: Exchange): LocalReply | undefined {
  const verdict = x.connection.service.access.judge(accessFacts(x));
  x.outcome.marks = verdict.marks;
  if (verdict.allow) return undefined;
  const [namespace = '', name = ''] = (verdict.by ?? '').split('/');
  const details =
    verdict.by === undefined
      ? 'rbac_access_denied_matched_policy[none]'
      : `rbac_access_denied_matched_policy[ns[${namespace}]-policy[${name}]-rule[${verdict.rule ?? 0}]]`;
  return reply(403, 'RBAC: access denied', '-', details, {
    reason: verdict.by === undefined ? 'POLICY_NOT_ALLOWED' : 'POLICY_DENIED',
    ...(verdict.by !== undefined && { policy: verdict.by }),
  });
}

/** After authorization: who may not come at all uses nothing up. */
const limit: Phase = (ctx, x) => {
  const { rateLimits } = x.connection.service;
  return rateLimits && limitRate(ctx, x, [...rateLimits.values()]);
};

/** Plugins may only be stricter than policies. */
const authorizeMore: Phase = (ctx, x) => {
  const all = pluginsOf(ctx, x);
  return all && pluginsAuthorize(ctx, x, all);
};

const extend: Phase = (ctx, x) => {
  const all = pluginsOf(ctx, x);
  return all && pluginsOnRequest(ctx, x, all);
};

/** What a rule answers or changes by itself; a parent with routes has no other way than them. */
function filters(ctx: WaypointContext, x: Exchange): LocalReply | undefined {
  const { rule, connection: c } = x;
  // A wildcard host stands for its names alone (waypoint-l7.md 1.4).
  if (!forName(ctx.view, c.port.cluster, x.head.authority)) return notFound;
  if (!rule) return tableFor(c) ? notFound : undefined;
  if (rule.broken) return reply(500, '', 'NC', 'cluster_not_found');
  const f = rule.filters;
  if (!f) return directOf(rule);
  if (f.cors) {
    const answer = cors(x.head, f.cors, rule.corsOrigin);
    if (answer.do === 'reply') return answer.reply;
    const { headers } = answer;
    x.responseHeaders.push((h) => [
      ...h.filter(([n]) => !headers.some(([name]) => name === n)),
      ...headers,
    ]);
  }
  if (f.redirect) return redirect(x.head, rule.prefix, f.redirect, c.target.port, c.edge?.scheme);
  const direct = directOf(rule);
  if (direct) {
    const { responseHeaders } = f;
    if (responseHeaders) x.responseHeaders.push((h) => changeHeaders(h, responseHeaders));
    return direct;
  }
  if (f.requestHeaders) x.upstream = changeRequest(x.upstream, f.requestHeaders);
  if (f.rewrite) {
    const { rewritePath } = rule;
    const path = rewritePath ? rewritePath(x.upstream.path) : undefined;
    if (rewritePath && path === undefined) return reply(400, '', '-', 'path_rewrite_too_long');
    x.upstream = rewrite(x.upstream, rule.prefix, f.rewrite, path);
  }
  const { responseHeaders } = f;
  if (responseHeaders) x.responseHeaders.push((h) => changeHeaders(h, responseHeaders));
  return undefined;
}

function directOf({ direct }: CompiledRule): LocalReply | undefined {
  if (!direct) return undefined;
  return reply(direct.status, Buffer.from(direct.body).toString('utf8'), '-', 'direct_response');
}

const phases: readonly Phase[] = [
  sanitise,
  askFirst,
  authenticate,
  askLater,
  route,
  authorize,
  authorizeMore,
  limit,
  extend,
  inject,
  filters,
  forward,
];

function send(ctx: WaypointContext, x: Exchange, local: LocalReply): void {
  const { outcome, down } = x;
  const rendered = renderReply(x.head, local, new Date(ctx.clock.now()).toUTCString());
  outcome.status = rendered.head.status;
  // A delay that was put in is told beside what came of the request.
  const marks = [outcome.flags, local.flags].filter((f) => f !== '-');
  outcome.flags = marks.length > 0 ? marks.join(',') : '-';
  outcome.details = local.details;
  outcome.grpcStatus = rendered.grpcStatus;
  if (local.reason) outcome.reason = local.reason;
  if (local.policy !== undefined) outcome.policy = local.policy;
  if (down.gone.aborted) {
    outcome.status = 0;
    outcome.flags = 'DC';
    outcome.details = 'downstream_remote_disconnect';
    return;
  }
  let headers = rendered.head.headers;
  for (const change of local.status === 403 || local.status === 200 ? [] : x.responseHeaders) {
    headers = change(headers);
  }
  const none = rendered.body === '' || x.head.method === 'HEAD';
  const sink = down.respond({ status: rendered.head.status, headers }, none);
  if (none) return;
  outcome.bytesSent = Buffer.byteLength(rendered.body);
  sink.end(rendered.body);
}

/** One request from head to report. Never rejects. */
export async function serveRequest(
  ctx: WaypointContext,
  connection: L7Connection,
  head: RequestHead,
  down: Downstream,
  early?: LocalReply,
): Promise<void> {
  const x: Exchange = {
    connection: { ...connection },
    down,
    startedMs: ctx.clock.monotonic(),
    head,
    upstream: head,
    rule: undefined,
    user: undefined,
    metadata: {},
    body: down.body,
    responseHeaders: [],
    outcome: newOutcome(),
  };
  try {
    let local = early;
    for (const phase of early ? [] : phases) {
      const said = phase(ctx, x);
      // Most phases answer at once, and need no turn of the event loop each.
      local = said instanceof Promise ? await said : said;
      if (local) break;
    }
    if (local) send(ctx, x, local);
  } catch (error) {
    const text =
      error instanceof MeshError
        ? error.code
        : error instanceof Error
          ? (error.stack ?? error.message)
          : '';
    ctx.log.error('request failed', { error: printable(text, 1000) });
    x.outcome.status = 500;
    x.outcome.reason = 'INTERNAL';
    down.abort();
  }
  ctx.reports.request(x);
  pluginsOnLog(ctx, x);
}
