// Filters, row by row (waypoint-l7.md 3.4); rows that conformance suites ask for carry their test's name.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { HeaderList, RequestHead } from './exchange.ts';
import { changeHeaders, changeRequest, cors, redirect, replacePrefix, rewrite } from './filters.ts';

const head = (more: Partial<RequestHead> = {}): RequestHead => ({
  method: 'GET',
  path: '/',
  query: '',
  authority: 'shop',
  headers: [],
  version: '1.1',
  hasBody: false,
  ...more,
});

describe('ReplacePrefixMatch (MeshHTTPRouteRewritePath)', () => {
  const rows: readonly (readonly [string, string, string, string])[] = [
    ['/foo/bar', '/foo', '/xyz', '/xyz/bar'],
    ['/foo/bar', '/foo', '/xyz/', '/xyz/bar'],
    ['/foo/bar', '/foo/', '/xyz', '/xyz/bar'],
    ['/foo/bar', '/foo/', '/xyz/', '/xyz/bar'],
    ['/foo', '/foo', '/xyz', '/xyz'],
    ['/foo/', '/foo', '/xyz', '/xyz/'],
    ['/foo/bar', '/foo', '', '/bar'],
    ['/foo/bar', '/foo', '/', '/bar'],
    ['/foo/', '/foo', '', '/'],
    ['/foo/', '/foo', '/', '/'],
    ['/foo', '/foo', '', '/'],
    ['/foo', '/foo', '/', '/'],
    ['/', '/', '/xyz', '/xyz/'],
  ];
  for (const [path, prefix, to, wanted] of rows) {
    test(`${path} with ${prefix} → ${to || '(empty)'}`, () =>
      assert.equal(replacePrefix(path, prefix, to), wanted));
  }
});

describe('header modifiers (HTTPRouteRequestHeaderModifier)', () => {
  const given: HeaderList = [
    ['x-a', '1'],
    ['x-b', '1'],
    ['x-b', '2'],
  ];
  const rows = [
    ['set replaces all', { set: [{ name: 'x-b', value: 'n' }] }, ['x-a=1', 'x-b=n']],
    ['set creates', { set: [{ name: 'x-c', value: 'n' }] }, ['x-a=1', 'x-b=1', 'x-b=2', 'x-c=n']],
    ['add joins', { add: [{ name: 'x-b', value: '3' }] }, ['x-a=1', 'x-b=1,2,3']],
    ['add creates', { add: [{ name: 'x-c', value: '3' }] }, ['x-a=1', 'x-b=1', 'x-b=2', 'x-c=3']],
    ['remove deletes all', { remove: ['x-b'] }, ['x-a=1']],
  ] as const;
  for (const [name, change, wanted] of rows) {
    test(name, () => {
      const full = { set: [], add: [], remove: [], ...change };
      const out = changeHeaders(given, structuredClone(full) as never);
      assert.deepEqual(
        out.map(([n, v]) => `${n}=${v}`),
        wanted,
      );
    });
  }

  test('host rewrites the authority', () => {
    const c = { set: [{ name: 'host', value: 'other' }], add: [], remove: ['host'] };
    assert.equal(changeRequest(head(), c).authority, 'other');
  });
});

describe('redirects (HTTPRouteRedirectPort, …Scheme, …Path)', () => {
  const rows: readonly (readonly [string, object, number, string])[] = [
    ['host', { hostname: 'example.org' }, 80, 'http://example.org/p?q=1'],
    [
      'host keeps the port asked',
      { hostname: 'example.org' },
      8080,
      'http://example.org:8080/p?q=1',
    ],
    ['scheme sets its port', { scheme: 'https' }, 8080, 'https://shop/p?q=1'],
    ['port', { port: 8083 }, 80, 'http://shop:8083/p?q=1'],
    ['port 443 with https is left out', { scheme: 'https', port: 443 }, 80, 'https://shop/p?q=1'],
    ['full path', { path: { full: '/new', change: 'full' } }, 80, 'http://shop/new?q=1'],
    ['prefix', { path: { prefix: '/x', change: 'prefix' } }, 80, 'http://shop/x?q=1'],
  ];
  for (const [name, r, port, wanted] of rows) {
    test(name, () => {
      const full = { scheme: '', hostname: '', port: 0, status: 0, ...r };
      const answer = redirect(head({ path: '/p', query: '?q=1' }), '/p', full, port);
      assert.equal(answer.headers?.[0]?.[1], wanted);
      assert.equal(answer.status, 302);
    });
  }
});

test('a rewrite keeps the original path for the application', () => {
  const out = rewrite(head({ path: '/a/b', query: '?x' }), '/a', {
    hostname: 'h',
    path: { prefix: '/z', change: 'prefix' },
  });
  assert.deepEqual([out.path, out.query, out.authority], ['/z/b', '?x', 'h']);
  assert.deepEqual(out.headers, [['x-envoy-original-path', '/a/b?x']]);
});

describe('CORS (HTTPRouteCORS)', () => {
  const base = {
    origins: ['https://*.shop.example', 'http://exact.example:8080'],
    credentials: false,
    methods: ['GET', 'PUT'],
    headers: ['x-a'],
    expose: ['x-out'],
    maxAgeSeconds: 5,
    originMatches: [],
    forwardUnmatched: false,
  };
  const preflight = (origin: string): RequestHead =>
    head({
      method: 'OPTIONS',
      headers: [
        ['origin', origin],
        ['access-control-request-method', 'PUT'],
        ['access-control-request-headers', 'x-q'],
      ],
    });

  test('a known origin gets its answer from the proxy', () => {
    const a = cors(preflight('https://a.b.shop.example'), base);
    assert.ok(a.do === 'reply');
    assert.deepEqual(Object.fromEntries(a.reply.headers ?? []), {
      'access-control-allow-origin': 'https://a.b.shop.example',
      'access-control-allow-methods': 'GET, PUT',
      'access-control-allow-headers': 'x-a',
      'access-control-expose-headers': 'x-out',
      'access-control-max-age': '5',
    });
  });
  test('an unknown origin gets no CORS header and is not forwarded', () => {
    const a = cors(preflight('https://shop.example'), base);
    assert.ok(a.do === 'reply');
    assert.deepEqual(a.reply.headers, []);
    assert.equal(a.reply.status, 200);
  });
  test('wildcards with credentials echo what was asked', () => {
    const a = cors(preflight('http://x'), {
      ...base,
      origins: ['*'],
      methods: ['*'],
      headers: ['*'],
      credentials: true,
    });
    assert.ok(a.do === 'reply');
    const got = Object.fromEntries(a.reply.headers ?? []);
    assert.equal(got['access-control-allow-methods'], 'PUT');
    assert.equal(got['access-control-allow-headers'], 'x-q');
    assert.equal(got['access-control-allow-credentials'], 'true');
  });
  test('a simple request is forwarded and its answer marked', () => {
    const a = cors(head({ headers: [['origin', 'http://exact.example:8080']] }), base);
    assert.ok(a.do === 'forward');
    assert.equal(a.headers[0]?.[1], 'http://exact.example:8080');
  });
});
