// HPACK against the examples of RFC 7541 appendix C, against another implementation, and against nonsense.
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { duplexPair } from 'node:stream';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { FakeClock } from '../../base/index.ts';
import { defaultLimits } from '../limits.ts';
import { encodeHeaders, HpackDecoder, HpackError } from './hpack.ts';
import { decodeHuffman } from './huffman.ts';
import { type HeaderList, H2Session } from './index.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('RFC 7541 C: requests on one connection', () => {
  const expected: [string, string][][] = [
    [
      [':method', 'GET'],
      [':scheme', 'http'],
      [':path', '/'],
      [':authority', 'www.example.com'],
    ],
    [
      [':method', 'GET'],
      [':scheme', 'http'],
      [':path', '/'],
      [':authority', 'www.example.com'],
      ['cache-control', 'no-cache'],
    ],
    [
      [':method', 'GET'],
      [':scheme', 'https'],
      [':path', '/index.html'],
      [':authority', 'www.example.com'],
      ['custom-key', 'custom-value'],
    ],
  ];
  const examples: [string, string[]][] = [
    [
      'C.3 without Huffman',
      [
        '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
        '8286 84be 5808 6e6f 2d63 6163 6865',
        '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
      ],
    ],
    [
      'C.4 with Huffman',
      [
        '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
        '8286 84be 5886 a8eb 1064 9cbf',
        '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
      ],
    ],
  ];
  for (const [name, blocks] of examples) {
    test(name, () => {
      const decoder = new HpackDecoder(65_536);
      assert.deepEqual(
        blocks.map((b) => decoder.decode(hex(b)).fields),
        expected,
      );
    });
  }
});

test('what is encoded is decoded, in its order', () => {
  const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/);
  const value = fc.string({
    unit: fc.integer({ min: 0x20, max: 0xff }).map((c) => String.fromCharCode(c)),
    maxLength: 300,
  });
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 20 }), (fields) => {
      const { fields: got } = new HpackDecoder(1 << 20).decode(encodeHeaders(fields));
      assert.deepEqual(got, fields);
    }),
  );
});

test('blocks of another implementation: indexed, with Huffman, one connection', async () => {
  const [near, far] = duplexPair();
  const seen: HeaderList[] = [];
  const session = new H2Session(far, {
    role: 'server',
    clock: new FakeClock(),
    limits: defaultLimits,
    onRequest(stream, headers) {
      seen.push(headers);
      session.respond(stream, [[':status', '200']], true);
    },
    onClose: () => {},
  });
  const client = http2.connect('http://x', { createConnection: () => near as never });
  const printable = fc.string({
    unit: fc.integer({ min: 0x21, max: 0x7e }).map((c) => String.fromCharCode(c)),
    maxLength: 200,
  });
  const one = fc.dictionary(fc.stringMatching(/^x-[a-z0-9]{1,12}$/), printable, { maxKeys: 8 });
  for (const headers of fc.sample(one, { numRuns: 60, seed: 7 })) {
    const request = client.request({
      ':method': 'CONNECT',
      ':authority': '10.0.0.1:80',
      ...headers,
    });
    await new Promise((resolve) => request.on('response', resolve));
    request.resume();
    const { ':method': _m, ':authority': _a, ...rest } = seen.at(-1) ?? {};
    assert.deepEqual({ ...rest }, { ...headers });
  }
  client.destroy();
  session.destroy();
});

test('Huffman: every padding but all ones of at most 7 bits is refused, and so is EOS', () => {
  assert.equal(decodeHuffman(hex('f1e3c2e5f23a6ba0ab90f4ff')), 'www.example.com');
  assert.equal(decodeHuffman(hex('f1e3c2e5f23a6ba0ab90f4fe')), undefined);
  assert.equal(decodeHuffman(hex('f1e3c2e5f23a6ba0ab90f4ffff')), undefined);
  assert.equal(decodeHuffman(hex('ffffffff')), undefined);
});

test('H16: every broken block is an HpackError', () => {
  const rows: Record<string, string> = {
    'index 0': '80',
    'index beyond both tables': 'ff80 01',
    'number without end': 'ffff ffff ffff ffff',
    'text longer than the block': '4005 6162',
    'table size over the offer': '3fe2 1f',
    'table size after a field': '82 20',
    'bad Huffman text': '4081 fe 00',
    'cut after the name': '4001 61',
  };
  for (const [name, block] of Object.entries(rows)) {
    assert.throws(() => new HpackDecoder(65_536).decode(hex(block)), HpackError, name);
  }
});

test('any bytes: fields or an HpackError, and never more than the limit', () => {
  const decoder = { now: new HpackDecoder(8192) };
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (block) => {
      try {
        const { fields } = decoder.now.decode(block);
        const size = fields.reduce((n, [a, b]) => n + a.length + b.length + 32, 0);
        assert.ok(size <= 8192);
      } catch (error) {
        assert.ok(error instanceof HpackError);
        decoder.now = new HpackDecoder(8192);
      }
    }),
    { numRuns: 2000 },
  );
});

test('H4: a block that grows when decoded is told, kept no further, and the table stays right', () => {
  const decoder = new HpackDecoder(65_536);
  const big = encodeHeaders([['x-big', 'a'.repeat(3000)]]);
  big[0] = 0x40;
  const bomb = Buffer.concat([big, Buffer.alloc(10_000, 0xbe)]);
  const { fields, tooLarge } = decoder.decode(bomb);
  assert.equal(tooLarge, true);
  assert.ok(fields.length <= 22);
  assert.equal(decoder.decode(Buffer.from([0xbe])).fields[0]?.[0], 'x-big');
});
