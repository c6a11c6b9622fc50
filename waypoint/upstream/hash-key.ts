// What a request is hashed by under consistent hashing (waypoint-l7.md 5.2). Pure; a made cookie's value is drawn.
import type { Random } from '../../core/base/index.ts';
import { xxh64 } from '../balance/hash.ts';
import { type HeaderList, headerOf, type RequestHead } from '../http/exchange.ts';
import type { HashSource } from '../l7/cluster.ts';

export interface Hashed {
  readonly hash: bigint;
  /** Of a cookie that was made. */
  readonly setCookie?: string;
}

/** The value of a cookie, quotes taken off. */
export function cookieOf(headers: HeaderList, name: string): string | undefined {
  for (const [n, value] of headers) {
    if (n !== 'cookie') continue;
    for (const part of value.split(';')) {
      const at = part.indexOf('=');
      if (at < 0 || part.slice(0, at).trim() !== name) continue;
      return part
        .slice(at + 1)
        .trim()
        .replace(/^"(.*)"$/, '$1');
    }
  }
  return undefined;
}

const draw = (random: Random): string =>
  Array.from({ length: 16 }, () => Math.floor(random.next() * 16).toString(16)).join('');

/** `undefined` = nothing to hash: any endpoint will do. */
export function hashOf(
  source: HashSource,
  head: RequestHead,
  sourceIp: string,
  random: Random,
): Hashed | undefined {
  const of = (text: string | null | undefined): Hashed | undefined =>
    text === undefined || text === null ? undefined : { hash: xxh64(text) };
  switch (source.by) {
    case 'header':
      return of(headerOf(head.headers, source.name));
    case 'query':
      return of(new URLSearchParams(head.query.slice(1)).get(source.name));
    case 'source-ip':
      return of(sourceIp);
    case 'cookie': {
      const given = cookieOf(head.headers, source.name);
      if (given !== undefined || source.ttlMs === undefined) return of(given);
      const value = draw(random);
      const age = source.ttlMs > 0 ? `; Max-Age=${Math.round(source.ttlMs / 1000)}` : '';
      const path = source.path === '' ? '' : `; Path=${source.path}`;
      const more = `${age}${path}${source.attributes}; HttpOnly`;
      return { hash: xxh64(value), setCookie: `${source.name}="${value}"${more}` };
    }
  }
}
