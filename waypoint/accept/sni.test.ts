import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import tls from 'node:tls';
import fc from 'fast-check';
import { serverName, type ServerName } from './sni.ts';

/** The first flight of Node's own TLS client. */
function hello(o: tls.ConnectionOptions): Promise<Buffer> {
  return new Promise((resolve) => {
    const under = new Duplex({
      read: () => {},
      write(chunk: Buffer, _encoding, done) {
        done();
        resolve(chunk);
      },
    });
    tls.connect({ socket: under, ...o }).on('error', () => {});
  });
}

const rows: readonly (readonly [string, tls.ConnectionOptions, string])[] = [
  ['a name', { servername: 'shop.example.com' }, 'shop.example.com'],
  ['capitals', { servername: 'Shop.Example.COM' }, 'shop.example.com'],
  ['TLS 1.2', { servername: 'a.b', maxVersion: 'TLSv1.2' }, 'a.b'],
  ['a long hello: keys after quantum', { servername: 'a.b', ecdhCurve: 'X25519MLKEM768' }, 'a.b'],
  ['no name', {}, ''],
];
for (const [what, o, name] of rows) {
  test(`${what}: ${name}, whole and byte by byte`, async () => {
    const bytes = await hello(o);
    const wanted: ServerName = { state: 'hello', name };
    assert.deepEqual(serverName(bytes), wanted);
    for (let n = 0; n < bytes.length; n++)
      assert.deepEqual(serverName(bytes.subarray(0, n)), { state: 'more' }, String(n));
    assert.deepEqual(serverName(Buffer.concat([bytes, Buffer.from('more')])), wanted);
  });
}

test('a hello in records of any size', async () => {
  const bytes = await hello({ servername: 'shop.example.com' });
  const body = bytes.subarray(5);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: body.length }), (size) => {
      const records: Buffer[] = [];
      for (let at = 0; at < body.length; at += size) {
        const part = body.subarray(at, at + size);
        const head = Buffer.from([22, 3, 1, 0, 0]);
        head.writeUInt16BE(part.length, 3);
        records.push(head, part);
      }
      assert.deepEqual(serverName(Buffer.concat(records)), {
        state: 'hello',
        name: 'shop.example.com',
      });
    }),
    { numRuns: 40 },
  );
});

for (const text of ['GET / HTTP/1.1\r\n', '\x17\x03\x03', '\x16\x02', '\x16\x03\x01\x00\x00']) {
  test(`${JSON.stringify(text)} is no hello`, () =>
    assert.deepEqual(serverName(Buffer.from(text, 'latin1')), { state: 'other' }));
}

test('whatever the bytes are, an answer and no error; a name is a host name', async () => {
  const bytes = await hello({ servername: 'shop.example.com' });
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(255), (at, value) => {
      const broken = Buffer.from(bytes);
      broken[at] = value;
      const said = serverName(broken);
      if (said.state === 'hello') assert.match(said.name, /^[a-z0-9_.-]*$/);
    }),
    { numRuns: 2_000 },
  );
});
