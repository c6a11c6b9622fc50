// The connection against hostile frames (reliability-checklist.md 2.3) and against another implementation.
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { duplexPair, type Duplex } from 'node:stream';
import { describe, test } from 'node:test';
import { FakeClock } from '../../base/index.ts';
import { defaultLimits, type HboneLimits } from '../limits.ts';
import {
  clientPreface,
  code,
  flag,
  frameHead,
  frameType,
  numbersFrame,
  settingsFrame,
} from './frames.ts';
import { encodeHeaders } from './hpack.ts';
import { H2Session, type H2Stream } from './index.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const frame = (
  type: number,
  flags: number,
  id: number,
  body: Uint8Array = Buffer.alloc(0),
): Buffer => Buffer.concat([frameHead(body.length, type, flags, id), body]);
const connectBlock = encodeHeaders([
  [':method', 'CONNECT'],
  [':authority', '10.0.0.7:80'],
]);
const request = (id: number): Buffer => frame(frameType.headers, flag.endHeaders, id, connectBlock);
const reset = (id: number): Buffer => numbersFrame(frameType.rstStream, id, code.cancel);

interface Peer {
  readonly raw: Duplex;
  readonly clock: FakeClock;
  readonly streams: H2Stream[];
  readonly over: Promise<Error | undefined>;
  /** Frames received: type, stream, payload. */
  frames(): { type: number; flags: number; id: number; payload: Buffer }[];
  goawayCode(): number | undefined;
  say(...frames: Buffer[]): Promise<void>;
}

/** A raw peer of our server; every request is answered 200 and kept. */
function peer(limits: Partial<HboneLimits> = {}, keep = true): Peer {
  const [raw, far] = duplexPair();
  const clock = new FakeClock();
  const streams: H2Stream[] = [];
  const received: Buffer[] = [];
  raw.on('data', (chunk: Buffer) => received.push(chunk));
  raw.on('error', () => {});
  const over = Promise.withResolvers<Error | undefined>();
  const session = new H2Session(far, {
    role: 'server',
    clock,
    limits: { ...defaultLimits, ...limits },
    onRequest(stream) {
      stream.on('error', () => {});
      streams.push(stream);
      session.respond(stream, [[':status', '200']], !keep);
    },
    onClose: over.resolve,
  });
  raw.write(Buffer.concat([clientPreface, settingsFrame([])]));
  const frames = (): { type: number; flags: number; id: number; payload: Buffer }[] => {
    const all = Buffer.concat(received);
    const found = [];
    for (let at = 0; at + 9 <= all.length; at += 9 + all.readUIntBE(at, 3)) {
      const [type = 0, flags = 0] = [all[at + 3], all[at + 4]];
      const payload = all.subarray(at + 9, at + 9 + all.readUIntBE(at, 3));
      found.push({ type, flags, id: all.readUInt32BE(at + 5), payload });
    }
    return found;
  };
  return {
    raw,
    clock,
    streams,
    over: over.promise,
    frames,
    goawayCode: () =>
      frames()
        .findLast((f) => f.type === frameType.goaway)
        ?.payload.readUInt32BE(4),
    async say(...list) {
      raw.write(Buffer.concat(list));
      await turn();
      await turn();
    },
  };
}

const many = (count: number, make: (i: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => make(i)));

/** Floods: the connection ends with ENHANCE_YOUR_CALM. */
const floods: [string, Buffer][] = [
  ['H1 open and reset', many(2000, (i) => Buffer.concat([request(2 * i + 1), reset(2 * i + 1)]))],
  [
    'H2 a zero window increment on each stream',
    many(2000, (i) =>
      Buffer.concat([request(2 * i + 1), numbersFrame(frameType.windowUpdate, 2 * i + 1, 0)]),
    ),
  ],
  [
    'H2 DATA after the end',
    Buffer.concat([
      frame(frameType.headers, flag.endHeaders | flag.endStream, 1, connectBlock),
      many(2000, () => frame(frameType.data, 0, 1, Buffer.from([1]))),
    ]),
  ],
  [
    'H2 HEADERS without an end after HEADERS',
    many(2000, (i) => Buffer.concat([request(2 * i + 1), request(2 * i + 1)])),
  ],
  ['H5 PING', many(2000, () => frame(frameType.ping, 0, 0, Buffer.alloc(8)))],
  ['H5 SETTINGS', many(2000, () => settingsFrame([]))],
  ['H6 empty DATA', Buffer.concat([request(1), many(2000, () => frame(frameType.data, 0, 1))])],
  [
    'H6 empty CONTINUATION',
    Buffer.concat([
      frame(frameType.headers, 0, 1, connectBlock),
      many(100, () => frame(frameType.continuation, 0, 1)),
    ]),
  ],
  ['H7 PRIORITY', many(2000, () => frame(frameType.priority, 0, 1, Buffer.alloc(5)))],
  ['H12 frames nobody knows', many(2000, () => frame(200, 0, 0, Buffer.from('x')))],
];
for (const [name, bytes] of floods) {
  test(`${name}: cut with ENHANCE_YOUR_CALM`, async () => {
    const p = peer();
    await p.say(bytes);
    assert.ok(await p.over);
    assert.equal(p.goawayCode(), code.enhanceYourCalm);
  });
}

/** Mistakes of the connection, each with its code of RFC 9113. */
const wrong: [string, Buffer, number][] = [
  ['H8 WINDOW_UPDATE of 0', numbersFrame(frameType.windowUpdate, 0, 0), code.protocolError],
  [
    'H8 overflow of the connection window',
    many(2, () => numbersFrame(frameType.windowUpdate, 0, 2 ** 31 - 1)),
    code.flowControlError,
  ],
  ['H11 ENABLE_PUSH 2', settingsFrame([[2, 2]]), code.protocolError],
  ['H11 initial window 2^31', settingsFrame([[4, 2 ** 31]]), code.flowControlError],
  ['H11 frame size 0', settingsFrame([[5, 0]]), code.protocolError],
  ['H11 frame size 2^24', settingsFrame([[5, 2 ** 24]]), code.protocolError],
  ['H11 SETTINGS cut off', frame(frameType.settings, 0, 0, Buffer.alloc(5)), code.frameSizeError],
  ['H11 SETTINGS on a stream', frame(frameType.settings, 0, 1), code.protocolError],
  ['H12 PUSH_PROMISE', frame(frameType.pushPromise, 4, 1, Buffer.alloc(5)), code.protocolError],
  ['H13 an even id', request(2), code.protocolError],
  ['H13 DATA on an idle stream', frame(frameType.data, 0, 9, Buffer.from('x')), code.protocolError],
  ['H13 RST_STREAM on an idle stream', reset(9), code.protocolError],
  ['PING of another length', frame(frameType.ping, 0, 0, Buffer.alloc(7)), code.frameSizeError],
  ['GOAWAY on a stream', frame(frameType.goaway, 0, 1, Buffer.alloc(8)), code.protocolError],
  [
    'H3 another frame inside a header block',
    Buffer.concat([frame(frameType.headers, 0, 1, connectBlock), reset(1)]),
    code.protocolError,
  ],
  ['H16 a bad index', frame(frameType.headers, 4, 1, Buffer.from([0x80])), code.compressionError],
];
for (const [name, bytes, expected] of wrong) {
  test(`${name}: GOAWAY ${expected}`, async () => {
    const p = peer();
    await p.say(bytes);
    assert.ok(await p.over);
    assert.equal(p.goawayCode(), expected);
  });
}

test('H11: 10 000 SETTINGS entries in one frame are a flood, a dozen are not', async () => {
  const few = peer();
  await few.say(settingsFrame(Array.from({ length: 12 }, (_, i) => [100 + i, i] as const)));
  assert.equal(few.goawayCode(), undefined);
  const entries = settingsFrame(Array.from({ length: 10_000 }, () => [99, 1] as const));
  const p = peer();
  await p.say(many(7, () => entries));
  assert.ok(await p.over);
});

test('H1: the budget comes back with time', async () => {
  const p = peer({ resetBurst: 10, resetRate: 10 });
  for (let i = 0; i < 30; i++) {
    await p.say(request(2 * i + 1), reset(2 * i + 1));
    p.clock.advance(200);
  }
  assert.equal(p.goawayCode(), undefined);
  await p.say(many(30, (i) => Buffer.concat([request(2 * i + 101), reset(2 * i + 101)])));
  assert.equal(p.goawayCode(), code.enhanceYourCalm);
});

test('H9: tiny windows are obeyed, byte by byte, and what waits is bounded by the writer', async () => {
  const p = peer();
  await p.say(settingsFrame([[4, 0]]), request(1));
  const [stream] = p.streams;
  assert.ok(stream);
  let written = 0;
  while (stream.write(Buffer.alloc(64 * 1024)) && written < 100) written++;
  assert.ok(written < 8, 'the writer is held back');
  const sent = (): number =>
    p.frames().reduce((n, f) => (f.type === frameType.data ? n + f.payload.length : n), 0);
  assert.equal(sent(), 0);
  for (let i = 1; i <= 5; i++) {
    await p.say(numbersFrame(frameType.windowUpdate, 1, 1));
    assert.equal(sent(), i);
  }
});

test('H9: more than the window of a stream resets it, the others go on', async () => {
  const p = peer({ streamWindow: 1000 });
  await p.say(request(1), request(3));
  p.streams[0]?.pause();
  await p.say(
    frame(frameType.data, 0, 1, Buffer.alloc(1001)),
    frame(frameType.data, 0, 3, Buffer.from('ok')),
  );
  assert.equal(p.streams[0]?.rstCode, code.flowControlError);
  assert.equal(String(p.streams[1]?.read()), 'ok');
});

test('H10: a peer that does not read holds the writer back, and no frame is lost when it does', async () => {
  const p = peer();
  await p.say(
    numbersFrame(frameType.windowUpdate, 0, 1 << 28),
    settingsFrame([[4, 1 << 28]]),
    request(1),
  );
  p.raw.pause();
  const [stream] = p.streams;
  assert.ok(stream);
  let written = 0;
  while (stream.write(Buffer.alloc(64 * 1024, written)) && written < 100) written++;
  await turn();
  assert.ok(written < 20);
  p.raw.resume();
  await new Promise((resolve) => stream.once('drain', resolve));
  stream.end();
  await turn();
  await turn();
  const data = p.frames().filter((f) => f.type === frameType.data);
  assert.equal(
    data.reduce((n, f) => n + f.payload.length, 0),
    (written + 1) * 64 * 1024,
  );
});

test('C15: a stream too many is refused with REFUSED_STREAM, and comes again when one has ended', async () => {
  const p = peer({ maxStreams: 2 });
  await p.say(request(1), request(3), request(5));
  const refused = p.frames().filter((f) => f.type === frameType.rstStream);
  assert.deepEqual(
    refused.map((f) => [f.id, f.payload.readUInt32BE(0)]),
    [[5, code.refusedStream]],
  );
  await p.say(reset(1), request(7));
  assert.equal(p.streams.length, 3);
});

test('C17: an id is never used twice; a stream that ends leaves its neighbour alone', async () => {
  const p = peer();
  await p.say(request(1), request(3), reset(1), request(1));
  assert.equal(p.streams.length, 2);
  await p.say(frame(frameType.data, 0, 3, Buffer.from('still')));
  assert.equal(String(p.streams[1]?.read()), 'still');
});

test('frames on their way to a stream that we reset cost nothing, and their bytes are given back', async () => {
  const p = peer({ resetBurst: 5, resetRate: 0, connectionWindow: 200_000 });
  await p.say(request(1));
  p.streams[0]?.reset(code.cancel);
  for (let i = 0; i < 40; i++) await p.say(frame(frameType.data, 0, 1, Buffer.alloc(16_000)));
  assert.equal(p.goawayCode(), undefined);
  const given = p.frames().filter((f) => f.type === frameType.windowUpdate && f.id === 0);
  assert.ok(given.length >= 6);
});

const malformed: [string, [string, string][]][] = [
  ['no method', [[':authority', 'a:1']]],
  [
    'CONNECT with a path',
    [
      [':method', 'CONNECT'],
      [':authority', 'a:1'],
      [':scheme', 'http'],
      [':path', '/'],
    ],
  ],
  [
    'extended CONNECT',
    [
      [':method', 'CONNECT'],
      [':authority', 'a:1'],
      [':protocol', 'x'],
    ],
  ],
  [
    'GET without a path',
    [
      [':method', 'GET'],
      [':authority', 'a:1'],
      [':scheme', 'http'],
    ],
  ],
  [
    'a pseudo field twice',
    [
      [':method', 'CONNECT'],
      [':method', 'CONNECT'],
      [':authority', 'a:1'],
    ],
  ],
  [
    'a pseudo field after others',
    [
      ['x', '1'],
      [':method', 'CONNECT'],
      [':authority', 'a:1'],
    ],
  ],
  [
    'an upper-case name',
    [
      [':method', 'CONNECT'],
      [':authority', 'a:1'],
      ['X-a', '1'],
    ],
  ],
  [
    'a line end in a value',
    [
      [':method', 'CONNECT'],
      [':authority', 'a:1'],
      ['x-a', '1\r\nb: 2'],
    ],
  ],
  [
    'a NUL in the authority',
    [
      [':method', 'CONNECT'],
      [':authority', 'a\0:1'],
    ],
  ],
  [
    'connection',
    [
      [':method', 'CONNECT'],
      [':authority', 'a:1'],
      ['connection', 'close'],
    ],
  ],
  [
    'te: gzip',
    [
      [':method', 'CONNECT'],
      [':authority', 'a:1'],
      ['te', 'gzip'],
    ],
  ],
];
for (const [name, fields] of malformed) {
  test(`C6 a malformed request, ${name}: PROTOCOL_ERROR for the stream, nobody sees it`, async () => {
    const p = peer();
    await p.say(frame(frameType.headers, flag.endHeaders, 1, encodeHeaders(fields)), request(3));
    assert.equal(p.streams.length, 1);
    const [rst] = p.frames().filter((f) => f.type === frameType.rstStream);
    assert.deepEqual([rst?.id, rst?.payload.readUInt32BE(0)], [1, code.protocolError]);
  });
}

test('T14: an exception of whoever reads ends that connection, not the process', async () => {
  const p = peer();
  await p.say(request(1));
  p.streams[0]?.on('data', () => {
    throw new Error('a mistake');
  });
  // The reader is flowing by now: bytes reach it while the frame is read.
  await turn();
  await p.say(frame(frameType.data, 0, 1, Buffer.from('x')));
  assert.match(String(await p.over), /a mistake/);
  assert.equal(p.goawayCode(), code.internalError);
});

describe('our client and a server of Node', () => {
  async function talk(
    settings: http2.Settings,
    work: (client: H2Session, stream: H2Stream) => Promise<void>,
    serve: (stream: http2.ServerHttp2Stream) => void,
  ): Promise<void> {
    const [near, far] = duplexPair();
    const server = http2.performServerHandshake(far, { settings });
    server.on('stream', (stream) => {
      stream.on('error', () => {});
      stream.respond({ ':status': 200 });
      serve(stream);
    });
    const client = new H2Session(near, {
      role: 'client',
      clock: new FakeClock(),
      limits: defaultLimits,
      onClose: () => {},
    });
    const answered = Promise.withResolvers<void>();
    const stream = client.request(
      [
        [':method', 'CONNECT'],
        [':authority', 'a:1'],
      ],
      {
        headers: () => answered.resolve(),
      },
    );
    assert.ok(stream);
    stream.on('error', () => {});
    await answered.promise;
    await work(client, stream);
    client.destroy();
    server.destroy();
  }

  for (const window of [1, 1000, 65_535, 1 << 20]) {
    test(`10 MB there and back, its window ${window}`, async () => {
      const bytes = window === 1 ? 200 : 10_000_000;
      await talk(
        { initialWindowSize: window },
        async (_client, stream) => {
          let got = 0;
          stream.on('data', (chunk: Buffer) => (got += chunk.length));
          const ended = new Promise((resolve) => stream.on('end', resolve));
          stream.end(Buffer.alloc(bytes, 1));
          await ended;
          assert.equal(got, bytes);
        },
        (far) => far.pipe(far),
      );
    });
  }

  test('its reset arrives with its code, ours arrives at it', async () => {
    const there = Promise.withResolvers<number | undefined>();
    await talk(
      {},
      async (client, stream) => {
        stream.resume();
        await new Promise((resolve) => stream.once('close', resolve));
        assert.equal(stream.rstCode, code.enhanceYourCalm);
        const second = client.request(
          [
            [':method', 'CONNECT'],
            [':authority', 'b:1'],
          ],
          {
            headers: () => second?.reset(code.cancel),
          },
        );
        assert.equal(await there.promise, code.cancel);
      },
      (far) => {
        if (far.id === 1) far.close(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM);
        else far.on('close', () => there.resolve(far.rstCode));
      },
    );
  });

  test('requests above its limit wait for their turn', async () => {
    const far: http2.ServerHttp2Stream[] = [];
    await talk(
      { maxConcurrentStreams: 1 },
      async (client, first) => {
        let second = false;
        client.request(
          [
            [':method', 'CONNECT'],
            [':authority', 'b:1'],
          ],
          {
            headers: () => {
              second = true;
            },
          },
        );
        for (let i = 0; i < 5; i++) await turn();
        assert.equal(second, false);
        first.resume();
        first.end();
        far[0]?.end();
        for (let i = 0; i < 50 && !second; i++) await turn();
        assert.equal(second, true);
      },
      (stream) => {
        stream.resume();
        far.push(stream);
      },
    );
  });
});
