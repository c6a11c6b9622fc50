import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { cidrContains, makeCidr, parseCidr, printCidr } from './cidr.ts';
import { parseIpBytes } from './ip.ts';

const address = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }),
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
);

const contains = (block: string, ip: string): boolean | undefined => {
  const cidr = parseCidr(block);
  const bytes = parseIpBytes(ip);
  return cidr && bytes && cidrContains(cidr, bytes);
};

describe('CIDR blocks', () => {
  const rows: readonly [string, string, boolean][] = [
    ['10.0.0.0/8', '10.255.1.2', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['10.1.2.3/8', '10.9.9.9', true],
    ['10.0.0.0/0', '203.0.113.9', true],
    ['0.0.0.0/0', '::1', false],
    ['::/0', '10.0.0.1', false],
    ['10.0.0.1', '10.0.0.1', true],
    ['10.0.0.1', '10.0.0.2', false],
    ['10.0.0.128/25', '10.0.0.127', false],
    ['fd00::/8', 'fdff::1', true],
    ['fd00::/8', 'fe00::1', false],
    ['::ffff:10.0.0.0/104', '10.7.7.7', true],
    ['::ffff:10.0.0.0/104', '11.7.7.7', false],
  ];
  for (const [block, ip, is] of rows) {
    test(`P5 ${block} ${is ? 'contains' : 'does not contain'} ${ip}`, () => {
      assert.equal(contains(block, ip), is);
    });
  }

  const refused = [
    '',
    '/',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0.0.0/ 8',
    '10.0.0.0/0008',
    '::/129',
    'fe80::1%eth0/64',
    '10.0.0/8',
    'x/8',
    // Shorter than the mapped prefix: neither family's block.
    '::ffff:10.0.0.0/24',
  ];
  for (const text of refused) {
    test(`P5 ${JSON.stringify(text)} is no block`, () => assert.equal(parseCidr(text), undefined));
  }

  test('P5 bytes with a wrong length or prefix make no block', () => {
    const rows2: readonly [number, number][] = [
      [3, 8],
      [0, 0],
      [17, 8],
      [4, 33],
      [16, 129],
      [4, 1.5],
      [4, Number.NaN],
      [4, -1],
    ];
    for (const [n, bits] of rows2) assert.equal(makeCidr(new Uint8Array(n), bits), undefined);
  });

  test('the bytes it is made of stay as they are, also in a Buffer', () => {
    const wire = Buffer.from([10, 1, 2, 3]);
    assert.deepEqual(makeCidr(wire, 8), { bytes: Uint8Array.of(10, 0, 0, 0), bits: 8 });
    assert.deepEqual([...wire], [10, 1, 2, 3]);
  });

  test('print ∘ parse is the identity on blocks', () => {
    fc.assert(
      fc.property(address, fc.nat(128), (bytes, n) => {
        const cidr = makeCidr(bytes, Math.min(n, bytes.length * 8));
        if (!cidr) return;
        assert.deepEqual(parseCidr(printCidr(cidr)), cidr);
      }),
    );
  });

  test('a block contains what it was made of; a longer prefix contains less', () => {
    fc.assert(
      fc.property(address, fc.nat(128), fc.nat(128), address, (bytes, a, b, other) => {
        const max = bytes.length * 8;
        const wide = makeCidr(bytes, Math.min(a, b, max));
        const narrow = makeCidr(bytes, Math.min(Math.max(a, b), max));
        assert.ok(wide && narrow);
        assert.ok(cidrContains(wide, bytes) && cidrContains(narrow, bytes));
        if (cidrContains(narrow, other)) assert.ok(cidrContains(wide, other));
      }),
    );
  });

  test('flipping a bit inside the prefix leaves the block, outside it does not', () => {
    fc.assert(
      fc.property(address, fc.nat(127), fc.nat(127), (bytes, n, at) => {
        const max = bytes.length * 8;
        const bits = Math.min(n, max);
        const bit = at % max;
        const cidr = makeCidr(bytes, bits);
        assert.ok(cidr);
        if (cidr.bytes.length !== bytes.length) return;
        const other = bytes.slice();
        other[bit >> 3] = (other[bit >> 3] ?? 0) ^ (0x80 >> (bit & 7));
        assert.equal(cidrContains(cidr, other), bit >= bits);
      }),
    );
  });
});
