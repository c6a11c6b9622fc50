import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Wire, wireText } from './answers.ts';

const rows: [Wire, RegExp][] = [
  [{ packets: 5, tls: 4, readable: false }, /^5 packets .* 4 of them .* nothing of the trace id/],
  [{ packets: 5, tls: 0, readable: true }, /the trace id could be read/],
  [{ packets: 0, tls: 0, readable: false }, /^no packet/],
  [{ notSeen: 'EPERM' }, /^packets were not looked at: EPERM$/],
];
for (const [wire, text] of rows) {
  test(`packets as evidence: ${JSON.stringify(wire)}`, () => assert.match(wireText(wire), text));
}
