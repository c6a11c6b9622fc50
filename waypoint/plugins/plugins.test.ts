// Plugins without processes: what is taken of their answers, the messages, the time of calls.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { applyEdits, type HookAnswer, readAnswer } from './answers.ts';
import { CallsState, maxInFlight, patience } from './calls-state.ts';
import type { Hook } from './contract.ts';
import { encodeFrame, FrameReader, maxFrame } from './frames.ts';

describe('answers of hooks', () => {
  const fine: readonly (readonly [Hook, unknown, HookAnswer])[] = [
    ['authorize', { allow: true }, { kind: 'allow' }],
    [
      'authorize',
      { allow: false },
      { kind: 'reply', reply: { status: 403, body: '', headers: [] } },
    ],
    [
      'authorize',
      { allow: false, status: 402, body: 'pay' },
      { kind: 'reply', reply: { status: 402, body: 'pay', headers: [] } },
    ],
    ['onRequest', undefined, { kind: 'nothing' }],
    ['onRequest', null, { kind: 'nothing' }],
    ['onRequest', {}, { kind: 'edits', edits: { set: [], remove: [] } }],
    [
      'onRequest',
      { set: { 'X-A': 'b' }, remove: ['X-C'] },
      { kind: 'edits', edits: { set: [['x-a', 'b']], remove: ['x-c'] } },
    ],
    [
      'onRequest',
      { reply: { status: 302, headers: { Location: '/' } } },
      { kind: 'reply', reply: { status: 302, body: '', headers: [['location', '/']] } },
    ],
    ['pick', 'uid-1', { kind: 'endpoint', id: 'uid-1' }],
    ['pick', undefined, { kind: 'nothing' }],
    ['onLog', 'seen', { kind: 'text', text: 'seen' }],
    [
      'onResponse',
      { remove: ['server'] },
      { kind: 'edits', edits: { set: [], remove: ['server'] } },
    ],
  ];
  for (const [hook, given, want] of fine) {
    test(`${hook} ${JSON.stringify(given)} is taken`, () => {
      assert.deepEqual(readAnswer(hook, given), want);
    });
  }

  const lies: readonly (readonly [Hook, unknown])[] = [
    ['authorize', undefined],
    ['authorize', true],
    ['authorize', 'allow'],
    ['authorize', { allow: 'true' }],
    ['authorize', { allow: 1 }],
    ['authorize', [true]],
    ['authorize', { allow: false, status: 200 }],
    ['authorize', { allow: false, status: 99 }],
    ['authorize', { allow: false, body: 5 }],
    ['authorize', { allow: true, extra: 1 }],
    ['onRequest', 5],
    ['onRequest', []],
    ['onRequest', { path: '/admin' }],
    ['onRequest', { set: { 'x-a': 'b\r\nx-b: c' } }],
    ['onRequest', { set: { 'x-a': 'b\nc' } }],
    ['onRequest', { set: { 'x-a': 'b\0' } }],
    ['onRequest', { set: { 'x-a': 'ü€' } }],
    ['onRequest', { set: { 'x-a': 7 } }],
    ['onRequest', { set: { 'x-a': ['b'] } }],
    ['onRequest', { set: { 'x a': 'b' } }],
    ['onRequest', { set: { 'x-a\r\nx-b': 'b' } }],
    ['onRequest', { set: { '': 'b' } }],
    ['onRequest', { set: { ':path': '/admin' } }],
    ['onRequest', { set: { Host: 'other' } }],
    ['onRequest', { set: { 'Content-Length': '0' } }],
    ['onRequest', { set: { 'Transfer-Encoding': 'chunked' } }],
    ['onRequest', { set: { 'x-forwarded-client-cert': 'URI=spiffe://x' } }],
    ['onRequest', { set: { 'x-a': 'b'.repeat(9_000) } }],
    ['onRequest', { set: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`h${i}`, ''])) }],
    ['onRequest', { remove: ['host'] }],
    ['onRequest', { remove: 'x-a' }],
    ['onRequest', { remove: [1] }],
    ['onRequest', { reply: { status: 101 } }],
    ['onRequest', { reply: { status: 200.5 } }],
    ['onRequest', { reply: { status: 200, body: 'x'.repeat(70_000) } }],
    ['onRequest', { reply: { status: 200, headers: { 'x-a': '\r\n' } } }],
    ['onRequest', { reply: {} }],
    ['onRequest', { reply: { status: 200 }, set: {} }],
    ['onResponse', { reply: { status: 200 } }],
    ['onResponse', { set: { connection: 'upgrade' } }],
    ['pick', 5],
    ['pick', { id: 'a' }],
    ['onLog', { a: 1 }],
  ];
  for (const [hook, given] of lies) {
    const shown = (JSON.stringify(given) ?? 'undefined').slice(0, 60);
    test(`${hook} ${shown} is refused`, () => {
      assert.equal(typeof readAnswer(hook, given), 'string');
    });
  }

  test('whatever comes, nothing is thrown, and what is taken cannot end a line', () => {
    const any = fc.oneof(
      fc.anything(),
      fc.record({ set: fc.dictionary(fc.string(), fc.string()) }),
      fc.record({
        reply: fc.record({
          status: fc.integer(),
          headers: fc.dictionary(fc.string(), fc.string()),
        }),
      }),
    );
    const hook = fc.constantFrom<Hook>('authorize', 'onRequest', 'pick', 'onResponse', 'onLog');
    fc.assert(
      fc.property(hook, any, (h, v) => {
        const made = readAnswer(h, v);
        if (typeof made === 'string') return;
        const pairs =
          made.kind === 'edits' ? made.edits.set : made.kind === 'reply' ? made.reply.headers : [];
        for (const [n, text] of pairs)
          assert.doesNotMatch(`${n}${text}`, /[\r\n\0:]{1}.*\r|[\r\n\0]/);
      }),
    );
  });

  test('edits: remove first, then set replaces every line of the name', () => {
    const before = [
      ['a', '1'],
      ['b', '2'],
      ['a', '3'],
      ['c', '4'],
    ] as const;
    assert.deepEqual(applyEdits(before, { set: [['a', '9']], remove: ['c'] }), [
      ['b', '2'],
      ['a', '9'],
    ]);
    assert.equal(applyEdits(before, { set: [], remove: [] }), before);
  });
});

describe('messages', () => {
  test('the same, however the bytes are cut', () => {
    const messages = [{ a: 1 }, { text: 'ü\r\n' }, [], { big: 'x'.repeat(5_000) }];
    const bytes = Buffer.concat(messages.map(encodeFrame));
    const one = new FrameReader(maxFrame);
    assert.deepEqual(
      [...bytes].flatMap((b) => one.push(Buffer.from([b]))),
      messages,
    );
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 3_000 })), (cuts) => {
        const reader = new FrameReader(maxFrame);
        const out: unknown[] = [];
        let at = 0;
        for (const cut of [...cuts, bytes.length]) {
          out.push(...reader.push(bytes.subarray(at, at + cut)));
          at += cut;
        }
        assert.deepEqual(out, messages);
      }),
    );
  });

  test('too long and no JSON are errors, before they are kept', () => {
    const long = Buffer.alloc(4);
    long.writeUInt32BE(maxFrame + 1);
    assert.throws(() => new FrameReader(maxFrame).push(long), /too long/);
    assert.throws(() => new FrameReader(maxFrame).push(Buffer.from('\0\0\0\x02{]')), SyntaxError);
  });
});

describe('the time of calls', () => {
  test('a call has its time from when the one before is answered, but not for ever', () => {
    const calls = new CallsState<string>(20);
    assert.equal(calls.dueMs(), undefined);
    const a = calls.sent(100, 'a') ?? 0;
    const b = calls.sent(105, 'b') ?? 0;
    assert.equal(calls.dueMs(), 120);
    assert.equal(calls.answered(119, a), 'a');
    assert.equal(calls.dueMs(), 139, 'b began when a was done');
    for (let now = 130; now < 320; now += 10) calls.answered(now, calls.sent(now, 'x') ?? 0);
    assert.equal(calls.dueMs(), 105 + patience * 20, 'others are answered, b is not');
    assert.equal(calls.answered(330, b), 'b');
    assert.equal(calls.answered(331, b), undefined, 'an answer to nothing');
    assert.equal(calls.dueMs(), undefined);
  });

  test('there is an end to how many wait', () => {
    const calls = new CallsState<number>(20);
    for (let i = 0; i < maxInFlight; i++) assert.notEqual(calls.sent(0, i), undefined);
    assert.equal(calls.sent(0, 1), undefined);
    assert.equal(calls.drop().length, maxInFlight);
    assert.equal(calls.dueMs(), undefined);
  });
});
