import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { formatIp, isIpv6, isLoopback, parseIp, parseIpBytes } from './ip.ts';

const v4 = fc.uint8Array({ minLength: 4, maxLength: 4 });
const v6 = fc.uint8Array({ minLength: 16, maxLength: 16 });

const canonical: readonly [string, string][] = [
  ['10.0.0.1', '10.0.0.1'],
  ['::1', '::1'],
  ['::', '::'],
  ['0:0:0:0:0:0:0:1', '::1'],
  ['2001:DB8::ABCD', '2001:db8::abcd'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['::ffff:10.0.0.1', '10.0.0.1'],
  ['::ffff:a00:1', '10.0.0.1'],
  ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
];

const refused = [
  '',
  '1',
  '1.2.3',
  '1.2.3.4.5',
  '256.0.0.1',
  '01.2.3.4',
  '1.2.3.4 ',
  '0x7f.0.0.1',
  '1.2.3.-4',
  ':',
  ':::',
  '1::2::3',
  'fe80::1%eth0',
  '1:2:3:4:5:6:7:8:9',
  '1:2:3:4:5:6:7',
  '1:2:3:4:5:6:7::8',
  '12345::',
  '::1.2.3',
  '1.2.3.4::',
  'g::',
  '١.1.1.1',
  `::${'0'.repeat(60)}`,
];

describe('addresses', () => {
  for (const [from, to] of canonical) {
    test(`${from} is written ${to}`, () => assert.equal(parseIp(from), to));
  }
  for (const text of refused) {
    test(`${JSON.stringify(text)} is no address`, () => assert.equal(parseIp(text), undefined));
  }

  test('parse ∘ format is the identity on bytes, and format is canonical', () => {
    fc.assert(
      fc.property(fc.oneof(v4, v6), (bytes) => {
        const text = formatIp(bytes);
        assert.ok(text);
        const again = parseIpBytes(text);
        assert.ok(again);
        assert.equal(formatIp(again), text);
        if (again.length === bytes.length) assert.deepEqual(again, bytes);
        assert.equal(isIpv6(text), again.length === 16);
      }),
    );
  });

  test('any text is parsed to its canonical form or refused, never thrown on', () => {
    const pieces = fc.constantFrom('1', '255', ':', '::', '.', 'ffff', '0', '%', ' ', 'g', '/');
    const text = fc.array(pieces, { maxLength: 16 }).map((p) => p.join(''));
    fc.assert(
      fc.property(text, (t) => {
        const ip = parseIp(t);
        if (ip !== undefined) assert.equal(parseIp(ip), ip);
      }),
    );
  });

  test('a v4-mapped address is the IPv4 address', () => {
    fc.assert(
      fc.property(v4, (bytes) => {
        const mapped = Uint8Array.from([...Array<number>(10).fill(0), 255, 255, ...bytes]);
        assert.equal(formatIp(mapped), formatIp(bytes));
      }),
    );
  });

  test('bytes of other lengths have no text', () => {
    for (const n of [0, 1, 3, 5, 15, 17]) assert.equal(formatIp(new Uint8Array(n)), undefined);
  });

  const loopback: readonly [string, boolean][] = [
    ['127.0.0.1', true],
    ['127.255.0.9', true],
    ['::1', true],
    ['::ffff:127.0.0.1', true],
    ['128.0.0.1', false],
    ['12.7.0.0', false],
    ['::2', false],
  ];
  for (const [text, is] of loopback) {
    test(`${text} is ${is ? '' : 'not '}loopback`, () => {
      const ip = parseIp(text);
      assert.ok(ip);
      assert.equal(isLoopback(ip), is);
    });
  }
});
