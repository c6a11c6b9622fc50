import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { HeaderList } from './exchange.ts';
import { cleanRequest, fromRaw, toRaw } from './headers.ts';

const kept = (headers: HeaderList): string[] | number => {
  const c = cleanRequest(headers);
  return c.ok ? c.headers.map(([n]) => n) : c.status;
};

describe('hop-by-hop and forged headers (waypoint-l7.md 8.2, 8.3)', () => {
  const rows: readonly (readonly [string, HeaderList, string[] | number])[] = [
    [
      'nominated names go',
      [
        ['connection', 'close, X-Gone'],
        ['x-gone', '1'],
        ['x-stays', '1'],
      ],
      ['x-stays'],
    ],
    [
      'hop names go',
      [
        ['keep-alive', '1'],
        ['proxy-connection', 'x'],
        ['transfer-encoding', 'chunked'],
      ],
      [],
    ],
    ['te is reduced', [['te', 'gzip, trailers']], ['te']],
    ['te without trailers goes', [['te', 'gzip']], []],
    ['nominating x-forwarded-for is refused', [['connection', 'x-forwarded-for']], 400],
    ['nominating a pseudo header is refused', [['connection', ':path']], 400],
    ['ten names are too many', [['connection', 'a,b,c,d,e,f,g,h,i,j,k']], 400],
    ['identity from a caller goes', [['x-forwarded-client-cert', 'URI=spiffe://x']], []],
    [
      'retry wishes of a caller go',
      [
        ['x-envoy-max-retries', '9'],
        ['x-envoy-retry-on', '5xx'],
      ],
      [],
    ],
  ];
  for (const [name, headers, wanted] of rows) {
    test(name, () => assert.deepEqual(kept(headers), wanted));
  }
});

test('framing is said explicitly on HTTP/1.1', () => {
  const head = {
    method: 'POST',
    path: '/',
    query: '',
    authority: 'a',
    version: '1.1' as const,
    upgrade: undefined,
  };
  const raw = (headers: HeaderList, hasBody: boolean): string =>
    toRaw({ ...head, headers, hasBody }).join(' ');
  assert.equal(raw([], true), 'host a transfer-encoding chunked');
  assert.equal(raw([], false), 'host a content-length 0');
  assert.equal(raw([['content-length', '3']], true), 'host a content-length 3');
});

test('every Host line is seen', () => {
  assert.deepEqual(fromRaw(['Host', 'a', 'HOST', 'b', 'X', '1']), {
    headers: [['x', '1']],
    hosts: ['a', 'b'],
  });
});
