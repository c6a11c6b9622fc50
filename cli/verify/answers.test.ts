import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Wire, wireLeaks, wireText } from './answers.ts';

const rows: [Wire, RegExp][] = [
  [{ packets: 5, tls: 4, readable: false }, /^5 packets .* 4 of them .* nothing of the trace id/],
  [{ packets: 5, tls: 0, readable: true }, /the trace id could be read/],
  [{ packets: 0, tls: 0, readable: false }, /^no packet/],
  [{ packets: 5, tls: 4, plain: 1, readable: false }, /1 of the connections .* PLAINTEXT/],
  [{ packets: 0, tls: 0, plain: 0, readable: true }, /the trace id could be read/],
  [{ notSeen: 'EPERM' }, /^packets were not looked at: EPERM$/],
];
for (const [wire, text] of rows) {
  test(`packets as evidence: ${JSON.stringify(wire)}`, () => assert.match(wireText(wire), text));
}

test('what could be read on the wire counts, and nothing else does', () => {
  const none = { packets: 5, tls: 4, readable: false };
  assert.equal(wireLeaks({ ...none, readable: true }), true);
  assert.equal(wireLeaks({ ...none, plain: 1 }), true);
  assert.equal(wireLeaks({ ...none, plain: 0 }), false);
  assert.equal(wireLeaks(none), false, 'of an older proxy');
  assert.equal(wireLeaks({ notSeen: 'EPERM' }), false);
  assert.equal(wireLeaks(undefined), false);
});
