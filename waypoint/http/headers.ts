// Header lists in and out of Node's HTTP, and what a hop must take away (waypoint-l7.md 8.1–8.4, 8.9).
import type { HeaderList, RequestHead } from './exchange.ts';

/** Flat `[name, value, …]` → list in lower case, `host` apart. */
export function fromRaw(raw: readonly string[]): { headers: HeaderList; hosts: readonly string[] } {
  const headers: [string, string][] = [];
  const hosts: string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = (raw[i] ?? '').toLowerCase();
    const value = raw[i + 1] ?? '';
    if (name === 'host') hosts.push(value);
    else headers.push([name, value]);
  }
  return { headers, hosts };
}

type Http2Fields = Readonly<Record<string, string | readonly string[] | number | undefined>>;

/** Without pseudo headers and `host`. */
export function fromHttp2(fields: Http2Fields): HeaderList {
  const out: [string, string][] = [];
  for (const [name, value] of Object.entries(fields)) {
    if (name.startsWith(':') || name === 'host' || value === undefined) continue;
    if (Array.isArray(value)) for (const v of value) out.push([name, String(v)]);
    else out.push([name, String(value as string | number)]);
  }
  return out;
}

/** Duplicates of a name as a list; of names that may come once, the first. */
export function collect(headers: HeaderList): Record<string, string | string[]> {
  const out = Object.create(null) as Record<string, string | string[]>;
  for (const [name, value] of headers) {
    const before = out[name];
    if (before === undefined) out[name] = value;
    else if (single.has(name)) continue;
    else if (Array.isArray(before)) before.push(value);
    else out[name] = [before, value];
  }
  return out;
}

const single = new Set([
  'age',
  'authorization',
  'content-encoding',
  'content-language',
  'content-length',
  'content-location',
  'content-md5',
  'content-range',
  'content-type',
  'date',
  'dnt',
  'etag',
  'expires',
  'from',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'last-modified',
  'location',
  'max-forwards',
  'proxy-authorization',
  'range',
  'referer',
  'retry-after',
  'tk',
  'upgrade-insecure-requests',
  'user-agent',
  'x-content-type-options',
]);

export function toHttp2(head: RequestHead): Record<string, string | string[]> {
  const fields = collect(head.headers.filter(([n]) => !connectionNames.has(n)));
  fields[':method'] = head.method;
  fields[':path'] = `${head.path}${head.query}`;
  fields[':scheme'] = 'http';
  fields[':authority'] = head.authority;
  return fields;
}

const connectionNames = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]);

/** Flat list for HTTP/1.1, framing said explicitly. */
export function toRaw(head: RequestHead): string[] {
  const out = ['host', head.authority];
  let framed = false;
  for (const [name, value] of head.headers) {
    if (connectionNames.has(name)) continue;
    if (name === 'content-length') framed = true;
    out.push(name, value);
  }
  if (head.upgrade !== undefined) out.push('connection', 'Upgrade', 'upgrade', head.upgrade);
  else if (head.hasBody && !framed) out.push('transfer-encoding', 'chunked');
  else if (!framed && mayHaveBody.has(head.method)) out.push('content-length', '0');
  return out;
}

const mayHaveBody = new Set(['POST', 'PUT', 'PATCH']);

export type Cleaned =
  | { readonly ok: true; readonly headers: HeaderList }
  | { readonly ok: false; readonly status: number; readonly details: string };

const forbiddenNominations = new Set(['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto']);

/** What an outside caller may not tell us (8.3). */
const external = new Set([
  'x-envoy-internal',
  'x-envoy-retry-on',
  'x-envoy-retry-grpc-on',
  'x-envoy-retriable-status-codes',
  'x-envoy-retriable-header-names',
  'x-envoy-max-retries',
  'x-envoy-upstream-rq-timeout-ms',
  'x-envoy-upstream-rq-per-try-timeout-ms',
  'x-envoy-upstream-rq-timeout-alt-response',
  'x-envoy-expected-rq-timeout-ms',
  'x-envoy-upstream-alt-stat-name',
  'x-envoy-force-trace',
  'x-envoy-ip-tags',
  'x-envoy-original-url',
  'x-envoy-original-path',
  'x-envoy-hedge-on-per-try-timeout',
  'x-forwarded-client-cert',
]);

/** Hop-by-hop names, those the caller nominated, and those no caller may set. */
export function cleanRequest(headers: HeaderList): Cleaned {
  const nominated = new Set<string>();
  for (const [name, value] of headers) {
    if (name !== 'connection') continue;
    for (const part of value.split(',')) {
      const token = part.trim().toLowerCase();
      if (token === '') continue;
      if (token.startsWith(':') || forbiddenNominations.has(token) || nominated.size >= 10) {
        return { ok: false, status: 400, details: 'http1.connection_header_rejected' };
      }
      nominated.add(token);
    }
  }
  const out: (readonly [string, string])[] = [];
  for (const [name, value] of headers) {
    if (connectionNames.has(name) || external.has(name)) continue;
    if (name === 'te') {
      if (value.split(',').some((v) => v.trim().toLowerCase() === 'trailers'))
        out.push(['te', 'trailers']);
      continue;
    }
    if (nominated.has(name)) continue;
    out.push([name, value]);
  }
  return { ok: true, headers: out };
}

/** Of an answer: hop-by-hop names, those it nominates itself, and what we say ourselves. */
export function cleanResponse(headers: HeaderList): HeaderList {
  const nominated = new Set<string>();
  for (const [name, value] of headers) {
    if (name === 'connection') {
      for (const token of value.split(',')) nominated.add(token.trim().toLowerCase());
    }
  }
  return headers.filter(
    ([n]) => !connectionNames.has(n) && !nominated.has(n) && n !== 'server' && n !== 'trailer',
  );
}

/** What a request from outside the mesh tells of itself is replaced by what we see (8.3). */
export function atEdge(headers: HeaderList, scheme: string, client: string): HeaderList {
  const before = headers.filter(([n]) => n === 'x-forwarded-for').map(([, v]) => v);
  const kept = headers.filter(([n]) => !replaced.has(n));
  return [
    ...kept,
    ['x-forwarded-for', [...before, client].join(', ')],
    ['x-forwarded-proto', scheme],
    ['x-envoy-external-address', client],
  ];
}

const replaced = new Set([
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-envoy-external-address',
  'x-request-id',
  'x-envoy-decorator-operation',
  'x-envoy-downstream-service-cluster',
  'x-envoy-downstream-service-node',
]);

export function setHeader(headers: HeaderList, name: string, value: string): HeaderList {
  return [...headers.filter(([n]) => n !== name), [name, value]];
}
