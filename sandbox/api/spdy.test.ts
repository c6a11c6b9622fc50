import assert from 'node:assert/strict';
import { duplexPair } from 'node:stream';
import { test } from 'node:test';
import { constants, createDeflate } from 'node:zlib';
import { serveSpdy, type SpdyStream } from './spdy.ts';
import { spdyDictionary } from './spdy-dictionary.ts';

function words(...values: number[]): Buffer {
  const out = Buffer.alloc(4 * values.length);
  for (const [i, v] of values.entries()) out.writeUInt32BE(v >>> 0, 4 * i);
  return out;
}

async function eventually(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 10_000 && !holds(); i++) await new Promise((done) => setImmediate(done));
  assert.ok(holds());
}

/** The dialling side, as far as a test needs it: one header compression context, frames by hand. */
function dialler() {
  const [near, far] = duplexPair();
  const deflate = createDeflate({ dictionary: spdyDictionary });
  const compress = (bytes: Buffer): Promise<Buffer> =>
    new Promise((resolve) => {
      const out: Buffer[] = [];
      const take = (chunk: Buffer) => out.push(chunk);
      deflate.on('data', take);
      deflate.write(bytes, () =>
        deflate.flush(constants.Z_SYNC_FLUSH, () => {
          deflate.off('data', take);
          resolve(Buffer.concat(out));
        }),
      );
    });
  const control = (type: number, flags: number, body: Buffer) =>
    Buffer.concat([words(0x80030000 + type, flags * 0x1000000 + body.length), body]);
  const text = (value: string) => Buffer.concat([words(value.length), Buffer.from(value)]);
  return {
    near,
    far,
    data: (id: number, body: string, fin = false) =>
      Buffer.concat([words(id, (fin ? 0x1000000 : 0) + body.length), Buffer.from(body)]),
    async open(id: number, headers: Record<string, string>): Promise<Buffer> {
      const pairs = Object.entries(headers).flatMap(([k, v]) => [text(k), text(v)]);
      const block = await compress(Buffer.concat([words(pairs.length / 2), ...pairs]));
      return control(1, 0, Buffer.concat([words(id, 0), Buffer.from([0, 0]), block]));
    },
    ping: control(6, 0, words(7)),
    reset: (id: number) => control(3, 0, words(id, 5)),
  };
}

test('streams carry headers, data and half-closes, whatever the size of the pieces', async () => {
  const peer = dialler();
  const streams: SpdyStream[] = [];
  const bodies: Promise<string>[] = [];
  serveSpdy(peer.far, (stream) => {
    streams.push(stream);
    bodies.push(stream.toArray().then((parts) => Buffer.concat(parts as Buffer[]).toString()));
  });
  peer.near.resume();
  const bytes = Buffer.concat([
    await peer.open(1, { streamtype: 'error' }),
    await peer.open(3, { StreamType: 'data', port: '80' }),
    peer.data(3, 'hel'),
    peer.ping,
    peer.data(1, '', true),
    peer.data(3, 'lo', true),
  ]);
  for (const byte of bytes) peer.near.write(Buffer.from([byte]));
  await eventually(() => bodies.length === 2);
  assert.deepEqual(await Promise.all(bodies), ['', 'hello']);
  assert.deepEqual(
    streams.map((s) => [s.headers.get('streamtype'), s.headers.get('port')]),
    [
      ['error', undefined],
      ['data', '80'],
    ],
  );
  peer.near.destroy();
});

test('a reset destroys its stream alone', async () => {
  const peer = dialler();
  const opened: SpdyStream[] = [];
  serveSpdy(peer.far, (stream) => {
    stream.resume();
    opened.push(stream);
  });
  peer.near.resume();
  peer.near.write(await peer.open(1, { a: 'b' }));
  peer.near.write(await peer.open(3, { a: 'c' }));
  peer.near.write(peer.reset(1));
  await eventually(() => opened[0]?.destroyed === true);
  assert.equal(opened[1]?.destroyed, false);
  peer.near.destroy();
});

test('nonsense ends the connection, not the program', async () => {
  const cases = [
    Buffer.concat([words(0x80030001, 10), Buffer.alloc(10, 0xff)]),
    Buffer.concat([words(0x80030001, 40), Buffer.alloc(40, 0xff)]),
    words(1, 0xffffff),
    words(0x80030003, 0),
  ];
  for (const bytes of cases) {
    const peer = dialler();
    serveSpdy(peer.far, (stream) => void stream.resume());
    const closed = new Promise((resolve) => peer.far.once('close', resolve));
    peer.near.on('error', () => {});
    peer.near.resume();
    peer.near.write(bytes);
    await closed;
    peer.near.destroy();
  }
});
