// CONNECT tunnels over memory: accept, refuse, half-close, reset, drain, races, limits, hostile frames.
import assert from 'node:assert/strict';
import http2, { constants } from 'node:http2';
import { duplexPair, type Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { FakeClock, MeshError, silentLog } from '../base/index.ts';
import { type HboneClient, openHbone } from './client.ts';
import type { HboneLimits } from './limits.ts';
import { Pool } from './pool.ts';
import { policyResetCode, pump, resetStream } from './pump.ts';
import { type HboneServer, type Incoming, serveHbone } from './server.ts';

interface Ends {
  readonly client: HboneClient;
  readonly server: HboneServer;
  readonly clock: FakeClock;
  readonly raw: readonly [Duplex, Duplex];
  close(): void;
}

function connect(onConnect: (c: Incoming) => void, limits: Partial<HboneLimits> = {}): Ends {
  const clock = new FakeClock();
  const [near, far] = duplexPair();
  const options = { clock, log: silentLog, limits };
  const server = serveHbone(far, { ...options, onConnect });
  const client = openHbone(near, options);
  const close = (): void => {
    client.destroy();
    server.destroy();
    near.destroy();
    far.destroy();
  };
  return { client, server, clock, raw: [near, far], close };
}

const echo = (c: Incoming): void => {
  const stream = c.accept({});
  stream.on('error', () => {});
  stream.pipe(stream);
};

const headers = (authority = '10.0.0.7:8080') => ({
  ':method': 'CONNECT',
  ':authority': authority,
});

async function open(client: HboneClient): Promise<Duplex> {
  const answer = await client.connect(headers());
  assert.equal(answer.kind, 'open');
  if (answer.kind !== 'open') throw new Error('not open');
  answer.stream.on('error', () => {});
  return answer.stream;
}

test('half-close travels through the tunnel', async () => {
  const ends = connect(echo);
  const stream = await open(ends.client);
  stream.end('ping');
  assert.equal(await text(stream), 'ping');
  ends.close();
});

test('the server sees method, authority and headers, and answers when it wants', async () => {
  const seen: Incoming[] = [];
  const ends = connect((c) => void seen.push(c));
  const answer = ends.client.connect({ ...headers('web.shop:80'), baggage: 'service.name=x' });
  while (seen.length === 0) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(seen[0]?.method, 'CONNECT');
  assert.equal(seen[0]?.authority, 'web.shop:80');
  assert.equal(seen[0]?.headers['baggage'], 'service.name=x');
  seen[0]?.accept({ baggage: 'service.name=y' });
  const given = await answer;
  assert.equal(given.kind === 'open' && given.headers['baggage'], 'service.name=y');
  ends.close();
});

test('C7: a refusal carries status and reason and leaves the tunnel usable', async () => {
  const reasons = ['POLICY_DENIED; policy=shop/p', undefined];
  const ends = connect((c) => {
    const reason = reasons.shift();
    if (reason !== undefined) c.refuse(401, { 'x-ambient-reason': reason });
    else echo(c);
  });
  const refused = await ends.client.connect(headers());
  assert.deepEqual(refused, {
    kind: 'refused',
    status: 401,
    reason: 'POLICY_DENIED; policy=shop/p',
  });
  const stream = await open(ends.client);
  stream.end('after');
  assert.equal(await text(stream), 'after');
  assert.equal(ends.client.active, 0);
  ends.close();
});

test('C9: DATA before the answer is held, and thrown away on refusal', async () => {
  let pending: Incoming | undefined;
  const [near, far] = duplexPair();
  const server = serveHbone(far, {
    clock: new FakeClock(),
    log: silentLog,
    onConnect: (c) => {
      pending = c;
    },
  });
  const own = http2.connect('http://x', { createConnection: () => near as never });
  const request = own.request(headers(), { endStream: false });
  request.on('error', () => {});
  request.write('early');
  while (!pending) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(pending.stream.readableFlowing, null);
  const status = new Promise((resolve) => request.on('response', (h) => resolve(h[':status'])));
  pending.refuse(503, {});
  assert.equal(await status, 503);
  own.destroy();
  server.destroy();
});

test('a reset stays a reset in both directions, with its code', async () => {
  const accepted: Duplex[] = [];
  const ends = connect((c) => {
    const stream = c.accept({});
    stream.on('error', () => {});
    accepted.push(stream);
  });
  const rstOf = (s: Duplex): Promise<number | undefined> =>
    new Promise((resolve) => {
      let ended = false;
      s.on('end', () => {
        ended = (s as http2.Http2Stream).rstCode === 0;
      });
      s.on('close', () => resolve(ended ? undefined : (s as http2.Http2Stream).rstCode));
      s.resume();
    });
  const one = await open(ends.client);
  const seen = rstOf(one);
  assert.ok(accepted[0]);
  resetStream(accepted[0], policyResetCode);
  assert.equal(await seen, policyResetCode);
  const two = await open(ends.client);
  assert.ok(accepted[1]);
  const there = rstOf(accepted[1]);
  resetStream(two);
  assert.equal(await there, constants.NGHTTP2_CANCEL);
  ends.close();
});

test('F37 a drain refuses nothing in flight, lets streams end, then closes', async () => {
  const ends = connect(echo);
  const stream = await open(ends.client);
  ends.server.drain();
  while (ends.client.usable) await new Promise((resolve) => setImmediate(resolve));
  stream.end('still here');
  assert.equal(await text(stream), 'still here');
  await ends.client.closed;
  await ends.server.closed;
});

test('a request on a connection that is gone is unprocessed, so that another may be tried', async () => {
  const ends = connect(echo);
  await open(ends.client);
  ends.client.destroy();
  assert.deepEqual(await ends.client.connect(headers()), { kind: 'unprocessed' });
  ends.close();
});

test('a connection that fails before the answer is H2_FAILED', async () => {
  const ends = connect(() => {});
  const waiting = ends.client.connect(headers());
  await new Promise((resolve) => setImmediate(resolve));
  ends.server.destroy();
  ends.raw[1].destroy();
  ends.raw[0].destroy();
  await assert.rejects(waiting, { code: 'H2_FAILED' });
  ends.close();
});

test('a caller that gives up resets its request', async () => {
  let pending: Incoming | undefined;
  const ends = connect((c) => {
    pending = c;
  });
  const abort = new AbortController();
  const waiting = ends.client.connect(headers(), abort.signal);
  while (!pending) await new Promise((resolve) => setImmediate(resolve));
  const closed = new Promise((resolve) => pending?.stream.on('close', resolve));
  abort.abort(new MeshError('DIAL_TIMEOUT'));
  await assert.rejects(waiting, { code: 'DIAL_TIMEOUT' });
  await closed;
  ends.close();
});

test('F21 PING: a peer that stops answering loses the connection after 20 s', async () => {
  const clock = new FakeClock();
  const [near, far] = duplexPair();
  far.resume();
  const client = openHbone(near, { clock, log: silentLog });
  await new Promise((resolve) => setImmediate(resolve));
  for (let i = 0; i < 5; i++) clock.advance(10_000);
  await client.closed;
  assert.equal(client.usable, false);
  far.destroy();
});

test('H15: a peer that says nothing after the handshake is cut', async () => {
  const clock = new FakeClock();
  const [near, far] = duplexPair();
  near.on('error', () => {});
  const server = serveHbone(far, { clock, log: silentLog, onConnect: () => {} });
  clock.advance(10_000);
  await server.closed;
  near.destroy();
});

test('C15: streams above the offered maximum are refused and the others go on', async () => {
  const ends = connect(() => {}, { maxStreams: 2 });
  const held = [ends.client.connect(headers()), ends.client.connect(headers())];
  for (const h of held) h.catch(() => {});
  await new Promise((resolve) => setImmediate(resolve));
  const more = ends.client.connect(headers());
  more.catch(() => {});
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(ends.server.active <= 2);
  ends.close();
  await Promise.allSettled([...held, more]);
});

test('C14: many streams opened and closed one after the other leave nothing behind', async () => {
  const ends = connect(echo);
  for (let i = 0; i < 500; i++) {
    const stream = await open(ends.client);
    stream.end('x');
    await text(stream);
  }
  while (ends.server.active > 0 || ends.client.active > 0) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(ends.clock.waiting <= 4);
  ends.close();
});

/** A server, a raw HTTP/2 client of Node, and how the server's connection ended. */
function rawClient(): { session: http2.ClientHttp2Session; server: HboneServer; raw: Duplex } {
  const [near, far] = duplexPair();
  near.on('error', () => {});
  const server = serveHbone(far, { clock: new FakeClock(), log: silentLog, onConnect: echo });
  const session = http2.connect('http://x', { createConnection: () => near as never });
  session.on('error', () => {});
  return { session, server, raw: near };
}

test('H4: a header block above 64 KB refuses the stream, not the process', async () => {
  const { session, server, raw } = rawClient();
  const request = session.request(
    { ...headers(), 'x-big': 'a'.repeat(60_000), 'x-bigger': 'b'.repeat(60_000) },
    { endStream: false },
  );
  const result = await new Promise<string>((resolve) => {
    request.on('response', (h) => resolve(String(h[':status'])));
    request.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
    request.on('close', () => resolve('closed'));
  });
  assert.notEqual(result, '200');
  session.destroy();
  server.destroy();
  raw.destroy();
});

const frame = (type: number, flags: number, id: number, body: Buffer): Buffer => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, body]);
};
const preface = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  frame(4, 0, 0, Buffer.alloc(0)),
]);

/** A header field without compression. */
const literal = (name: string, value: string): Buffer =>
  Buffer.concat([
    Buffer.from([0, name.length]),
    Buffer.from(name),
    Buffer.from([value.length]),
    Buffer.from(value),
  ]);
const connectBlock = Buffer.concat([
  literal(':method', 'CONNECT'),
  literal(':authority', '10.0.0.7:80'),
]);

test('H1: an open-and-reset flood is cut after its budget, with ENHANCE_YOUR_CALM', async () => {
  const [near, far] = duplexPair();
  near.on('error', () => {});
  const server = serveHbone(far, { clock: new FakeClock(), log: silentLog, onConnect: echo });
  const received: Buffer[] = [];
  near.on('data', (chunk: Buffer) => received.push(chunk));
  let over = false;
  void server.closed.then(() => {
    over = true;
  });
  near.write(preface);
  let sent = 0;
  for (let id = 1; id < 40_000 && !over; id += 2, sent++) {
    near.write(frame(1, 4, id, connectBlock));
    near.write(frame(3, 0, id, Buffer.from([0, 0, 0, 8])));
    if (id % 100 === 1) await new Promise((resolve) => setImmediate(resolve));
  }
  await server.closed;
  assert.ok(sent > 1000 && sent < 20_000, `${sent}`);
  const all = Buffer.concat(received);
  let code = -1;
  for (let at = 0; at + 9 <= all.length; at += 9 + all.readUIntBE(at, 3)) {
    if (all[at + 3] === 7 && at + 17 <= all.length) code = all.readUInt32BE(at + 13);
  }
  assert.notEqual(code, 0);
  near.destroy();
});

const hostile: [string, Buffer][] = [
  [
    'H3: CONTINUATION without end',
    Buffer.concat([
      frame(1, 0, 1, Buffer.from([0x82])),
      ...Array.from({ length: 64 }, () => frame(9, 0, 1, Buffer.alloc(4096, 0x82))),
    ]),
  ],
  [
    'H5: a flood of SETTINGS',
    Buffer.concat(Array.from({ length: 2000 }, () => frame(4, 0, 0, Buffer.alloc(0)))),
  ],
  ['H8: a window update of 0 on the connection', frame(8, 0, 0, Buffer.alloc(4))],
  [
    'H8: an overflow of the connection window',
    Buffer.concat([
      frame(8, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff])),
      frame(8, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff])),
    ]),
  ],
  ['H11: a frame size out of range', frame(4, 0, 0, Buffer.from([0, 5, 0, 0, 0, 0]))],
  ['H12: PUSH_PROMISE to a server', frame(5, 4, 1, Buffer.from([0, 0, 0, 2, 0x82]))],
  ['H13: an even stream id', frame(1, 5, 2, Buffer.from([0x82]))],
  ['H16: a bad HPACK index', frame(1, 4, 1, Buffer.from([0xff, 0xff, 0xff, 0x7f]))],
];
for (const [name, bytes] of hostile) {
  test(`${name}: the connection is cut, without an uncaught error`, async () => {
    const [near, far] = duplexPair();
    near.on('error', () => {});
    const server = serveHbone(far, { clock: new FakeClock(), log: silentLog, onConnect: echo });
    near.resume();
    near.write(preface);
    near.write(bytes);
    await server.closed;
    near.destroy();
  });
}

test('C6: CONNECT with :scheme and :path is a stream error that no handler sees', async () => {
  let seen = 0;
  const [near, far] = duplexPair();
  const server = serveHbone(far, {
    clock: new FakeClock(),
    log: silentLog,
    onConnect: (c) => {
      seen++;
      echo(c);
    },
  });
  const received: Buffer[] = [];
  near.on('data', (chunk: Buffer) => received.push(chunk));
  near.write(preface);
  const block = Buffer.concat([connectBlock, literal(':scheme', 'http'), literal(':path', '/')]);
  near.write(frame(1, 4, 1, block));
  const resets = (): boolean => {
    const all = Buffer.concat(received);
    for (let at = 0; at + 9 <= all.length; at += 9 + all.readUIntBE(at, 3)) {
      if (all[at + 3] === 3 && all.readUInt32BE(at + 5) === 1) return true;
    }
    return false;
  };
  while (!resets()) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(seen, 0);
  server.destroy();
  near.destroy();
});

test('pump: back-pressure holds a fast sender to a slow reader', async () => {
  const [app, near] = duplexPair();
  const [far, peer] = duplexPair();
  const joined = pump(near, far);
  let written = 0;
  while (app.write(Buffer.alloc(16_384)) && written < 1000) written++;
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(joined.counts.nearToFar < 1 << 20);
  assert.ok(written < 100);
  peer.resume();
  app.resume();
  app.end();
  peer.end();
  assert.deepEqual(await joined.done, {});
});

test('pump: counts both directions and ends when both halves have ended', async () => {
  const [app, near] = duplexPair();
  const [far, peer] = duplexPair();
  const joined = pump(near, far);
  app.end('12345');
  peer.end('123');
  assert.equal(await text(peer), '12345');
  assert.equal(await text(app), '123');
  assert.deepEqual(await joined.done, {});
  assert.deepEqual({ ...joined.counts }, { nearToFar: 5, farToNear: 3 });
});

test('pump: a side that breaks is named and the other is cut', async () => {
  const [, near] = duplexPair();
  const [far] = duplexPair();
  const joined = pump(near, far);
  far.destroy(new Error('gone'));
  const end = await joined.done;
  assert.equal(end.failed, 'far');
  assert.equal(end.error?.message, 'gone');
  assert.equal(near.destroyed, true);
});

interface Fake {
  readonly ends: Ends[];
  readonly pool: Pool<string, number>;
  readonly clock: FakeClock;
  fail: Error | undefined;
}

function fakePool(): Fake {
  const clock = new FakeClock();
  const fake: Fake = {
    ends: [],
    clock,
    fail: undefined,
    pool: new Pool<string, number>({
      clock,
      keyOf: (p) => p,
      dial: () => {
        if (fake.fail) return Promise.reject(fake.fail);
        const ends = connect(echo);
        fake.ends.push(ends);
        return Promise.resolve({ client: ends.client, facts: fake.ends.length });
      },
    }),
  };
  return fake;
}

test('Z8: callers of one peer share a tunnel, other peers do not', async () => {
  const fake = fakePool();
  const [a, b] = await Promise.all([
    fake.pool.connect('a', headers()),
    fake.pool.connect('a', headers()),
  ]);
  assert.equal(a.facts, b.facts);
  assert.equal((await fake.pool.connect('b', headers())).facts, 2);
  assert.equal((await fake.pool.connect('a', headers())).reused, true);
  fake.pool.destroy();
  for (const e of fake.ends) e.close();
});

test('F38 a failed dial reaches every waiter at once', async () => {
  const fake = fakePool();
  fake.fail = new MeshError('HBONE_TIMEOUT');
  const all = await Promise.allSettled([1, 2, 3].map(() => fake.pool.connect('a', headers())));
  for (const r of all) assert.equal(r.status === 'rejected' && r.reason.code, 'HBONE_TIMEOUT');
  fake.fail = undefined;
  assert.equal((await fake.pool.connect('a', headers())).answer.kind, 'open');
  fake.pool.destroy();
  for (const e of fake.ends) e.close();
});

test('F37 T12 H14: a request raced by GOAWAY is dialled anew, unnoticed by its caller', async () => {
  const fake = fakePool();
  await fake.pool.connect('a', headers());
  const [first] = fake.ends;
  assert.ok(first);
  first.client.close();
  const again = await fake.pool.connect('a', headers());
  assert.equal(again.answer.kind, 'open');
  assert.equal(again.facts, 2);
  fake.pool.destroy();
  for (const e of fake.ends) e.close();
});

test('a closed pool takes nobody', async () => {
  const fake = fakePool();
  fake.pool.drain();
  await assert.rejects(fake.pool.connect('a', headers()), { code: 'POOL_CLOSED' });
});

test('pump: END_STREAM at once, NO_ERROR resets and cancels all end the connection', async () => {
  const ends: unknown[] = [];
  const apps: Duplex[] = [];
  const server = connect((c) => {
    const [app, side] = duplexPair();
    apps.push(app);
    app.on('error', () => {});
    app.resume();
    app.on('end', () => app.end());
    setImmediate(() => {
      const near = c.accept({});
      void pump(near, side).done.then((end) => ends.push(end.failed ?? 'ok'));
    });
  });
  const requests: ((s: Duplex) => void)[] = [
    (s) => s.end(),
    (s) => resetStream(s, constants.NGHTTP2_NO_ERROR),
    (s) => resetStream(s, constants.NGHTTP2_CANCEL),
    (s) => s.destroy(),
  ];
  for (const act of requests) {
    const answer = await server.client.connect(headers());
    assert.ok(answer.kind === 'open');
    answer.stream.on('error', () => {});
    answer.stream.resume();
    act(answer.stream);
  }
  while (ends.length < requests.length) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(apps.length, 4);
  server.close();
});
