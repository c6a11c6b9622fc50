// How a waypoint sends on: balancing, ejection, breakers, sessions, faults, and what it holds meanwhile. Real mutual TLS
// from the caller, real applications.
import assert from 'node:assert/strict';
import http from 'node:http';
import type net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { L7Balancer, L7PathKind, L7PortProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { cluster, startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const vip = (n: number): string => at(100 + n);
const stops: (() => void)[] = [];
let w: TestWaypoint;

type Handler = (req: http.IncomingMessage, res: http.ServerResponse) => void;
const hello =
  (name: string): Handler =>
  (_req, res) =>
    void res.end(name);

/** Applications at addresses of their own; gives `ip:port` of each. */
async function apps(...handlers: readonly Handler[]): Promise<string[]> {
  return Promise.all(
    handlers.map(async (handler, i) => {
      const server = http.createServer((req, res) => {
        req.on('error', () => {});
        handler(req, res);
      });
      const ip = at(10 + i);
      await new Promise<void>((resolve) => server.listen(0, ip, resolve));
      stops.push(() => {
        server.close();
        server.closeAllConnections();
      });
      return `${ip}:${(server.address() as net.AddressInfo).port}`;
    }),
  );
}

const rule = (more: Draft<wire.L7RouteRule>): Draft<wire.L7PortConfig> => ({
  port: 80,
  protocol: L7PortProtocol.HTTP,
  routes: {
    rules: [{ route: 'shop/r', name: 'r', ...more }],
    entries: [{ match: { pathKind: L7PathKind.PREFIX, path: '' }, rule: 0 }],
  },
});
const plain: Draft<wire.L7PortConfig> = { port: 80, protocol: L7PortProtocol.HTTP };
const to = (name: string, more: Draft<wire.L7RouteBackend> = {}): Draft<wire.L7RouteBackend> => ({
  namespace: 'shop',
  hostname: `${name}.shop.svc.cluster.local`,
  port: 80,
  weight: 1,
  protocol: L7PortProtocol.HTTP,
  ...more,
});
const ask = (n: number, more = '', path = '/'): Promise<string> =>
  w.exchange(
    `${vip(n)}:80`,
    `GET ${path} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n${more}\r\n`,
  );
const status = (text: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0);
const body = (text: string): string =>
  text.split('\r\n\r\n')[1]?.replace(/^[0-9a-f]+\r\n/, '') ?? '';
const who = (text: string): string => /\b(one|two|three)\b/.exec(body(text))?.[0] ?? '';

interface Dump {
  readonly clusters: {
    readonly cluster: string;
    readonly breaker: Record<string, number>;
    readonly outliers: { readonly host: string; readonly ejected: boolean }[];
  }[];
  readonly tunnels: { readonly held: { readonly bytes: number; readonly most: number } };
}
const dump = async (): Promise<Dump> => {
  const { host, port } = w.waypoint.addresses.admin;
  return (await (await fetch(`http://${host}:${port}/config_dump`)).json()) as Dump;
};
const clusterDump = async (name: string) =>
  (await dump()).clusters.find((c) => c.cluster.includes(`/${name}.`));

const warnings: string[] = [];
const warned = (warning: Error): void => void warnings.push(warning.message);

before(async () => {
  process.on('warning', warned);
  w = await startTestWaypoint(at(1));
});
after(async () => {
  process.off('warning', warned);
  await w.stop();
  for (const stop of stops) stop();
});

describe('balancing', () => {
  before(async () => {
    w.service('three', vip(1), 80, await apps(hello('one'), hello('two'), hello('three')));
  });
  const use = (traffic: Draft<wire.L7TrafficPolicy>): void =>
    w.configure('three', { ports: [plain], clusters: [cluster('three', traffic)] });

  test('ROUND_ROBIN: everyone in turn', async () => {
    use({ balancer: L7Balancer.ROUND_ROBIN });
    const seen: string[] = [];
    for (let i = 0; i < 6; i++) seen.push(who(await ask(1)));
    assert.deepEqual(seen.toSorted(), ['one', 'one', 'three', 'three', 'two', 'two']);
  });

  for (const [name, balancer] of [
    ['ring hash', L7Balancer.RING_HASH],
    ['maglev', L7Balancer.MAGLEV],
  ] as const) {
    test(`consistentHash by header, ${name}: one key one endpoint, keys on several`, async () => {
      use({ balancer, hash: { header: 'x-user' }, tableSize: 1021 });
      const places = new Set<string>();
      for (let user = 0; user < 12; user++) {
        const first = who(await ask(1, `x-user: ${user}\r\n`));
        assert.equal(who(await ask(1, `x-user: ${user}\r\n`)), first);
        places.add(first);
      }
      assert.ok(places.size > 1);
    });
  }

  test('consistentHash by cookie with ttl: made once, then followed', async () => {
    const attributes = [{ name: 'SameSite', value: 'Lax' }, { name: 'Secure' }];
    const hash = {
      cookie: { name: 'where', path: '/', generate: true, ttlMs: 60_000, attributes },
    };
    use({ balancer: L7Balancer.RING_HASH, hash });
    const first = await ask(1);
    const cookie =
      /set-cookie: (where="[0-9a-f]{16}"); Max-Age=60; Path=\/; SameSite=Lax; Secure; HttpOnly/.exec(
        first,
      )?.[1];
    assert.ok(cookie, first);
    for (let i = 0; i < 4; i++) {
      const again = await ask(1, `cookie: a=b; ${cookie}\r\n`);
      assert.equal(who(again), who(first));
      assert.doesNotMatch(again, /set-cookie/);
    }
  });

  test('a subset: its members alone; an empty one has nobody', async () => {
    const members = ['Kubernetes//Pod/shop/three-1'];
    w.configure('three', {
      ports: [rule({ backends: [to('three', { subset: 'v2' })] })],
      clusters: [cluster('three', {}, { subset: 'v2', members })],
    });
    for (let i = 0; i < 4; i++) assert.equal(who(await ask(1)), 'two');
    w.configure('three', {
      ports: [rule({ backends: [to('three', { subset: 'v2' })] })],
      clusters: [cluster('three', {}, { subset: 'v2', members: [] })],
    });
    assert.equal(status(await ask(1)), 503);
    w.configure('three', { ports: [rule({ backends: [to('three', { noCluster: true })] })] });
    assert.equal(status(await ask(1)), 503);
  });

  for (const [name, session, header] of [
    ['Cookie', { cookie: 'sticky', path: '/x' }, 'cookie'],
    ['Header', { header: 'x-sticky' }, 'x-sticky'],
  ] as const) {
    test(`sessionPersistence, ${name}: the same endpoint of the same backend while it is there`, async () => {
      w.configure('three', { ports: [rule({ backends: [to('three')], session })] });
      const first = await ask(1);
      const token = /(?:set-cookie: sticky="|x-sticky: )([0-9a-z.]+)/.exec(first)?.[1];
      assert.ok(token, first);
      if (name === 'Cookie') assert.match(first, /; Path=\/x; HttpOnly/);
      const sent = name === 'Cookie' ? `cookie: sticky="${token}"` : `${header}: ${token}`;
      for (let i = 0; i < 6; i++) assert.equal(who(await ask(1, `${sent}\r\n`)), who(first));
      const lost = await ask(1, `${sent.replace(token, 'zzzz.1')}\r\n`);
      assert.match(lost, name === 'Cookie' ? /set-cookie: sticky=/ : /x-sticky: (?!zzzz)/);
    });
  }
});

describe('an endpoint that answers 503', () => {
  test('is ejected after its errors in a row, shown at the admin port, and passed over', async () => {
    let bad = 0;
    const sick: Handler = (_req, res) => {
      bad++;
      res.writeHead(503).end('sick');
    };
    w.service('sick', vip(2), 80, await apps(hello('one'), sick));
    const outlier = { consecutive_5xx: 2, maxEjectionPercent: 100, baseEjectionMs: 600_000 };
    const traffic = { balancer: L7Balancer.ROUND_ROBIN, outlier };
    w.configure('sick', { ports: [plain], clusters: [cluster('sick', traffic)] });
    for (let i = 0; i < 12; i++) await ask(2);
    assert.equal(bad, 2);
    const shown = (await clusterDump('sick'))?.outliers.find((o) => o.ejected);
    assert.equal(shown?.host, 'Kubernetes//Pod/shop/sick-1');
    const { port } = w.waypoint.addresses.stats;
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    assert.match(
      metrics,
      /ambient_waypoint_ejections_total\{destination_service="shop\/sick\..*after="5xx".*\} 1/,
    );
  });

  test('everybody ejected: 503 no healthy upstream; with minHealthPercent all are used', async () => {
    const [one] = await apps((_req, res) => void res.writeHead(500).end('no'));
    assert.ok(one);
    w.service('alone', vip(3), 80, [one]);
    const outlier = { consecutive_5xx: 1, maxEjectionPercent: 100, baseEjectionMs: 600_000 };
    w.configure('alone', { ports: [plain], clusters: [cluster('alone', { outlier })] });
    assert.equal(status(await ask(3)), 500);
    assert.match(await ask(3), /503[\s\S]*no healthy upstream$/);
    const panic = { outlier: { ...outlier, minHealthPercent: 50 } };
    w.configure('alone', { ports: [plain], clusters: [cluster('alone', panic)] });
    assert.equal(status(await ask(3)), 500);
  });
});

test('the mesh’s own retries hold where no rule says anything of them, and no rule is needed', async () => {
  let tries = 0;
  const [flaky] = await apps(
    (_req, res) => void res.writeHead(++tries % 3 === 0 ? 200 : 500).end(),
  );
  assert.ok(flaky);
  w.service('flaky', vip(91), 80, [flaky]);
  const policy = { attempts: 2, on: ['5xx'], sameHost: true, backoffMs: 1 };
  w.configure('flaky', { ports: [plain], defaultRetry: policy });
  assert.deepEqual([status(await ask(91)), tries], [200, 3]);
  const own = rule({ backends: [to('flaky')], retry: { attempts: 0 } });
  w.configure('flaky', { ports: [own], defaultRetry: policy });
  assert.deepEqual([status(await ask(91)), tries], [500, 4]);
  w.configure('flaky', { ports: [plain], defaultRetry: { ...policy, attempts: 0 } });
  assert.deepEqual([status(await ask(91)), tries], [500, 5]);
});

describe('circuit breakers', () => {
  const waiting: http.ServerResponse[] = [];
  before(async () => {
    w.service('slow', vip(4), 80, await apps((_req, res) => void waiting.push(res)));
  });
  const rows: readonly (readonly [string, Draft<wire.L7TrafficPolicy>])[] = [
    ['http2MaxRequests', { maxRequests: 1 }],
    ['http1MaxPendingRequests, at one connection', { maxConnections: 1, maxPending: 1 }],
  ];
  for (const [name, traffic] of rows) {
    test(`F34 ${name}: 503 overflow, x-envoy-overloaded, and room again afterwards`, async () => {
      waiting.length = 0;
      w.configure('slow', { ports: [plain], clusters: [cluster('slow', traffic)] });
      const first = ask(4);
      await eventually(() => waiting.length === 1, 'the first request');
      // The second waits for the connection where there is one; the one after it finds no room.
      const second = traffic.maxConnections ? ask(4) : undefined;
      if (second) {
        await eventually(
          async () => (await clusterDump('slow'))?.breaker['pending'] === 1,
          'pending',
        );
      }
      const over = await ask(4);
      assert.match(
        over,
        /^HTTP\/1\.1 503[\s\S]*x-envoy-overloaded: true[\s\S]*reset reason: overflow$/,
      );
      assert.equal(waiting.length, 1);
      waiting[0]?.end('one');
      assert.equal(status(await first), 200);
      if (second) {
        await eventually(() => waiting.length === 2, 'the second request');
        waiting[1]?.end('two');
        assert.equal(status(await second), 200);
      }
      await eventually(async () => (await clusterDump('slow'))?.breaker['requests'] === 0, 'rest');
      assert.match(w.lines.join('\n'), /"?response_flags"?[=:]"?UO/);
    });
  }

  test('maxRequestsPerConnection 1: a connection each', async () => {
    const ports = new Set<number | undefined>();
    const note: Handler = (req, res) => {
      ports.add(req.socket.remotePort);
      res.end('one');
    };
    w.service('once', vip(5), 80, await apps(note));
    const traffic = { maxRequestsPerConnection: 1 };
    w.configure('once', { ports: [plain], clusters: [cluster('once', traffic)] });
    for (let i = 0; i < 3; i++) await ask(5);
    assert.equal(ports.size, 3);
  });
});

describe('faults and answers put in', () => {
  before(async () => {
    w.service('web', vip(6), 80, await apps(hello('one')));
  });
  const use = (more: Draft<wire.L7RouteRule>): void =>
    w.configure('web', { ports: [rule({ backends: [to('web')], ...more })] });

  test('abort: the status, the body, the flag; a share of 0 hits nobody', async () => {
    use({ fault: { abortStatus: 418, abortShare: 1_000_000 } });
    const text = await ask(6);
    assert.equal(status(text), 418);
    assert.equal(body(text), 'fault filter abort');
    await eventually(() => /"?response_flags"?[=:]"?FI/.test(w.lines.join('\n')), 'the line');
    use({ fault: { abortStatus: 418, abortShare: 0 } });
    assert.equal(status(await ask(6)), 200);
  });

  test('delay, then the answer, with DI in the log', async () => {
    use({ fault: { delayMs: 5, delayShare: 1_000_000 } });
    assert.equal(status(await ask(6)), 200);
    await eventually(() => /"?response_flags"?[=:]"?DI/.test(w.lines.join('\n')), 'the line');
  });

  test('directResponse', async () => {
    use({ direct: { status: 503, body: Buffer.from('closed for today – sorry') } });
    const text = await w.exchange(
      `${vip(6)}:80`,
      'GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n',
    );
    assert.equal(status(text), 503);
    assert.equal(Buffer.from(body(text), 'latin1').toString(), 'closed for today – sorry');
  });
});

describe('what is held', () => {
  const mib = 1 << 20;

  test('L16 a slow reader: at most 1 MiB for its stream; another is not slowed', async () => {
    let written = 0;
    const flood: Handler = (req, res) => {
      if (req.url !== '/flood') return void res.end('one');
      const chunk = Buffer.alloc(64 << 10);
      const more = (): void => {
        while (written < 256 * mib && !res.destroyed) {
          written += chunk.length;
          if (!res.write(chunk)) return void res.once('drain', more);
        }
      };
      more();
    };
    w.service('flood', vip(7), 80, await apps(flood));
    w.configure('flood', { ports: [plain] });
    const stream = await w.connect(`${vip(7)}:80`);
    stream.pause();
    stream.write('GET /flood HTTP/1.1\r\nhost: a\r\n\r\n');
    let before = -1;
    // Until nothing moves any more: everything that can be full is full.
    await eventually(async () => {
      const still = written > mib && written === before;
      before = written;
      for (let i = 0; i < 5; i++) await ask(7);
      return still;
    }, 'standstill');
    assert.ok(written < 256 * mib, 'the application was never held back');
    const { most } = (await dump()).tunnels.held;
    assert.ok(most > 0 && most <= mib, `${most} bytes are held for one stream`);
    stream.destroy();
  });

  test('a big upload streams: at most 1 MiB at any time', async () => {
    let got = 0;
    const sink: Handler = (req, res) => {
      req.on('data', (c: Buffer) => (got += c.length));
      req.on('end', () => res.end(String(got)));
    };
    w.service('sink', vip(8), 80, await apps(sink));
    w.configure('sink', { ports: [plain] });
    const total = 48 * mib;
    const stream = await w.connect(`${vip(8)}:80`);
    stream.write(
      `POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: ${total}\r\n\r\n`,
    );
    const chunk = Buffer.alloc(256 << 10);
    let most = 0;
    for (let sent = 0; sent < total; sent += chunk.length) {
      if (!stream.write(chunk)) await new Promise((resolve) => stream.once('drain', resolve));
      if (sent % (4 * mib) === 0) most = Math.max(most, (await dump()).tunnels.held.most);
    }
    let text = '';
    stream.on('data', (c: Buffer) => (text += c.toString()));
    await eventually(() => text.includes(String(total)), 'the answer');
    assert.ok(most <= mib, `${most} bytes were held`);
  });

  test('a mirror that does not read is given up and holds nothing back', async () => {
    let got = 0;
    const sink: Handler = (req, res) => {
      req.on('data', (c: Buffer) => (got += c.length));
      req.on('end', () => res.end('one'));
    };
    const [reads, deaf] = await apps(sink, (req) => void req.pause());
    assert.ok(reads && deaf);
    w.service('reads', vip(9), 80, [reads]);
    w.service('deaf', vip(10), 80, [deaf]);
    const filters = { mirrors: [{ backend: to('deaf') }] };
    w.configure('reads', { ports: [rule({ backends: [to('reads')], filters })] });
    const total = 24 * mib;
    const stream = await w.connect(`${vip(9)}:80`);
    stream.write(
      `POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: ${total}\r\n\r\n`,
    );
    const chunk = Buffer.alloc(mib);
    for (let sent = 0; sent < total; sent += chunk.length) {
      if (!stream.write(chunk)) await new Promise((resolve) => stream.once('drain', resolve));
    }
    let text = '';
    stream.on('data', (c: Buffer) => (text += c.toString()));
    await eventually(() => text.startsWith('HTTP/1.1 200'), 'the answer');
    assert.equal(got, total);
  });
});

test('nothing piled up on a kept connection', () => assert.deepEqual(warnings, []));
