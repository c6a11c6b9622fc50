// Limits on requests over the whole path (waypoint-l7.md 10): here, and together over two waypoints by a real server on
// a real store.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import http from 'node:http';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import grpc from '@grpc/grpc-js';
import { FakeClock, silentLog } from '../../core/base/index.ts';
import { L7PolicyAction, L7PortProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import { type Draft, encode, type RpcServer } from '../../core/rpc/index.ts';
import { systemClock, systemRandom } from '../../core/runtime/index.ts';
import {
  MemoryStore,
  RedisStore,
  startRateLimitServer,
  type Store,
} from '../../ratelimit/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const vip = at(100);
const app = http.createServer((_req, res) => void res.end('hello'));
let appAt = '';
let one: TestWaypoint;
let two: TestWaypoint;

const limit = (more: Draft<wire.L7RateLimit> = {}): Draft<wire.L7RateLimit> => ({
  policy: 'shop/limits',
  name: 'each',
  requests: 2,
  unitMs: 3_600_000,
  by: [{ identity: true }],
  ...more,
});
const shared = (more: Draft<wire.L7SharedLimit> = {}): Draft<wire.L7SharedLimit> => ({
  namespace: 'shop',
  hostname: 'counter.shop.svc.cluster.local',
  port: 80,
  timeoutMs: 5_000,
  domain: 'shop/limits',
  ...more,
});
function configure(
  w: TestWaypoint,
  rateLimits: readonly Draft<wire.L7RateLimit>[],
  more = {},
): void {
  const ports = [{ port: 80, protocol: L7PortProtocol.HTTP }];
  w.configure('web', { ports, rateLimits, ...more });
}
async function ask(w: TestWaypoint, more = ''): Promise<{ status: number; text: string }> {
  const text = await w.exchange(
    `${vip}:80`,
    `GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n${more}\r\n`,
  );
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0), text };
}

before(async () => {
  await new Promise<void>((resolve) => app.listen(0, at(10), resolve));
  appAt = `${at(10)}:${(app.address() as net.AddressInfo).port}`;
  [one, two] = await Promise.all([startTestWaypoint(at(1)), startTestWaypoint(at(2))]);
  for (const w of [one, two]) w.service('web', vip, 80, [appAt]);
});
after(async () => {
  await Promise.all([one.stop(), two.stop()]);
  app.closeAllConnections();
  app.close();
});

describe('counted here', () => {
  test('429 with its text, flag and headers; who is denied anyway uses nothing up', async () => {
    const deny = {
      key: 'shop/no',
      action: L7PolicyAction.DENY,
      rules: [{ when: [{ key: 'request.headers[x-bad]', values: { any: ['1'] } }] }],
    };
    configure(one, [limit()], { policies: [deny] });
    for (let i = 0; i < 5; i++) assert.equal((await ask(one, 'x-bad: 1\r\n')).status, 403);
    const first = await ask(one);
    assert.equal(first.status, 200);
    assert.match(first.text, /^x-ratelimit-limit: 2, 2;w=3600;name="each"\r$/im);
    assert.match(first.text, /^ratelimit: "each";r=1;t=\d+\r$/im);
    assert.equal((await ask(one)).status, 200);
    const over = await ask(one);
    assert.equal(over.status, 429);
    assert.match(over.text, /local_rate_limited$/);
    assert.match(over.text, /^x-envoy-ratelimited: true\r$/im);
    assert.match(over.text, /^retry-after: \d+\r$/im);
    const grpc = await ask(one, 'content-type: application/grpc\r\n');
    assert.match(grpc.text, /^grpc-status: 8\r$/im);
    const line = one.lines.findLast((l) => l.includes('local_rate_limited')) ?? '';
    assert.match(line, /shop\/limits/);
    assert.match(
      (await one.metrics.render(undefined)).body,
      /ambient_waypoint_rate_limits_total\{policy="shop\/limits",limit="each",outcome="limited"\} 2/,
    );
  });

  test('dry run: counted, not refused, not told', async () => {
    configure(one, [limit({ requests: 1, dryRun: true })]);
    for (let i = 0; i < 3; i++) {
      const r = await ask(one);
      assert.equal(r.status, 200);
      assert.doesNotMatch(r.text, /ratelimit/i);
    }
    assert.match((await one.metrics.render(undefined)).body, /outcome="would-limit"\} 2/);
  });
});

async function serve(
  store: Store,
  clock = new FakeClock(1_000_000),
): Promise<[RpcServer, FakeClock]> {
  const server = await startRateLimitServer({
    host: at(10),
    port: 0,
    store,
    clock,
    log: silentLog,
  });
  for (const w of [one, two]) w.service('counter', at(101), 80, [`${at(10)}:${server.port}`]);
  return [server, clock];
}

/** Fifteen requests at each of two waypoints, three times with a second between them. */
async function holdTogether(store: Store): Promise<void> {
  const [server, clock] = await serve(store);
  const together = limit({ requests: 10, unitMs: 1_000, shared: shared() });
  configure(one, [together]);
  configure(two, [together]);
  for (let second = 0; second < 3; second++) {
    const all = await Promise.all(Array.from({ length: 15 }, () => [ask(one), ask(two)]).flat());
    const passed = all.filter((r) => r.status === 200).length;
    const refused = all.filter((r) => r.status === 429);
    assert.equal(passed, 10);
    assert.equal(refused.length, 20);
    assert.match(refused[0]?.text ?? '', /^x-ratelimit-remaining: 0\r$/im);
    clock.advance(1_000);
  }
  await server.stop(0);
}

/** Two requests without an answer about this limit were counted, and a line says so. */
async function untold(name: string): Promise<void> {
  const { body } = await one.metrics.render(undefined);
  assert.ok(body.includes(`limit="${name}",outcome="error"} 2`), name);
  assert.ok(one.lines.some((l) => l.includes('rate limit service gave no answer')));
}

describe('counted together', () => {
  test('10 a second for one identity, over two waypoints', async () => {
    const store = new MemoryStore(systemClock);
    await holdTogether(store);
    store.stop();
  });

  test('the server is down: let on, or refused where the policy says so; told and counted', async () => {
    one.service('counter', at(101), 80, [`${at(10)}:1`]);
    configure(one, [limit({ requests: 1, unitMs: 1_000, shared: shared() })]);
    assert.equal((await ask(one)).status, 200);
    assert.equal((await ask(one)).status, 200);
    const failClosed = shared({ failClosed: true });
    configure(one, [limit({ requests: 1, unitMs: 1_000, shared: failClosed })]);
    assert.equal((await ask(one)).status, 500);
    assert.ok(one.lines.some((l) => l.includes('rate limit service gave no answer')));
    assert.match((await one.metrics.render(undefined)).body, /outcome="error"\} [1-9]/);
  });

  test('slow: cut at its limit, and as for no answer; others go on meanwhile', async () => {
    const never: Store = { add: () => new Promise(() => {}), stop: () => {} };
    const [server] = await serve(never);
    const closed = { name: 'slow', requests: 1, unitMs: 1_000 };
    configure(one, [limit({ ...closed, shared: shared({ timeoutMs: 300, failClosed: true }) })]);
    configure(two, []);
    const slow = ask(one);
    assert.equal((await ask(two)).status, 200);
    assert.equal((await slow).status, 500);
    configure(one, [limit({ ...closed, shared: shared({ timeoutMs: 50 }) })]);
    assert.equal((await ask(one)).status, 200);
    await server.stop(0);
    await untold('slow');
  });

  const lies: readonly (readonly [string, unknown])[] = [
    ['an error', 'error'],
    ['bytes that are no message', Buffer.from('\xff\xff\xff', 'latin1')],
    ['no status', { statuses: [] }],
    ['a status too many', { statuses: [{ code: 1 }, { code: 1 }] }],
  ];
  for (const [what, lie] of lies) {
    test(`lying: ${what}: as for no answer`, async () => {
      const server = new grpc.Server();
      server.register(
        '/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit',
        (_call: grpc.ServerUnaryCall<Buffer, unknown>, done: grpc.sendUnaryData<unknown>): void => {
          if (lie === 'error') done({ code: grpc.status.UNAVAILABLE, details: 'broken' });
          else done(null, lie);
        },
        (a: unknown) =>
          Buffer.isBuffer(a)
            ? a
            : encode('envoy.service.ratelimit.v3.RateLimitResponse', a as object),
        (b: Buffer) => b,
        'unary',
      );
      const port = await new Promise<number>((resolve, reject) => {
        const insecure = grpc.ServerCredentials.createInsecure();
        server.bindAsync(`${at(10)}:0`, insecure, (e, bound) => (e ? reject(e) : resolve(bound)));
      });
      one.service('counter', at(101), 80, [`${at(10)}:${port}`]);
      const name = what.replaceAll(' ', '-');
      const of = (failClosed: boolean) => shared({ timeoutMs: 5_000, failClosed });
      configure(one, [limit({ name, requests: 1, unitMs: 1_000, shared: of(true) })]);
      assert.equal((await ask(one)).status, 500);
      configure(one, [limit({ name, requests: 1, unitMs: 1_000, shared: of(false) })]);
      assert.equal((await ask(one)).status, 200);
      server.forceShutdown();
      await untold(name);
    });
  }
});

const redis = spawnSync('redis-server', ['--version']).status === 0;
describe('on a store that speaks the Redis protocol', {
  skip: redis ? false : 'LOUD: redis-server is not installed, the real store was NOT tested',
}, () => {
  let child: ChildProcess;
  let port = 0;
  const start = async (): Promise<void> => {
    const args = ['--port', String(port), '--bind', at(10), '--save', '', '--appendonly', 'no'];
    child = spawn('redis-server', [...args, '--protected-mode', 'no', '--dir', '/tmp'], {
      stdio: 'ignore',
    });
    await eventually(
      () =>
        new Promise<boolean>((resolve) => {
          const s = net.connect({ host: at(10), port });
          s.once('connect', () => resolve(true)).once('error', () => resolve(false));
          s.once('connect', () => s.destroy());
        }),
      'redis-server',
    );
  };
  before(async () => {
    const probe = net.createServer();
    await new Promise<void>((resolve) => probe.listen(0, at(10), resolve));
    port = (probe.address() as net.AddressInfo).port;
    await new Promise((resolve) => probe.close(resolve));
    await start();
  });
  after(() => void child.kill('SIGKILL'));

  test('two waypoints hold one limit; the store goes and comes back', async () => {
    const store = new RedisStore({
      host: at(10),
      port,
      timeoutMs: 1_000,
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
    });
    const count = { key: `t|${process.pid}`, hits: 1, keepMs: 60_000 };
    const add = (): Promise<number[] | undefined> => store.add([count]).catch(() => undefined);
    await eventually(add, 'the store');
    await holdTogether(store);
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    await eventually(async () => (await add()) === undefined, 'no store');
    await start();
    await eventually(async () => (await add()) !== undefined, 'the store again');
    store.stop();
  });
});
