import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { judgePackets } from './packets-plan.ts';
import { ip } from './testkit.ts';

const peer = { ip: ip('10.0.0.2'), port: 15008 };
interface More {
  readonly protocol?: number;
  readonly sequence?: number;
  readonly flags?: number;
  readonly source?: number;
}
const packet = (
  to: number[],
  port: number,
  payload: string,
  { protocol = 6, sequence = 0, flags = 0x18, source = 40_000 }: More = {},
): Uint8Array => {
  const six = to.length === 16;
  const data = Buffer.from(payload, 'latin1');
  const length = (six ? 20 : 40) + data.length;
  const head = six
    ? [0x60, 0, 0, 0, length >> 8, length & 255, protocol, 64, ...Array<number>(16).fill(9), ...to]
    : [0x45, 0, length >> 8, length & 255, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, ...to];
  const tcp = [
    source >> 8,
    source & 255,
    port >> 8,
    port & 255,
    ...[24, 16, 8, 0].map((n) => (sequence >>> n) & 255),
    0,
    0,
    0,
    0,
    0x50,
    flags,
    0,
    0,
    0,
    0,
    0,
    0,
  ];
  return Uint8Array.from([...head, ...tcp, ...data, 0, 0]); // two bytes of padding
};
const v4 = [10, 0, 0, 2];

test('TLS records of the connection are counted, others are not looked at', () => {
  const facts = judgePackets(
    [
      packet(v4, 15008, '\x16\x03\x01hello'),
      packet(v4, 15008, '\x17\x03\x03data'),
      packet(v4, 15008, ''),
      packet(v4, 80, 'GET /'),
      packet([10, 0, 0, 3], 15008, 'x'),
      packet(v4, 15008, 'x', { protocol: 17 }),
    ],
    peer,
    'mark',
  );
  assert.deepEqual(facts, { packets: 2, tls: 2, plain: 0, readable: false });
});

test('what could be read is seen, by IPv6 too', () => {
  assert.ok(judgePackets([packet(v4, 15008, 'x mark y')], peer, 'mark').readable);
  assert.ok(
    judgePackets([packet(v4, 80, 'GET /mark')], peer, 'mark').readable,
    'to another port: around the tunnel',
  );
  assert.ok(
    judgePackets([packet([10, 0, 0, 9], 53, 'mark', { protocol: 17 })], peer, 'mark').readable,
  );
  const six = { ip: ip('fd00::2'), port: 15008 };
  const to = [0xfd, ...Array<number>(14).fill(0), 2];
  assert.deepEqual(judgePackets([packet(to, 15008, '\x17\x03\x03mark')], six, 'mark'), {
    packets: 1,
    tls: 1,
    plain: 0,
    readable: true,
  });
});

test('a connection that begins without a TLS handshake is plaintext', () => {
  const syn = (source: number, sequence: number) =>
    packet(v4, 15008, '', { flags: 0x02, source, sequence });
  const plain = (...list: Uint8Array[]): number => judgePackets(list, peer, 'mark').plain;
  const hello = packet(v4, 15008, '\x16\x03\x01hello', { sequence: 8 });
  assert.equal(plain(syn(40_000, 7), hello), 0);
  const bare = packet(v4, 15008, 'CONNECT', { sequence: 8 });
  assert.equal(plain(syn(40_000, 7), bare, bare), 1, 'once, however often it was sent');
  assert.equal(plain(bare), 0, 'not seen from its beginning: nothing can be said');
  const later = packet(v4, 15008, 'the rest of a record', { sequence: 300 });
  assert.equal(plain(syn(40_000, 7), hello, later), 0);
  const data = packet(v4, 15008, '\x17\x03\x03data', { sequence: 8 });
  assert.equal(plain(syn(40_000, 7), data), 1, 'no handshake before it');
  const wrapped = packet(v4, 15008, 'PRI', { sequence: 0, source: 41_000 });
  assert.equal(plain(syn(41_000, 0xffffffff), wrapped), 1, 'sequence numbers begin anew');
  const other = packet(v4, 80, 'GET /', { sequence: 8 });
  assert.equal(plain(packet(v4, 80, '', { flags: 0x02, sequence: 7 }), other), 0);
});

test('any bytes are read without an exception', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 70 })), (list) => {
      judgePackets(list, peer, 'mark');
    }),
  );
});
