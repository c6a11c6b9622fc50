import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseAuthority, parseIpPort, parsePort, printAuthority } from './host-port.ts';

const good: readonly [string, string][] = [
  ['10.0.0.1:80', '10.0.0.1:80'],
  ['[::1]:80', '[::1]:80'],
  ['[2001:DB8:0::1]:65535', '[2001:db8::1]:65535'],
  ['[::ffff:10.0.0.1]:80', '10.0.0.1:80'],
  ['web.shop.svc.cluster.local:1', 'web.shop.svc.cluster.local:1'],
  ['Web.SHOP:80', 'web.shop:80'],
  ['a_b-c:80', 'a_b-c:80'],
  ['*.example.com:443', '*.example.com:443'],
];

const bad: readonly [string, string][] = [
  ['missing', ''],
  ['only a colon', ':'],
  ['empty host', ':80'],
  ['without port', '10.0.0.1'],
  ['without port', 'web.shop'],
  ['empty port', 'web.shop:'],
  ['port 0', '10.0.0.1:0'],
  ['port 0 in many digits', '10.0.0.1:00000'],
  ['port > 65535', '10.0.0.1:65536'],
  ['port with a sign', '10.0.0.1:+80'],
  ['port in hex', '10.0.0.1:0x50'],
  ['negative port', '10.0.0.1:-1'],
  ['user info', 'user@10.0.0.1:80'],
  ['user info and password', 'user:pass@web.shop:80'],
  ['path', 'web.shop:80/x'],
  ['path before the port', 'web.shop/x:80'],
  ['space', ' web.shop:80'],
  ['space in the port', 'web.shop: 80'],
  ['space in the name', 'web shop:80'],
  ['zone id', '[fe80::1%eth0]:80'],
  ['hostname over 255 bytes', `${'a.'.repeat(128)}a:80`],
  ['label over 63 bytes', `${'a'.repeat(64)}.b:80`],
  ['bare IPv6', '::1:80'],
  ['unclosed bracket', '[::1:80'],
  ['IPv4 in brackets', '[10.0.0.1]:80'],
  ['name in brackets', '[web]:80'],
  ['empty label', 'web..shop:80'],
  ['trailing dot', 'web.shop.:80'],
  ['address-like name', '10.0.0.256:80'],
  ['number as name', '2130706433:80'],
  ['octal address', '0177.0.0.1:80'],
  ['NUL', 'web\0.shop:80'],
  ['newline', 'web.shop:80\n'],
  ['non-ASCII', 'wéb.shop:80'],
  ['percent escape', '%31.shop:80'],
];

describe('host:port', () => {
  for (const [from, to] of good) {
    test(`${from} is ${to}`, () => {
      const a = parseAuthority(from);
      assert.ok(a);
      assert.equal(printAuthority(a), to);
    });
  }
  for (const [why, text] of bad) {
    test(`C2 refused: ${why} ${JSON.stringify(text.slice(0, 40))}`, () => {
      assert.equal(parseAuthority(text), undefined);
    });
  }

  test('print ∘ parse is the identity on what parses', () => {
    const piece = fc.constantFrom('a', 'B', '.', ':', '[', ']', '1', '80', '::', '*', '-', '_');
    const text = fc.array(piece, { maxLength: 12 }).map((p) => `${p.join('')}:80`);
    fc.assert(
      fc.property(text, (t) => {
        const a = parseAuthority(t);
        if (!a) return;
        assert.deepEqual(parseAuthority(printAuthority(a)), a);
        assert.equal(a.port, 80);
      }),
    );
  });

  test('every port from 1 to 65535 and no other', () => {
    fc.assert(
      fc.property(fc.integer({ min: -10, max: 70_000 }), (n) => {
        assert.equal(parsePort(String(n)), n >= 1 && n <= 65_535 ? n : undefined);
      }),
    );
  });

  test('an address is asked for where a name will not do', () => {
    assert.deepEqual(parseIpPort('127.0.0.1:5'), { ip: '127.0.0.1', port: 5 });
    assert.equal(parseIpPort('localhost:5'), undefined);
  });
});
