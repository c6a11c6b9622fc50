// Windows, answers and the bytes of the store's protocol.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FakeClock } from '../core/base/index.ts';
import { ReplyReader, writeCommand } from './resp.ts';
import { MemoryStore } from './store.ts';
import { answerFor, countsFor } from './window-plan.ts';

const request = (value: string, requestsPerUnit = 2, unit = 1, domain = 'd') => ({
  domain,
  descriptors: [{ entries: [{ key: 'k', value }], limit: { requestsPerUnit, unit } }],
  hitsAddend: 0,
});

test('a window ends, another begins; no values of two requests are one count', () => {
  const key = (r: ReturnType<typeof request>, now = 0): string => countsFor(r, now)[0]?.key ?? '';
  assert.equal(key(request('a'), 0), key(request('a'), 999));
  assert.notEqual(key(request('a'), 999), key(request('a'), 1_000));
  assert.equal(key(request('a', 1, 2), 0), key(request('a', 1, 2), 59_999));
  assert.notEqual(key(request('a')), key(request('b')));
  assert.notEqual(key(request('a', 1, 1, 'd1:k')), key(request('a', 1, 1, 'd')));
  const unknown = countsFor(request('a', 1, 9), 0);
  assert.deepEqual(unknown, [undefined]);
});

test('over at more than the limit; what is left, and until when', () => {
  const answer = (value: number) => answerFor(request('a'), [value], 1_300).statuses?.[0];
  assert.deepEqual(
    [1, 2, 3].map((v) => [answer(v)?.code, answer(v)?.limitRemaining]),
    [
      [1, 1],
      [1, 0],
      [2, 0],
    ],
  );
  assert.deepEqual(answer(1)?.durationUntilReset, { seconds: 0, nanos: 700e6 });
  assert.equal(answerFor(request('a'), [3], 0).overallCode, 2);
  assert.equal(answerFor(request('a', 1, 0), [], 0).overallCode, 1);
});

test('in memory: adds up, lets go of what is over', async () => {
  const clock = new FakeClock();
  const store = new MemoryStore(clock);
  const c = { key: 'k', hits: 2, keepMs: 1_000 };
  assert.deepEqual(await store.add([c, c]), [2, 4]);
  store.stop();
  assert.deepEqual(await store.add([c]), [2]);
});

test('replies in any pieces are read the same', () => {
  const bytes = Buffer.from(':1\r\n+OK\r\n-ERR no\r\n$5\r\na\r\nbc\r\n$-1\r\n:-7\r\n');
  const expected = [1, 'OK', 'ERR no', 'a\r\nbc', null, -7];
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 40 }), (cuts) => {
      const reader = new ReplyReader();
      const got: unknown[] = [];
      let from = 0;
      for (const n of [...cuts, bytes.length]) {
        got.push(...reader.push(bytes.subarray(from, from + n)));
        from = Math.min(bytes.length, from + n);
      }
      assert.deepEqual(
        got.map((r) => (r instanceof Error ? r.message : r)),
        expected,
      );
    }),
  );
});

test('a store that lies: bytes that are no reply end it', () => {
  for (const bad of ['?\r\n', ':x\r\n', '$x\r\n', '$99999999\r\n', '*1\r\n', ':1e400\r\n'])
    assert.throws(() => new ReplyReader().push(Buffer.from(bad)), bad);
  assert.throws(() => new ReplyReader().push(Buffer.alloc((1 << 20) + 1, 65)), /too long/);
});

test('a command’s parts are told by their length in bytes', () => {
  assert.equal(writeCommand(['SET', 'é\r\n']), '*2\r\n$3\r\nSET\r\n$4\r\né\r\n\r\n');
});
