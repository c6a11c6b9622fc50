// What an external authorizer is asked, and what its answer means (waypoint-l7.md 6.9). Pure. An answer that cannot be
// carried out as it stands is no answer.
import { decode, encode } from '../../core/rpc/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { AuthProvider } from '../l7/providers.ts';
import type { HeaderList, RequestHead, ResponseHead } from './exchange.ts';
import { headerOf } from './exchange.ts';
import { setHeader } from './headers.ts';

/** Who calls whom, told with every question. */
export interface CheckFacts {
  readonly source: { readonly ip: string; readonly port: number; readonly principal: string };
  readonly sourceService: string;
  readonly target: { readonly ip: string; readonly port: number; readonly principal: string };
  readonly targetService: string;
  readonly nowMs: number;
}

/** The body as far as it is sent. */
export interface CheckBody {
  readonly bytes: Buffer;
  readonly whole: boolean;
}

export type How = 'set' | 'append' | 'if-absent' | 'if-present';
export interface Edit {
  readonly name: string;
  readonly value: string;
  readonly how: How;
}

export type Verdict =
  | {
      readonly allow: true;
      readonly request: readonly Edit[];
      readonly remove: readonly string[];
      readonly response: readonly Edit[];
      readonly querySet: readonly (readonly [string, string])[];
      readonly queryRemove: readonly string[];
      readonly metadata: Metadata;
    }
  | {
      readonly allow: false;
      readonly status: number;
      readonly headers: HeaderList;
      readonly body: string;
      readonly metadata: Metadata;
    };

export type Metadata = Readonly<Record<string, unknown>>;

/** `undefined` = the authorizer says nothing that can be used. */
type Read = Verdict | undefined;

const partialHeader = 'x-envoy-auth-partial-body';

const allowed: Extract<Verdict, { allow: true }> = {
  allow: true,
  request: [],
  remove: [],
  response: [],
  querySet: [],
  queryRemove: [],
  metadata: {},
};

// --- gRPC

function joined(head: RequestHead): Record<string, string> {
  const all = new Map<string, string>([
    [':authority', head.authority],
    [':method', head.method],
    [':path', `${head.path}${head.query}`],
    [':scheme', 'http'],
  ]);
  for (const [name, value] of head.headers) {
    const before = all.get(name);
    all.set(name, before === undefined ? value : `${before},${value}`);
  }
  return Object.fromEntries(all);
}

const address = (a: { readonly ip: string; readonly port: number }) => ({
  socketAddress: { address: a.ip, portValue: a.port },
});

const ends = (f: CheckFacts) => ({
  source: {
    address: address(f.source),
    principal: f.source.principal,
    service: f.sourceService,
  },
  destination: {
    address: address(f.target),
    principal: f.target.principal,
    service: f.targetService,
  },
});

const time = (nowMs: number) => ({
  seconds: Math.floor(nowMs / 1000),
  nanos: (nowMs % 1000) * 1e6,
});

/** Of an opaque connection: who, and where to. */
export const connectionMessage = (f: CheckFacts): Buffer =>
  encode('envoy.service.auth.v3.CheckRequest', {
    attributes: { ...ends(f), request: { time: time(f.nowMs) } },
  });

export function checkMessage(
  p: AuthProvider,
  head: RequestHead,
  f: CheckFacts,
  body: CheckBody | undefined,
): Buffer {
  const headers = joined(head);
  if (body) headers[partialHeader] = String(!body.whole);
  const length = Number(headerOf(head.headers, 'content-length') ?? (head.hasBody ? -1 : 0));
  const given =
    body && (p.body?.asBytes ? { rawBody: body.bytes } : { body: body.bytes.toString() });
  return encode('envoy.service.auth.v3.CheckRequest', {
    attributes: {
      ...ends(f),
      request: {
        time: time(f.nowMs),
        http: {
          id: headerOf(head.headers, 'x-request-id') ?? '',
          method: head.method,
          headers,
          path: `${head.path}${head.query}`,
          host: head.authority,
          scheme: 'http',
          size: Number.isSafeInteger(length) ? length : -1,
          protocol: head.version === '2' ? 'HTTP/2' : 'HTTP/1.1',
          ...given,
        },
      },
    },
  });
}

const token = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
const value = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Never changed on the word of another: they say where a message goes and where it ends. */
const fixed = new Set([
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'upgrade',
  'te',
  'trailer',
  'keep-alive',
  'x-forwarded-client-cert',
]);

const actions: readonly How[] = ['append', 'if-absent', 'set', 'if-present'];

/** `undefined` = one of them cannot stand in a header. */
function edits(
  all: readonly wire.CheckHeaderValueOption[],
  byDefault: How,
): readonly Edit[] | undefined {
  const out: Edit[] = [];
  for (const o of all) {
    const name = (o.header?.key ?? '').toLowerCase();
    if (name.startsWith(':') || fixed.has(name)) continue;
    const raw = o.header?.rawValue;
    const text = raw && raw.length > 0 ? Buffer.from(raw).toString('latin1') : o.header?.value;
    const given = Buffer.from(text ?? '', raw && raw.length > 0 ? 'latin1' : 'utf8');
    const latin = given.toString('latin1');
    if (!token.test(name) || !value.test(latin)) return undefined;
    const how = o.append
      ? o.append.value
        ? 'append'
        : 'set'
      : o.appendAction > 0
        ? actions[o.appendAction]
        : byDefault;
    if (!how) return undefined;
    out.push({ name, value: latin, how });
  }
  return out;
}

const isFinal = (status: number): boolean => status >= 200 && status <= 599;

/** What a struct holds, as JSON has it. */
function plain(v: wire.GoogleValue | undefined): unknown {
  switch (v?.kind) {
    case 'numberValue':
      return v.numberValue;
    case 'stringValue':
      return v.stringValue;
    case 'boolValue':
      return v.boolValue;
    case 'structValue':
      return plainFields(v.structValue);
    case 'listValue':
      return (v.listValue?.values ?? []).map(plain);
    default:
      return null;
  }
}

function plainFields(s: wire.GoogleStruct | null | undefined): Metadata {
  return Object.fromEntries(Object.entries(s?.fields ?? {}).map(([k, v]) => [k, plain(v)]));
}

/** Of the one message of an answer with status 0. */
export function readCheck(bytes: Uint8Array): Read {
  let answer: wire.CheckResponse;
  try {
    answer = decode('envoy.service.auth.v3.CheckResponse', bytes);
  } catch {
    return undefined;
  }
  const { okResponse: ok, deniedResponse: denied } = answer;
  const metadata = plainFields(answer.dynamicMetadata);
  if ((answer.status?.code ?? 0) === 0) {
    if (denied) return undefined;
    const request = edits(ok?.headers ?? [], 'set');
    const response = edits(ok?.responseHeadersToAdd ?? [], 'append');
    if (!request || !response) return undefined;
    return {
      allow: true,
      request,
      response,
      remove: (ok?.headersToRemove ?? []).map((n) => n.toLowerCase()).filter((n) => !fixed.has(n)),
      querySet: (ok?.queryParametersToSet ?? []).map((q) => [q.key, q.value] as const),
      queryRemove: ok?.queryParametersToRemove ?? [],
      metadata,
    };
  }
  const status = denied?.status?.code || 403;
  const headers = edits(denied?.headers ?? [], 'append');
  if (!headers || !isFinal(status)) return undefined;
  return {
    allow: false,
    status,
    headers: headers.map((e) => [e.name, e.value] as const),
    body: denied?.body ?? '',
    metadata,
  };
}

// --- HTTP

/** Exact, `prefix*` or `*suffix`; a bare `*` matches nothing. */
function named(patterns: readonly string[], name: string): boolean {
  return patterns.some((given) => {
    const p = given.toLowerCase();
    if (p === '*') return false;
    if (p.endsWith('*')) return name.startsWith(p.slice(0, -1));
    return p.startsWith('*') ? name.endsWith(p.slice(1)) : name === p;
  });
}

export function checkHead(
  http: NonNullable<AuthProvider['http']>,
  head: RequestHead,
  body: CheckBody | undefined,
): RequestHead {
  let headers: HeaderList = head.headers.filter(
    ([n]) => !fixed.has(n) && (n === 'authorization' || named(http.include, n)),
  );
  for (const [name, text] of http.additional) headers = setHeader(headers, name, text);
  headers = setHeader(headers, 'content-length', String(body?.bytes.length ?? 0));
  if (body) headers = setHeader(headers, partialHeader, String(!body.whole));
  return {
    method: head.method,
    path: `${http.pathPrefix}${head.path}`,
    query: head.query,
    authority: head.authority,
    headers,
    version: '1.1',
    hasBody: (body?.bytes.length ?? 0) > 0,
  };
}

const always = new Set(['www-authenticate', 'location', 'set-cookie', 'content-type']);

/** 200 allows, 5xx says nothing, all else refuses. */
export function readHttpCheck(
  http: NonNullable<AuthProvider['http']>,
  { status, headers }: ResponseHead,
  body: Buffer,
): Read {
  const usable = headers.filter(([n]) => !fixed.has(n));
  const pick = (patterns: readonly string[]): Edit[] =>
    usable.filter(([n]) => named(patterns, n)).map(([name, v]) => ({ name, value: v, how: 'set' }));
  if (status === 200) {
    return {
      ...allowed,
      request: pick(http.upstreamOnAllow),
      response: pick(http.downstreamOnAllow),
    };
  }
  if (status >= 500 || !isFinal(status)) return undefined;
  const patterns = http.downstreamOnDeny;
  const shown = usable.filter(
    ([n]) =>
      n !== 'date' &&
      n !== 'server' &&
      (patterns.length === 0 || always.has(n) || named(patterns, n)),
  );
  return { allow: false, status, headers: shown, body: body.toString('utf8'), metadata: {} };
}

// --- what an answer changes

export function edited(headers: HeaderList, all: readonly Edit[]): HeaderList {
  let out = headers;
  for (const { name, value: v, how } of all) {
    const there = out.some(([n]) => n === name);
    if ((how === 'if-absent' && there) || (how === 'if-present' && !there)) continue;
    out = how === 'append' ? [...out, [name, v]] : setHeader(out, name, v);
  }
  return out;
}

export function changedHead(head: RequestHead, v: Extract<Verdict, { allow: true }>): RequestHead {
  const kept = head.headers.filter(([n]) => !v.remove.includes(n));
  const gone = new Set([...v.queryRemove, ...v.querySet.map(([k]) => k)]);
  let { query } = head;
  if (gone.size > 0) {
    const parts = query
      .slice(1)
      .split('&')
      .filter((p) => p !== '' && ![...new URLSearchParams(p).keys()].some((k) => gone.has(k)));
    for (const [k, t] of v.querySet) parts.push(new URLSearchParams([[k, t]]).toString());
    query = parts.length > 0 ? `?${parts.join('&')}` : '';
  }
  return { ...head, query, headers: edited(kept, v.request) };
}
