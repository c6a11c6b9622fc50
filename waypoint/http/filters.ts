// Filters of a rule as pure changes of heads (waypoint-l7.md 3.4): headers, redirect, rewrite, CORS.
import type * as wire from '../../core/proto/index.ts';
import type { HeaderList, LocalReply, RequestHead } from './exchange.ts';
import { headerOf } from './exchange.ts';
import { setHeader } from './headers.ts';

/** `set` replaces, `add` joins to one comma-separated value, `remove` deletes all. */
export function changeHeaders(headers: HeaderList, c: wire.L7HeaderChange): HeaderList {
  let out: HeaderList = headers.filter(([n]) => !c.remove.includes(n));
  for (const { name, value } of c.set) out = setHeader(out, name, value);
  for (const { name, value } of c.add) {
    const before = out.filter(([n]) => n === name).map(([, v]) => v);
    out = setHeader(out, name, [...before, value].join(','));
  }
  return out;
}

/** Request form: `host` rewrites the authority. */
export function changeRequest(head: RequestHead, c: wire.L7HeaderChange): RequestHead {
  const isHost = (v: { name: string }): boolean => v.name === 'host' || v.name === ':authority';
  const host = [...c.set, ...c.add].findLast(isHost)?.value;
  const rest = {
    set: c.set.filter((v) => !isHost(v)),
    add: c.add.filter((v) => !isHost(v)),
    remove: c.remove.filter((n) => n !== 'host'),
  };
  return {
    ...head,
    ...(host !== undefined && { authority: host }),
    headers: changeHeaders(head.headers, rest),
  };
}

/** ReplacePrefixMatch; slashes at the end of prefix and replacement do not count. */
export function replacePrefix(path: string, prefix: string, replacement: string): string {
  const from = prefix.replace(/\/+$/, '');
  const to = replacement.replace(/\/+$/, '');
  if (path !== from && !path.startsWith(`${from}/`)) return path;
  const out = to + path.slice(from.length);
  return out === '' ? '/' : out;
}

function changePath(path: string, prefix: string, c: wire.L7PathChange | null | undefined): string {
  // `change` says which member is set; the others read as empty texts, not as absent.
  switch (c?.change) {
    case undefined:
    // Changed already.
    case 'regex':
      return path;
    case 'full':
      return c?.full || '/';
    case 'prefix':
      return replacePrefix(path, prefix, c?.prefix ?? '');
    case 'rawPrefix':
      // Characters for characters (VirtualService).
      return (c?.rawPrefix ?? '') + path.slice(prefix.length) || '/';
  }
}

/** `made` = the path, where it was changed by a regular expression. */
export function rewrite(
  head: RequestHead,
  prefix: string,
  r: wire.L7Rewrite,
  made?: string,
): RequestHead {
  const path = made === undefined ? changePath(head.path, prefix, r.path) : absolute(made);
  const headers =
    path === head.path
      ? head.headers
      : setHeader(head.headers, 'x-envoy-original-path', `${head.path}${head.query}`);
  return { ...head, path, headers, ...(r.hostname !== '' && { authority: r.hostname }) };
}

const absolute = (path: string): string => (path.startsWith('/') ? path : `/${path}`);

const hostOf = (authority: string): string => authority.replace(/:\d+$/, '');

/** `port` is the one the request was sent to. */
export function redirect(
  head: RequestHead,
  prefix: string,
  r: wire.L7Redirect,
  port: number,
  spoken: 'http' | 'https' = 'http',
): LocalReply {
  const scheme = r.scheme || spoken;
  const wellKnown = scheme === 'https' ? 443 : 80;
  const given = r.port || (r.scheme === '' ? port : wellKnown);
  const host = r.hostname || hostOf(head.authority);
  const shown = given === wellKnown ? host : `${host}:${given}`;
  const location = `${scheme}://${shown}${changePath(head.path, prefix, r.path)}${head.query}`;
  return {
    status: r.status || 302,
    body: '',
    flags: '-',
    details: 'direct_response',
    headers: [['location', location]],
  };
}

// --- CORS

function originMatches(pattern: string, origin: string): boolean {
  if (pattern === '*') return true;
  const star = pattern.indexOf('*');
  if (star < 0) return pattern.toLowerCase() === origin.toLowerCase();
  const low = origin.toLowerCase();
  const head = pattern.slice(0, star).toLowerCase();
  const tail = pattern.slice(star + 1).toLowerCase();
  return low.length > head.length + tail.length && low.startsWith(head) && low.endsWith(tail);
}

export type CorsAnswer =
  | { readonly do: 'reply'; readonly reply: LocalReply }
  /** To be put on the answer of the upstream. */
  | { readonly do: 'forward'; readonly headers: HeaderList };

const joined = (values: readonly string[], asked: string | undefined, credentials: boolean) => {
  if (!values.includes('*')) return values.join(', ');
  return credentials ? (asked ?? '') : '*';
};

export function cors(
  head: RequestHead,
  c: wire.L7Cors,
  knows: (origin: string) => boolean = (o) => c.origins.some((p) => originMatches(p, o)),
): CorsAnswer {
  const origin = headerOf(head.headers, 'origin');
  if (origin === undefined) return { do: 'forward', headers: [] };
  const known = knows(origin);
  const method = headerOf(head.headers, 'access-control-request-method');
  const basic: [string, string][] = known
    ? [
        ['access-control-allow-origin', origin],
        ...(c.credentials
          ? [['access-control-allow-credentials', 'true'] as [string, string]]
          : []),
      ]
    : [];
  const expose: [string, string][] =
    known && c.expose.length > 0 ? [['access-control-expose-headers', c.expose.join(', ')]] : [];
  if (head.method !== 'OPTIONS' || method === undefined) {
    return { do: 'forward', headers: [...basic, ...expose] };
  }
  if (!known && c.forwardUnmatched) return { do: 'forward', headers: [] };
  const headers: [string, string][] = [...basic];
  if (known) {
    const asked = headerOf(head.headers, 'access-control-request-headers');
    const methods = joined(c.methods, method, c.credentials);
    const names = joined(c.headers, asked, c.credentials);
    if (methods !== '') headers.push(['access-control-allow-methods', methods]);
    if (names !== '') headers.push(['access-control-allow-headers', names]);
    headers.push(...expose, ['access-control-max-age', String(c.maxAgeSeconds)]);
  }
  return { do: 'reply', reply: { status: 200, body: '', flags: '-', details: 'cors', headers } };
}
