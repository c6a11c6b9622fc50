// The message codec: what is written can be read, hostile bytes give a value (checklist N5), truncation,
// and what an upstream's answer must be to be believed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIp } from '../base/index.ts';
import {
  addressRecord,
  aged,
  answerLimit,
  type DnsQuery,
  type DnsRecord,
  rcodes,
  readAnswer,
  readQuery,
  refuseQuery,
  withId,
  writeAnswer,
} from './message.ts';

const bytes = (...parts: (string | number[])[]): Uint8Array =>
  Uint8Array.from(
    parts.flatMap((p) => (typeof p === 'string' ? [...Buffer.from(p, 'latin1')] : p)),
  );
const head = (flags: number[], counts: number[] = [1, 0, 0, 0]): number[] => [
  0x12,
  0x34,
  ...flags,
  ...counts.flatMap((c) => [c >> 8, c & 255]),
];
const nameBytes = (name: string): number[] => [
  ...name.split('.').flatMap((l) => [l.length, ...Buffer.from(l, 'latin1')]),
  0,
];
const asks = (name: string, type = 1, more: { edns?: number; rd?: boolean } = {}): Uint8Array =>
  bytes(
    head([more.rd === false ? 0 : 1, 0], [1, 0, 0, more.edns === undefined ? 0 : 1]),
    nameBytes(name),
    [0, type, 0, 1],
    more.edns === undefined ? [] : [0, 0, 41, more.edns >> 8, more.edns & 255, 0, 0, 0x80, 0, 0, 0],
  );
const queryOf = (message: Uint8Array): DnsQuery => {
  const read = readQuery(message);
  assert.equal(read.kind, 'query');
  return read.kind === 'query' ? read.query : assert.fail();
};
const ip = (text: string) => parseIp(text) ?? assert.fail();

const cases: [string, Uint8Array, string][] = [
  ['an answer', bytes(head([0x81, 0]), nameBytes('a'), [0, 1, 0, 1]), 'ignore'],
  ['shorter than a header', bytes([1, 2, 3]), 'ignore'],
  ['eleven bytes', new Uint8Array(11), 'ignore'],
  ['UPDATE', bytes(head([0x28, 0])), 'other'],
  ['no question', bytes(head([1, 0], [0, 0, 0, 0])), 'malformed'],
  ['two questions', bytes(head([1, 0], [2, 0, 0, 0]), nameBytes('a'), [0, 1, 0, 1]), 'malformed'],
  ['a pointer to itself', bytes(head([1, 0]), [0xc0, 12, 0, 1, 0, 1]), 'malformed'],
  ['a reserved label type', bytes(head([1, 0]), [0x80, 1, 0, 0, 1, 0, 1]), 'malformed'],
  ['a name without end', bytes(head([1, 0]), [3, 97, 98]), 'malformed'],
  ['a question cut off', bytes(head([1, 0]), nameBytes('a'), [0, 1, 0]), 'malformed'],
  [
    'a name over 255 bytes',
    bytes(head([1, 0]), nameBytes('abcdefg.'.repeat(40) + 'x'), [0, 1, 0, 1]),
    'malformed',
  ],
  [
    'records promised',
    bytes(head([1, 0], [1, 0, 0, 3]), nameBytes('a'), [0, 1, 0, 1]),
    'malformed',
  ],
  [
    'a record that is longer than the message',
    bytes(
      head([1, 0], [1, 0, 0, 1]),
      nameBytes('a'),
      [0, 1, 0, 1, 0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 9],
    ),
    'malformed',
  ],
  [
    'two OPT records',
    bytes(
      head([1, 0], [1, 0, 0, 2]),
      nameBytes('a'),
      [0, 1, 0, 1],
      [0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0],
      [0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0],
    ),
    'malformed',
  ],
  ['a question', asks('Web.Shop'), 'query'],
  ['the root', bytes(head([1, 0]), [0, 0, 2, 0, 1]), 'query'],
];
for (const [what, message, kind] of cases) {
  test(`10.1, N5: ${what} → ${kind}`, () => assert.equal(readQuery(message).kind, kind));
}

test('10.1: the name is lower case, the question is kept byte for byte, EDNS is seen', () => {
  const query = queryOf(asks('WeB.Shop', 28, { edns: 1400 }));
  assert.deepEqual([query.name, query.type, query.class, query.rd], ['web.shop', 28, 1, true]);
  assert.equal(Buffer.from(query.question).toString('latin1', 1, 4), 'WeB');
  assert.deepEqual(query.edns, { version: 0, payload: 1400, dnssecOk: true });
});

test('N5: any bytes are read without an exception, also after a valid head', () => {
  const start = fc.constantFrom(
    new Uint8Array(),
    asks('web.shop').subarray(0, 12),
    asks('web.shop'),
  );
  fc.assert(
    fc.property(start, fc.uint8Array({ maxLength: 80 }), asks4(), (a, b, query) => {
      const message = bytes([...a], [...b]);
      readQuery(message);
      readAnswer(message, query);
      const refused = message.length >= 12 ? refuseQuery(message, rcodes.FORMERR) : undefined;
      assert.ok(refused === undefined || refused.length <= message.length);
    }),
    { numRuns: 2000 },
  );
});

function asks4(): fc.Arbitrary<Uint8Array> {
  const label = fc.stringMatching(/^[a-z0-9-]{1,20}$/);
  return fc
    .tuple(fc.array(label, { minLength: 1, maxLength: 5 }), fc.constantFrom(1, 28, 33, 16))
    .map(([labels, type]) => asks(labels.join('.'), type, { edns: 1232 }));
}

test('N5: a query that is cut off anywhere is malformed or ignored', () => {
  const whole = asks('web.shop.svc.cluster.local', 1, { edns: 4096 });
  for (let n = 0; n < whole.length; n++) {
    assert.ok(['ignore', 'malformed'].includes(readQuery(whole.subarray(0, n)).kind), String(n));
  }
});

const good = { rcode: rcodes.NOERROR, authoritative: true, recursion: true } as const;

test('what is written is an answer to its query, within the limit, with TC if cut', () => {
  const address = fc.constantFrom('10.0.0.1', '10.255.0.9', 'fd00::1');
  fc.assert(
    fc.property(
      asks4(),
      fc.array(address, { maxLength: 60 }),
      fc.boolean(),
      (message, list, tcp) => {
        const query = queryOf(message);
        const answers = list.map((text) => addressRecord(query.name, 30, ip(text)));
        const limit = answerLimit(query, tcp ? 'tcp' : 'udp');
        const out = writeAnswer(query, { ...good, answers, additional: answers }, limit);
        assert.ok(out.length <= limit);
        const facts = readAnswer(out, message);
        assert.ok(facts);
        assert.equal(facts.truncated, facts.count < answers.length);
        assert.equal(facts.ttl, answers.length > 0 ? 30 : undefined);
        assert.deepEqual(out.subarray(12, 12 + query.question.length), query.question);
      },
    ),
  );
});

test('10.1: 512 bytes without EDNS, what the client says with it; never over 4096 by UDP', () => {
  assert.equal(answerLimit(queryOf(asks('a')), 'udp'), 512);
  assert.equal(answerLimit(queryOf(asks('a', 1, { edns: 100 })), 'udp'), 512);
  assert.equal(answerLimit(queryOf(asks('a', 1, { edns: 1232 })), 'udp'), 1232);
  assert.equal(answerLimit(queryOf(asks('a', 1, { edns: 65_000 })), 'udp'), 4096);
  assert.equal(answerLimit(queryOf(asks('a')), 'tcp'), 65_535);
});

test('10.1: head of a local answer, EDNS echoed, names in lower case', () => {
  const message = asks('Web', 1, { edns: 300 });
  const query = queryOf(message);
  const answers: DnsRecord[] = [
    { name: 'web', ttl: 30, data: { type: 'CNAME', target: 'x.web' } },
    addressRecord('x.web', 30, ip('10.0.0.1')),
    { name: 'web', ttl: 30, data: { type: 'SRV', port: 80, target: 'x.web' } },
  ];
  const out = Buffer.from(writeAnswer(query, { ...good, answers, additional: [] }, 512));
  assert.equal(out.subarray(0, 12).toString('hex'), '1234858000010003000000' + '01');
  assert.equal(out.toString('latin1', 13, 16), 'Web');
  assert.equal(out.toString('latin1', 22, 25), 'web');
  assert.equal(out.subarray(-11).toString('hex'), '000029' + '0200' + '00008000' + '0000');
});

test('10.1: a refusal has neither RA nor EDNS, and keeps RD', () => {
  const out = Buffer.from(refuseQuery(asks('a.b', 1, { edns: 1232 }), rcodes.SERVFAIL));
  assert.equal(out.subarray(0, 12).toString('hex'), '123481020001000000000000');
  assert.equal(out.length, 12 + 9);
});

test('N5: poisoned answers are passed over', () => {
  const query = asks('web.shop');
  const answers = [addressRecord('web.shop', 30, ip('10.0.0.1'))];
  const answer = writeAnswer(queryOf(query), { ...good, answers, additional: [] }, 512);
  assert.ok(readAnswer(answer, query));
  assert.equal(readAnswer(withId(answer, 0x1235), query), undefined, 'another id');
  assert.equal(readAnswer(query, query), undefined, 'the query itself');
  assert.equal(readAnswer(answer, asks('web.shoq')), undefined, 'another name');
  assert.equal(readAnswer(answer, asks('web.shop', 28)), undefined, 'another type');
  assert.equal(readAnswer(answer.subarray(0, -1), query), undefined, 'cut off');
  assert.ok(readAnswer(answer, asks('WEB.shop')), 'only the case differs');
});

test('records age, and never below what is asked', () => {
  const query = asks('web.shop');
  const answers = [addressRecord('web.shop', 30, ip('10.0.0.1'))];
  const answer = writeAnswer(queryOf(query), { ...good, answers, additional: [] }, 512);
  const places = readAnswer(answer, query)?.ttlPlaces ?? [];
  assert.equal(readAnswer(aged(answer, places, 10, 0), query)?.ttl, 20);
  assert.equal(readAnswer(aged(answer, places, 100, 5), query)?.ttl, 5);
});
