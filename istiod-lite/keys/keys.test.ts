// Key sets from a real server that is slow, wrong, huge or elsewhere (waypoint-l7.md 7.3; row J9), and their times.
import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { FakeClock, parseCidr, silentLog } from '../../core/base/index.ts';
import { eventually } from '../../test/kit/eventually.ts';
import { readConfig } from '../config.ts';
import { fetchText } from './fetch.ts';
import { readKeySet } from './key-set.ts';
import { KeySets } from './key-sets.ts';
import { failed, neverFetched, succeeded, waitFor } from './refresh-state.ts';

const key = { kty: 'EC', crv: 'P-256', x: 'x', y: 'y', kid: '1' };

test('of a key its public members are passed on, nothing else', () => {
  const read = readKeySet(JSON.stringify({ keys: [{ ...key, d: 'secret', x5c: ['c'] }, 7, null] }));
  assert.deepEqual(read, {
    keys: JSON.stringify({ keys: [{ kty: 'EC', kid: '1', crv: 'P-256', x: 'x', y: 'y' }] }),
  });
  const many = JSON.stringify({ keys: Array.from({ length: 101 }, () => key) });
  for (const bad of ['', 'null', '{}', '[]', '{"keys":[]}', '{"keys":{}}', many])
    assert.ok('fault' in readKeySet(bad), bad.slice(0, 20));
});

test('times: 20 min, after a failure 1 min doubling to 60 min, quick at first; old keys for 7 days', () => {
  const minute = 60_000;
  assert.equal(waitFor(succeeded('k', 0)), 20 * minute);
  let s = succeeded('k', 0);
  const waits: number[] = [];
  for (let i = 0; i < 9; i++) {
    s = failed(s, 'down', i);
    waits.push(waitFor(s) / minute);
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
  assert.equal(s.keys, 'k');
  assert.equal(failed(s, 'down', 7 * 24 * 60 * minute + 1).keys, undefined);
  let n = neverFetched;
  const quick: number[] = [];
  for (let i = 0; i < 9; i++) {
    n = failed(n, 'down', i);
    quick.push(waitFor(n) / 1000);
  }
  assert.deepEqual(quick, [1, 1, 1, 1, 1, 1, 1, 60, 120]);
});

describe('K10 by default a user’s URL never leads to this machine or its link', async () => {
  const config = readConfig({});
  assert.ok(config.ok);
  const blocked = config.value.blockedKeyAddresses.map(parseCidr).filter((c) => c !== undefined);
  const urls = [
    'http://169.254.169.254/latest/meta-data/',
    'http://[fe80::1]/keys',
    'http://127.0.0.1:15014/debug/resources',
    'http://127.9.9.9/keys',
    'http://2130706433/keys',
    'http://0x7f.1/keys',
    'http://0/keys',
    'http://0.0.0.0:8080/ready',
    'http://[::1]/keys',
    'http://[::]/keys',
    'http://[::ffff:127.0.0.1]/keys',
    'http://[::ffff:a9fe:a9fe]/keys',
    'http://localhost/keys',
    'https://user@localhost./keys',
  ];
  for (const url of urls) {
    test(url, () =>
      assert.rejects(fetchText(url, { timeoutMs: 5_000, maxBytes: 1 << 20, blocked }), (e) =>
        /may not be called|ENOTFOUND|EAI_AGAIN/.test(String(e)),
      ),
    );
  }
});

describe('J9 a server of keys', () => {
  let origin = '';
  let answers = 0;
  let good = true;
  const server = http.createServer((req, res) => {
    answers++;
    const url = req.url ?? '';
    if (url === '/slow') return;
    if (url === '/elsewhere')
      return void res.writeHead(302, { location: 'http://169.254.169.254/' }).end();
    if (url === '/moved') return void res.writeHead(301, { location: '/keys' }).end();
    if (url === '/round') return void res.writeHead(302, { location: '/round' }).end();
    if (url === '/huge') {
      const part = Buffer.alloc(64 << 10, 32);
      const more = (): void => {
        while (!res.destroyed && res.write(part));
      };
      res.on('drain', more);
      return more();
    }
    if (url === '/.well-known/openid-configuration')
      return void res.end(JSON.stringify({ jwks_uri: `${origin}/keys` }));
    if (url === '/keys' && good) return void res.end(JSON.stringify({ keys: [key] }));
    res.writeHead(503).end('secret text of somebody');
  });
  before(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(() => {
    server.closeAllConnections();
    server.close();
  });

  const blocked = [parseCidr('169.254.0.0/16'), parseCidr('fe80::/10')].filter(
    (c) => c !== undefined,
  );
  const get = (path: string, timeoutMs = 5_000): Promise<string> =>
    fetchText(path.startsWith('/') ? origin + path : path, {
      timeoutMs,
      maxBytes: 1 << 20,
      blocked,
    });
  const rows: readonly (readonly [string, string, RegExp])[] = [
    ['redirect to a link-local address', '/elsewhere', /redirects to another host/],
    ['redirects without end', '/round', /redirects too often/],
    ['100 MB', '/huge', /longer than 1048576 bytes/],
    ['an error', '/none', /^Error: it answers 503$/],
    ['a link-local address', 'http://169.254.169.254/latest', /may not be called/],
    ['the same in IPv6', 'http://[::ffff:169.254.169.254]/', /may not be called/],
    ['another scheme', 'file:///etc/passwd', /no http or https URL/],
    ['no URL', 'x', /no http or https URL/],
  ];
  for (const [name, path, text] of rows) test(name, () => assert.rejects(get(path), text));
  test('no answer', () => assert.rejects(get('/slow', 50), /no answer within 50 ms/));
  test('a redirect on the same host is followed', async () => {
    assert.match(await get('/moved'), /"keys"/);
  });

  test('kept while the server fails, and looked for again; nothing of its answer is told', async () => {
    const clock = new FakeClock();
    let changes = 0;
    const changed = (): void => void changes++;
    const sets = new KeySets({ clock, log: silentLog, blocked: [], changed });
    const source = { kind: 'issuer', url: origin, timeoutMs: 5_000 } as const;
    sets.want([source]);
    assert.deepEqual(sets.lookup(source), { keys: undefined, fault: 'it was not fetched yet' });
    await eventually(() => sets.lookup(source).keys?.includes('"kid":"1"'));
    good = false;
    const before = answers;
    clock.advance(20 * 60_000);
    await eventually(() => sets.lookup(source).fault === 'it answers 503');
    assert.ok(answers > before);
    assert.ok(sets.lookup(source).keys);
    good = true;
    await eventually(() => {
      clock.advance(60_000);
      return sets.lookup(source).fault === undefined;
    });
    assert.ok(changes >= 3);
    sets.want([]);
    assert.equal(sets.lookup(source).keys, undefined);
    sets.stop();
  });
});
