// One http rule of a VirtualService → matches and what they lead to (waypoint-l7.md 5.5). A rule per match: what a
// rewrite does depends on how the path was matched.
import { isUtf8 } from 'node:buffer';
import { L7PathKind } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import { podUid } from '../../core/model/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { dict, field, list, type ServiceFacts, text, texts } from '../cluster/index.ts';
import { selects, serviceHostname } from '../translate/index.ts';
import { portProtocol } from './backends.ts';
import type { World } from './binding.ts';
import { subsetKnown } from './destination-rules.ts';
import { entryServices } from './entry-services.ts';
import { each, fullHost, ms, unknownFields, whole } from './hosts.ts';
import type { RuleFacts } from './objects.ts';
import { retriesOf } from './retries.ts';
import type { OwnedRule, Tell } from './delegates.ts';
import { expressionFault, matchFault } from './expressions.ts';
import { brokenRewrite, idleParts } from './virtual-values.ts';

export interface RuleContext {
  readonly world: World;
  readonly v: RuleFacts;
  readonly port: ServiceFacts['ports'][number];
  /** Namespace of the waypoint. */
  readonly client: string;
  readonly tell: Tell;
}

function note(c: RuleContext, reason: string, message: string): void {
  c.tell(c.v, reason, message);
}

const knownRule = [
  'name',
  'match',
  'route',
  'redirect',
  'directResponse',
  'rewrite',
  'timeout',
  'retries',
  'fault',
  'mirror',
  'mirrors',
  'mirrorPercentage',
  'mirrorPercent',
  'mirror_percent',
  'corsPolicy',
  'headers',
];
const knownMatch = [
  'uri',
  'scheme',
  'method',
  'authority',
  'headers',
  'withoutHeaders',
  'queryParams',
  'ignoreUriCase',
  'port',
  'sourceLabels',
  'sourceNamespace',
  'gateways',
  'name',
  'statPrefix',
];

function valueMatch(name: string, v: unknown): Draft<wire.L7ValueMatch> {
  const [exact, prefix, regex] = ['exact', 'prefix', 'regex'].map((k) => field(v, k));
  if (typeof exact === 'string') return { name, value: exact };
  if (typeof prefix === 'string') return { name, value: prefix, prefix: true };
  if (typeof regex === 'string') return { name, value: regex, regex: true };
  return { name, present: true };
}

const entries = (v: unknown): [string, unknown][] =>
  typeof v === 'object' && v !== null ? Object.entries(v) : [];

const valueMatches = (v: unknown, fold: boolean): Draft<wire.L7ValueMatch>[] =>
  // Names of claims keep their case.
  entries(v).map(([name, m]) =>
    valueMatch(fold && !name.startsWith('@') ? name.toLowerCase() : name, m),
  );

function uri(v: unknown): { pathKind: number; path: string } {
  const [exact, prefix, regex] = ['exact', 'prefix', 'regex'].map((k) => field(v, k));
  if (typeof exact === 'string') return { pathKind: L7PathKind.EXACT, path: exact };
  if (typeof prefix === 'string') return { pathKind: L7PathKind.STRING_PREFIX, path: prefix };
  if (typeof regex === 'string') return { pathKind: L7PathKind.REGEX, path: regex };
  return { pathKind: L7PathKind.ANY, path: '' };
}

/** Pods anywhere with these labels: the waypoint knows callers by workload, not by label. */
function sources(world: World, labels: unknown): string[] {
  const wanted = dict(labels);
  const out: string[] = [];
  for (const p of world.cluster.pods.all()) {
    if (selects(wanted, p.labels)) out.push(podUid(world.settings.clusterId, p.namespace, p.name));
  }
  return out.toSorted();
}

/** `undefined` = not for this port or not for the mesh. */
function matchOf(c: RuleContext, m: unknown): Draft<wire.L7RouteMatch> | undefined {
  const gateways = texts(field(m, 'gateways'));
  if (gateways.length > 0 && !gateways.includes('mesh')) return undefined;
  const port = whole(field(m, 'port'));
  if (port !== 0 && port !== c.port.port) return undefined;
  for (const name of unknownFields(m, knownMatch)) {
    // Ignored, a condition would match more than its author meant.
    note(c, 'UnsupportedValue', `match.${name} is not supported: the match is left out`);
    return undefined;
  }
  const part = (name: string) => {
    const given = field(m, name);
    return given === undefined ? undefined : valueMatch('', given);
  };
  const [authority, scheme, methodMatch] = [part('authority'), part('scheme'), part('method')];
  const labels = field(m, 'sourceLabels');
  const made: Draft<wire.L7RouteMatch> = {
    ...uri(field(m, 'uri')),
    headers: valueMatches(field(m, 'headers'), true),
    withoutHeaders: valueMatches(field(m, 'withoutHeaders'), true),
    query: valueMatches(field(m, 'queryParams'), false),
    ignoreCase: field(m, 'ignoreUriCase') === true,
    ...(authority && { authority }),
    ...(scheme && { scheme }),
    ...(methodMatch && { methodMatch }),
    ...(labels !== undefined && { bySource: true, sources: sources(c.world, labels) }),
    sourceNamespace: text(field(m, 'sourceNamespace')),
  };
  const fault = matchFault(made);
  if (fault === undefined) return made;
  note(c, 'UnsupportedValue', `${fault}: the match is left out`);
  return undefined;
}

function headerChange(v: unknown): Draft<wire.L7HeaderChange> | undefined {
  if (v === undefined) return undefined;
  const pairs = (name: string) =>
    entries(field(v, name)).map(([n, value]) => ({ name: n.toLowerCase(), value: text(value) }));
  const remove = texts(field(v, 'remove')).map((n) => n.toLowerCase());
  return { set: pairs('set'), add: pairs('add'), remove };
}

function changes(v: unknown) {
  const requestHeaders = headerChange(field(v, 'headers', 'request'));
  const responseHeaders = headerChange(field(v, 'headers', 'response'));
  return { ...(requestHeaders && { requestHeaders }), ...(responseHeaders && { responseHeaders }) };
}

/** A destination; a single one has all the weight, of several those without weight have none. */
export function destinationOf(
  c: RuleContext,
  r: unknown,
  single: boolean,
): Draft<wire.L7RouteBackend> {
  const { world, v } = c;
  const d = field(r, 'destination');
  const host = fullHost(world, text(field(d, 'host')), v.namespace);
  const weight = whole(field(r, 'weight')) || (single ? 1 : 0);
  const subset = text(field(d, 'subset'));
  const service = findService(world, host, v.namespace);
  const wanted = whole(field(d, 'port', 'number'));
  const port =
    wanted !== 0
      ? service?.ports.find((p) => p.port === wanted)
      : (service?.ports.find((p) => p.port === c.port.port) ??
        (service?.ports.length === 1 ? service.ports[0] : undefined));
  if (!service || !port) {
    const what = service ? `port ${wanted || '?'} of ${host}` : host;
    note(c, 'BackendNotFound', `destination ${what} not found`);
    const base = { namespace: v.namespace, hostname: host, port: wanted, weight };
    return { ...base, noCluster: true };
  }
  const to = { namespace: service.namespace, hostname: host, port: port.port, subset };
  const known = subsetKnown(world, to, c.client);
  if (!known) note(c, 'BackendNotFound', `subset ${subset} of ${host} is not defined`);
  const own = changes(r);
  return { ...to, weight, protocol: portProtocol(port), noCluster: !known, ...own };
}

/** A Service, or a host of a ServiceEntry: of several the one in the rule's own namespace. */
function findService(world: World, host: string, near: string): ServiceFacts | undefined {
  const [name = '', namespace = ''] = host.split('.');
  const s = world.cluster.services.get(namespace, name);
  if (s && serviceHostname(s, world.settings) === host) return s;
  const entries = [...world.cluster.serviceEntries.all()]
    .map((e) => entryServices(e).get(host))
    .filter((e) => e !== undefined);
  return entries.find((e) => e.namespace === near) ?? entries[0];
}

/** Percent → millionths; `percent` is the old whole number. Missing = 0 in faults, all in mirrors. */
function share(v: unknown, old: unknown, missing: number): number {
  const value = field(v, 'value');
  if (typeof value === 'number') return Math.round(Math.min(100, Math.max(0, value)) * 10_000);
  return typeof old === 'number' ? Math.min(100, old) * 10_000 : missing;
}

function mirrors(c: RuleContext, h: unknown): Draft<wire.L7Mirror>[] {
  const out: Draft<wire.L7Mirror>[] = [];
  const add = (destination: unknown, percentage: unknown, old: unknown): void => {
    const backend = destinationOf(c, { destination }, true);
    if (backend.noCluster) return;
    out.push({ backend, numerator: share(percentage, old, 1_000_000), denominator: 1_000_000 });
  };
  const one = field(h, 'mirror');
  const old = field(h, 'mirrorPercent') ?? field(h, 'mirror_percent');
  if (one !== undefined) add(one, field(h, 'mirrorPercentage'), old);
  for (const m of each(h, 'mirrors'))
    add(field(m, 'destination'), field(m, 'percentage'), undefined);
  return out;
}

const grpcNames = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
];

function faultOf(h: unknown): Draft<wire.L7Fault> | undefined {
  const fault = field(h, 'fault');
  if (fault === undefined) return undefined;
  const [delay, abort] = [field(fault, 'delay'), field(fault, 'abort')];
  const grpc = text(field(abort, 'grpcStatus')).toUpperCase();
  const code = grpcNames.includes(grpc) ? grpcNames.indexOf(grpc) : Number(grpc);
  return {
    delayMs: ms(field(delay, 'fixedDelay')),
    delayShare: share(field(delay, 'percentage'), field(delay, 'percent'), 0),
    abortStatus: whole(field(abort, 'httpStatus')) || 500,
    abortGrpc: grpc !== '',
    abortGrpcStatus: Number.isInteger(code) && code >= 0 ? code : 2,
    abortShare: share(field(abort, 'percentage'), field(abort, 'percent'), 0),
  };
}

function corsOf(rule: RuleContext, h: unknown): Draft<wire.L7Cors> | undefined {
  const c = field(h, 'corsPolicy');
  if (c === undefined) return undefined;
  const old = texts(field(c, 'allowOrigin')).map((value) => ({ value, present: value === '*' }));
  const origins = each(c, 'allowOrigins').map((o) => valueMatch('', o));
  const known = origins.filter((o) => {
    const fault = o.regex ? expressionFault(o.value ?? '') : undefined;
    if (fault !== undefined) note(rule, 'UnsupportedValue', `${fault}: the origin is left out`);
    return fault === undefined;
  });
  return {
    originMatches: [...known, ...old],
    credentials: field(c, 'allowCredentials') === true,
    methods: [...texts(field(c, 'allowMethods'))],
    headers: [...texts(field(c, 'allowHeaders'))],
    expose: [...texts(field(c, 'exposeHeaders'))],
    maxAgeSeconds: Math.round(ms(field(c, 'maxAge')) / 1000),
    forwardUnmatched: field(c, 'unmatchedPreflights') !== 'IGNORE',
  };
}

/** A prefix takes the place of what matched, where a prefix was matched. */
const pathChange = (to: string, kind: number): Draft<wire.L7PathChange> =>
  kind === L7PathKind.STRING_PREFIX ? { rawPrefix: to } : { full: to };

function redirectOf(h: unknown, kind: number, port: number): Draft<wire.L7Redirect> | undefined {
  const r = field(h, 'redirect');
  if (r === undefined) return undefined;
  const scheme = text(field(r, 'scheme'));
  const wellKnown = scheme === 'https' ? 443 : 80;
  const ports: Readonly<Record<string, number>> = {
    FROM_PROTOCOL_DEFAULT: wellKnown,
    FROM_REQUEST_PORT: port,
  };
  const derived = ports[text(field(r, 'derivePort'))] ?? 0;
  const to = text(field(r, 'uri'));
  const prefix = text(field(r, 'prefixRewrite'));
  const path = to !== '' ? { full: to } : prefix !== '' ? pathChange(prefix, kind) : undefined;
  return {
    scheme,
    hostname: text(field(r, 'authority')),
    ...(path && { path }),
    port: whole(field(r, 'port')) || derived,
    status: whole(field(r, 'redirectCode')) || 301,
  };
}

function rewriteOf(h: unknown, kind: number): Draft<wire.L7Rewrite> | undefined {
  const r = field(h, 'rewrite');
  if (r === undefined) return undefined;
  const to = text(field(r, 'uri'));
  const regex = field(r, 'uriRegexRewrite');
  const [pattern, substitution] = [text(field(regex, 'match')), text(field(regex, 'rewrite'))];
  return {
    hostname: text(field(r, 'authority')),
    ...(to !== '' && { path: pathChange(to, kind) }),
    ...(pattern !== '' && { path: { regex: { pattern, substitution } } }),
  };
}

function directOf(h: unknown): Draft<wire.L7DirectResponse> | undefined {
  const d = field(h, 'directResponse');
  if (d === undefined) return undefined;
  const words = field(d, 'body', 'string');
  return {
    status: whole(field(d, 'status')) || 200,
    body: Buffer.from(text(field(d, 'body', 'bytes')), 'base64'),
    ...(typeof words === 'string' && { body: Buffer.from(words) }),
  };
}

/** What would change an answer if it were left out makes the rule answer 500. */
function brokenParts(h: unknown): string[] {
  const out = [...unknownFields(h, knownRule), ...brokenRewrite(h)];
  const bytes = text(field(h, 'directResponse', 'body', 'bytes'));
  if (!isUtf8(Buffer.from(bytes, 'base64'))) {
    out.push('directResponse.body.bytes, which is no text in UTF-8,');
  }
  return out;
}

export function httpEntries(
  c: RuleContext,
  { rule: h, index, fault: lost }: OwnedRule,
): { readonly match: Draft<wire.L7RouteMatch>; readonly rule: Draft<wire.L7RouteRule> }[] {
  const { v } = c;
  const given = each(h, 'match');
  const matches =
    given.length === 0
      ? [{ pathKind: L7PathKind.ANY, path: '' }]
      : given.map((m) => matchOf(c, m)).filter((m) => m !== undefined);
  if (matches.length === 0) return [];
  const broken = lost === undefined ? brokenParts(h) : [lost];
  for (const name of broken) {
    note(c, 'UnsupportedValue', `http[${index}].${name} is not supported: the rule answers 500`);
  }
  for (const text of idleParts(h, `http[${index}]`)) note(c, 'UnsupportedValue', text);
  const route = list(field(h, 'route'));
  const [retry, fault, cors] = [retriesOf(field(h, 'retries')), faultOf(h), corsOf(c, h)];
  const direct = directOf(h);
  const base: Draft<wire.L7RouteRule> = {
    route: `${v.namespace}/${v.name}`,
    name: text(field(h, 'name')) || `${v.namespace}.${v.name}.${index}`,
    backends: route.map((r) => destinationOf(c, r, route.length === 1)),
    requestTimeoutMs: ms(field(h, 'timeout')),
    backendTimeoutMs: ms(field(h, 'retries', 'perTryTimeout')),
    ...(retry && { retry }),
    ...(fault && { fault }),
    ...(direct && { direct }),
    broken: broken.length > 0,
  };
  const filters = {
    ...changes(h),
    ...(cors && { cors }),
    mirrors: mirrors(c, h),
  };
  return matches.map((match) => {
    const kind = match.pathKind ?? L7PathKind.ANY;
    const [rewrite, redirect] = [rewriteOf(h, kind), redirectOf(h, kind, c.port.port)];
    const changed = { ...filters, ...(rewrite && { rewrite }), ...(redirect && { redirect }) };
    return { match, rule: { ...base, filters: changed } };
  });
}
