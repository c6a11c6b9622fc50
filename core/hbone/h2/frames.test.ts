import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  clientPreface,
  flag,
  frameHead,
  FrameReader,
  type FrameSink,
  frameType,
  H2Error,
} from './frames.ts';

/** Everything a sink heard, DATA joined. */
function listen(): FrameSink & { readonly heard: string[] } {
  const heard: string[] = [];
  let data = '';
  return {
    heard,
    frame: (type, flags, id, payload) =>
      heard.push(`${type} ${flags} ${id} ${payload.toString('hex')}`),
    dataStart(id, flags, length) {
      data = `data ${flags} ${id} ${length} `;
    },
    data(chunk) {
      assert.ok(chunk.length > 0);
      data += chunk.toString('hex');
    },
    dataEnd: () => heard.push(data),
  };
}

const frame = (type: number, flags: number, id: number, body: Uint8Array): Buffer =>
  Buffer.concat([frameHead(body.length, type, flags, id), body]);

const padded = fc
  .tuple(fc.uint8Array({ maxLength: 50 }), fc.integer({ min: 0, max: 20 }))
  .map(([body, pad]) => Buffer.concat([Buffer.from([pad]), body, Buffer.alloc(pad)]));
const frames = fc.array(
  fc.oneof(
    fc
      .tuple(
        fc.constantFrom(1, 3, 4, 6, 8, 9, 77),
        fc.integer({ min: 0, max: 255 }),
        fc.uint8Array({ maxLength: 60 }),
      )
      .map(([type, flags, body]) => frame(type, flags, 5, body)),
    fc
      .tuple(fc.constantFrom(0, flag.endStream), fc.uint8Array({ maxLength: 60 }))
      .map(([flags, body]) => frame(frameType.data, flags, 3, body)),
    padded.map((body) => frame(frameType.data, flag.padded, 3, body)),
  ),
  { maxLength: 12 },
);

test('frames are the same however their bytes arrive', () => {
  fc.assert(
    fc.property(
      frames,
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
      (list, cuts) => {
        const bytes = Buffer.concat([clientPreface, ...list]);
        const whole = listen();
        new FrameReader(whole, 16_384, true).feed(bytes);
        const pieces = listen();
        const reader = new FrameReader(pieces, 16_384, true);
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = cuts[i % cuts.length] ?? 1;
          reader.feed(bytes.subarray(at, at + size));
          at += size;
        }
        assert.deepEqual(pieces.heard, whole.heard);
        assert.equal(whole.heard.length, list.length);
      },
    ),
  );
});

test('padding is counted and not handed on', () => {
  const sink = listen();
  const body = Buffer.from([3, 0x61, 0x62, 0, 0, 0]);
  new FrameReader(sink, 16_384, false).feed(frame(frameType.data, flag.padded, 1, body));
  assert.deepEqual(sink.heard, ['data 8 1 6 6162']);
});

const refused: [string, Buffer][] = [
  ['H12 more padding than frame', frame(0, flag.padded, 1, Buffer.from([9, 1]))],
  ['H12 a padded frame without its length', frame(0, flag.padded, 1, Buffer.alloc(0))],
  ['DATA on stream 0', frame(0, 0, 0, Buffer.from([1]))],
  ['H11 longer than offered', frameHead(16_385, 0, 0, 1)],
  ['H3 a header frame far too long', frameHead(70_000, 1, 0, 1)],
];
for (const [name, bytes] of refused) {
  test(`${name}: a connection error`, () => {
    assert.throws(
      () => new FrameReader(listen(), name.startsWith('H3') ? 1 << 20 : 16_384, false).feed(bytes),
      H2Error,
    );
  });
}

test('H15 anything but the preface is refused at its first wrong byte', () => {
  const reader = new FrameReader(listen(), 16_384, true);
  reader.feed(Buffer.from('PRI * HT'));
  assert.throws(() => reader.feed(Buffer.from('X')), H2Error);
});
