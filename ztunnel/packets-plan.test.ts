import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { judgePackets } from './packets-plan.ts';
import { ip } from './testkit.ts';

const peer = { ip: ip('10.0.0.2'), port: 15008 };
const packet = (to: number[], port: number, payload: string, protocol = 6): Uint8Array => {
  const six = to.length === 16;
  const data = Buffer.from(payload, 'latin1');
  const length = (six ? 20 : 40) + data.length;
  const head = six
    ? [0x60, 0, 0, 0, length >> 8, length & 255, protocol, 64, ...Array<number>(16).fill(9), ...to]
    : [0x45, 0, length >> 8, length & 255, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, ...to];
  const tcp = [
    0x9c,
    0x40,
    port >> 8,
    port & 255,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0x50,
    0x18,
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
      packet(v4, 80, 'GET /mark'),
      packet([10, 0, 0, 3], 15008, 'mark'),
      packet(v4, 15008, 'mark', 17),
    ],
    peer,
    'mark',
  );
  assert.deepEqual(facts, { packets: 2, tls: 2, readable: false });
});

test('what could be read is seen, by IPv6 too', () => {
  assert.ok(judgePackets([packet(v4, 15008, 'x mark y')], peer, 'mark').readable);
  const six = { ip: ip('fd00::2'), port: 15008 };
  const to = [0xfd, ...Array<number>(14).fill(0), 2];
  assert.deepEqual(judgePackets([packet(to, 15008, '\x17\x03\x03mark')], six, 'mark'), {
    packets: 1,
    tls: 1,
    readable: true,
  });
});

test('any bytes are read without an exception', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 70 })), (list) => {
      judgePackets(list, peer, 'mark');
    }),
  );
});
