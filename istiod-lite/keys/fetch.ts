// One text over HTTP, for somebody else's wish: bounded in time and size, never to another host than was asked for,
// never to blocked addresses (waypoint-l7.md 7.3; row J9).
import { lookup } from 'node:dns';
import http from 'node:http';
import https from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { type Cidr, cidrContains, parseIpBytes } from '../../core/base/index.ts';

export interface FetchLimits {
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly blocked: readonly Cidr[];
}

const maxRedirects = 3;

function isBlocked(ip: string, blocked: readonly Cidr[]): boolean {
  const bytes = parseIpBytes(ip.replace(/^\[(.*)\]$/, '$1'));
  return bytes === undefined || blocked.some((c) => cidrContains(c, bytes));
}

/** Looks names up as usual, and drops addresses that may not be called: checked on what is dialled, not before. */
function guarded(blocked: readonly Cidr[]): LookupFunction {
  return (host, options, done) => {
    lookup(host, { ...options, all: true }, (error, found) => {
      if (error) return done(error, []);
      const allowed = found.filter((a) => !isBlocked(a.address, blocked));
      const [first] = allowed;
      if (!first) return done(new Error('its address may not be called'), []);
      if (options.all) done(null, allowed);
      else done(null, first.address, first.family);
    });
  };
}

function once(url: URL, o: FetchLimits, signal: AbortSignal): Promise<http.IncomingMessage> {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  if (isIP(host) !== 0 && isBlocked(host, o.blocked))
    return Promise.reject(new Error('its address may not be called'));
  return new Promise((resolve, reject) => {
    const client = url.protocol === 'https:' ? https : http;
    const options = { lookup: guarded(o.blocked), signal, agent: false, method: 'GET' };
    const headers = { accept: 'application/json', 'user-agent': 'ambient-lite' };
    const request = client.request(url, { ...options, headers }, resolve);
    request.on('error', reject);
    request.end();
  });
}

async function body(response: http.IncomingMessage, maxBytes: number): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response) {
    parts.push(part as Buffer);
    size += (part as Buffer).length;
    if (size > maxBytes) throw new Error(`it is longer than ${maxBytes} bytes`);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** Rejects with an error whose text may be shown: it holds nothing of what was answered. */
export async function fetchText(given: string, o: FetchLimits): Promise<string> {
  const limit = AbortSignal.timeout(o.timeoutMs);
  let url = URL.parse(given);
  for (let hop = 0; hop <= maxRedirects; hop++) {
    if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:'))
      throw new Error('it is no http or https URL');
    let response: http.IncomingMessage;
    try {
      response = await once(url, o, limit);
      const status = response.statusCode ?? 0;
      if (status === 200) return await body(response, o.maxBytes);
      response.destroy();
      if (status < 300 || status > 399) throw new Error(`it answers ${status}`);
    } catch (error) {
      if (limit.aborted) throw new Error(`no answer within ${o.timeoutMs} ms`, { cause: error });
      throw error;
    }
    const next: URL | null = URL.parse(response.headers.location ?? '', url.href);
    if (next?.origin !== url.origin) throw new Error('it redirects to another host');
    url = next;
  }
  throw new Error('it redirects too often');
}
