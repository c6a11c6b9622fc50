import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrameReader, frame, maxFrameBytes } from './frames.ts';

test('messages fed one byte at a time come out whole and in order', () => {
  const messages = [new Uint8Array([1, 2, 3]), new Uint8Array(), new Uint8Array(300).fill(7)];
  const reader = new FrameReader();
  const out: Uint8Array[] = [];
  for (const m of messages) {
    for (const byte of frame(m)) out.push(...(reader.push(new Uint8Array([byte])) ?? []));
  }
  assert.deepEqual(
    out.map((b) => [...b]),
    messages.map((b) => [...b]),
  );
});

test('several messages in one chunk', () => {
  const both = new Uint8Array([...frame(new Uint8Array([1])), ...frame(new Uint8Array([2]))]);
  assert.deepEqual(
    new FrameReader().push(both)?.map((b) => [...b]),
    [[1], [2]],
  );
});

test('K13 a message longer than allowed ends the reading before it is collected', () => {
  const head = new Uint8Array(4);
  new DataView(head.buffer).setUint32(0, maxFrameBytes + 1);
  assert.equal(new FrameReader().push(head), undefined);
});
