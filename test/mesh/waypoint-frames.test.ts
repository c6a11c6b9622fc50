// What a peer may send that HTTP does not allow, as raw bytes and frames through a real tunnel and waypoint to a real
// application (reliability checklist L6, L8, L15, L19, L20): refused, never passed on in another shape.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import { L7PortProtocol } from '../../core/proto/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const vip = at(100);
let w: TestWaypoint;

// --- an application that shows the bytes it gets, and answers what it is told to

let got = '';
let connections = 0;
let answer: string | ((socket: net.Socket) => void) = '';
const fine = 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello';
const app = net.createServer((socket) => {
  connections++;
  socket.on('error', () => {});
  let head = '';
  socket.on('data', (bytes: Buffer) => {
    got += bytes.toString('latin1');
    head += bytes.toString('latin1');
    if (!head.includes('\r\n\r\n')) return;
    head = '';
    if (typeof answer === 'string') socket.write(answer, 'latin1');
    else answer(socket);
  });
});

before(async () => {
  w = await startTestWaypoint(at(1));
  await new Promise<void>((resolve) => app.listen(0, at(10), resolve));
  w.service('web', vip, 80, [`${at(10)}:${(app.address() as net.AddressInfo).port}`]);
  w.configure('web', { ports: [{ port: 80, protocol: L7PortProtocol.HTTP }] });
});
beforeEach(() => {
  [got, connections, answer] = ['', 0, fine];
});
after(async () => {
  await w.stop();
  app.close();
});

// --- frames, by hand (RFC 9113 4.1, RFC 7541 6.2.2: literal, not indexed, no Huffman)

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}
function text(s: string): Buffer {
  const bytes = Buffer.from(s, 'latin1');
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const size: number[] = [127];
  let left = bytes.length - 127;
  for (; left >= 128; left >>= 7) size.push((left & 127) | 128);
  return Buffer.concat([Buffer.from([...size, left]), bytes]);
}
type Fields = readonly (readonly [string, string])[];
const block = (fields: Fields): Buffer =>
  Buffer.concat(fields.flatMap(([n, v]) => [Buffer.from([0]), text(n), text(v)]));
const [data, headers, reset, settings, goaway] = [0, 1, 3, 4, 7];
const opening = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  frame(settings, 0, 0, Buffer.alloc(0)),
]);

const pseudo = (more: Readonly<Record<string, string>> = {}): Fields =>
  Object.entries({
    ':method': 'GET',
    ':scheme': 'http',
    ':authority': 'web',
    ':path': '/',
    ...more,
  });

/** `reset`, `closed`, or the status of the answer to stream 1. */
async function ask2(fields: Fields, body?: string): Promise<string> {
  const stream = await w.connect(`${vip}:80`);
  const all: Buffer[] = [];
  stream.on('data', (bytes: Buffer) => all.push(bytes));
  const ended = new Promise<void>((resolve) => stream.once('close', resolve).once('end', resolve));
  const flags = 4 | (body === undefined ? 1 : 0);
  const sent = [opening, frame(headers, flags, 1, block(fields))];
  if (body !== undefined) sent.push(frame(data, 1, 1, Buffer.from(body)));
  stream.write(Buffer.concat(sent));
  let over = false;
  void ended.then(() => (over = true));
  const told = await eventually(() => outcome(Buffer.concat(all)) ?? (over ? 'closed' : undefined));
  stream.destroy();
  return told;
}

function outcome(bytes: Buffer): string | undefined {
  for (let i = 0; i + 9 <= bytes.length; ) {
    const end = i + 9 + bytes.readUIntBE(i, 3);
    if (end > bytes.length) return undefined;
    const [type, stream] = [bytes[i + 3], bytes.readUInt32BE(i + 5)];
    if (type === goaway) return 'closed';
    if (stream === 1 && type === reset) return 'reset';
    if (stream === 1 && type === headers) return status(bytes.subarray(i + 9, end));
    i = end;
  }
  return undefined;
}
/** Of the static table, or of whatever else is told first. */
function status(field: Buffer): string {
  const indexed = new Map([
    [0x88, '200'],
    [0x8c, '400'],
    [0x8d, '404'],
    [0x8e, '500'],
  ]);
  return indexed.get(field[0] ?? 0) ?? 'another status';
}

describe('L6 frames that no HTTP/2 request is made of', () => {
  test('a good one goes through, as HTTP/1.1', async () => {
    assert.equal(await ask2([...pseudo({ ':path': '/good?q=1' }), ['x-a', 'b']]), '200');
    assert.match(got, /^GET \/good\?q=1 HTTP\/1\.1\r\n/);
    assert.match(got, /^x-a: b\r$/m);
  });

  const smuggled = 'GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n';
  const post = pseudo({ ':method': 'POST' });
  const rows: readonly (readonly [string, Fields, string?])[] = [
    ['transfer-encoding', [...post, ['transfer-encoding', 'chunked']], `0\r\n\r\n${smuggled}`],
    ['transfer-encoding, oddly', [...post, ['transfer-encoding', '\tchunked']], '0\r\n\r\n'],
    ['connection', [...pseudo(), ['connection', 'close']]],
    ['connection that names another', [...pseudo(), ['connection', 'x-a'], ['x-a', 'b']]],
    ['proxy-connection', [...pseudo(), ['proxy-connection', 'keep-alive']]],
    ['keep-alive', [...pseudo(), ['keep-alive', 'timeout=5']]],
    ['upgrade', [...pseudo(), ['upgrade', 'websocket']]],
    ['upgrade to h2c', [...pseudo(), ['upgrade', 'h2c'], ['http2-settings', 'AAMAAABk']]],
    ['te of another kind', [...pseudo(), ['te', 'gzip']]],
    ['a name in upper case', [...pseudo(), ['X-Upper', 'b']]],
    ['Host in upper case', [...pseudo(), ['Host', 'other']]],
    ['CR LF in :path', pseudo({ ':path': `/ HTTP/1.1\r\nhost: x\r\n\r\n${smuggled}` })],
    ['a space in :path', pseudo({ ':path': '/ HTTP/1.1' })],
    ['CR LF in :authority', pseudo({ ':authority': 'web\r\nx-evil: 1' })],
    ['CR LF in :method', pseudo({ ':method': 'GET / HTTP/1.1\r\nx: y\r\n\r\nGET' })],
    ['a space in :method', pseudo({ ':method': 'GET /smuggled' })],
    ['CR LF in :scheme', pseudo({ ':scheme': 'http\r\nx-evil: 1' })],
    ['no :path', pseudo().filter(([n]) => n !== ':path')],
    ['an empty :path', pseudo({ ':path': '' })],
    ['no :method', pseudo().filter(([n]) => n !== ':method')],
    ['two :path', [...pseudo(), [':path', '/other']]],
    ['two :authority', [...pseudo(), [':authority', 'other']]],
    ['a pseudo header after others', [['x-a', 'b'], ...pseudo()]],
    ['a pseudo header of answers', [...pseudo(), [':status', '200']]],
    ['an unknown pseudo header', [...pseudo(), [':evil', '1']]],
    ['two content-length', [...post, ['content-length', '1'], ['content-length', '2']], 'ab'],
    ['content-length of no number', [...post, ['content-length', '0x5']], 'hello'],
    ['a negative content-length', [...post, ['content-length', '-1']], 'hello'],
    ['a content-length and no body', [...post, ['content-length', '5']]],
    ['less content-length than body', [...post, ['content-length', '0']], smuggled],
    ['more content-length than body', [...post, ['content-length', '500']], 'hello'],
  ];
  for (const [what, fields, body] of rows) {
    test(`${what}: refused, and nothing of it is said in HTTP/1.1`, async () => {
      const told = await ask2(fields, body);
      assert.match(told, /^(reset|closed|400|404)$/);
      assert.doesNotMatch(got, /smuggled|evil|chunked|^GET \/other/m);
      assert.equal([...got.matchAll(/HTTP\/1\.1\r\n/g)].length <= 1, true);
      if (!what.startsWith('more content-length') && !what.startsWith('less content-length')) {
        assert.equal(got, '');
      }
    });
  }

  /** The library takes fields away that cannot stand in a message; nobody sees them, policies neither. */
  const dropped: readonly (readonly [string, Fields])[] = [
    ['a space in a name', [...pseudo(), ['x a', 'b']]],
    ['a colon in a name', [...pseudo(), ['x:a', 'b']]],
    ['CR LF in a name', [...pseudo(), ['x\r\ny', 'b']]],
    ['no name', [...pseudo(), ['', 'b']]],
    ['CR LF in a value', [...pseudo(), ['x-a', `b\r\n\r\n${smuggled}`]]],
    ['CR in a value', [...pseudo(), ['x-a', 'b\rc']]],
    ['LF in a value', [...pseudo(), ['x-a', 'b\nx-evil: 1']]],
    ['NUL in a value', [...pseudo(), ['x-a', 'b\0c']]],
  ];
  for (const [what, fields] of dropped) {
    test(`${what}: the field goes nowhere`, async () => {
      assert.match(await ask2(fields), /^(200|reset|closed|400)$/);
      assert.doesNotMatch(got, /smuggled|evil|x a|x:a|^y:|^x-a|^:/m);
      assert.equal([...got.matchAll(/HTTP\/1\.1\r\n/g)].length <= 1, true);
    });
  }

  test('L5 host beside another :authority: one of them, the same for all', async () => {
    const told = await ask2([...pseudo({ ':authority': 'web' }), ['host', 'other']]);
    assert.match(told, /^(200|reset|400)$/);
    assert.doesNotMatch(got, /other/);
  });

  test('a trailer is no header', async () => {
    const stream = await w.connect(`${vip}:80`);
    stream.on('data', () => {});
    stream.write(
      Buffer.concat([
        opening,
        frame(headers, 4, 1, block(post)),
        frame(data, 0, 1, Buffer.from('hello')),
        frame(headers, 5, 1, block([['transfer-encoding', 'chunked']])),
      ]),
    );
    await new Promise((resolve) => stream.once('data', resolve));
    assert.equal(await ask2(pseudo({ ':path': '/after' })), '200');
    assert.doesNotMatch(got, /^GET \/after[\s\S]*transfer-encoding: chunked\r\ntransfer-encoding/m);
    stream.destroy();
  });
});

// --- HTTP/1.1

async function ask1(bytes: string, enough?: (text: string) => boolean): Promise<string> {
  return w.exchange(`${vip}:80`, bytes, enough);
}
const get = (target: string, ...lines: string[]): Promise<string> =>
  ask1(
    ['GET', target, 'HTTP/1.1\r\nhost: web\r\nconnection: close'].join(' ') +
      ['', ...lines, '', ''].join('\r\n'),
  );
const statusOf = (told: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(told)?.[1] ?? 0);

describe('L15 heads that are too much: 431, and the application sees nothing', () => {
  const many = (n: number): string[] => Array.from({ length: n }, (_, i) => `x-${i}: a`);
  const rows: readonly (readonly [string, string[]])[] = [
    ['one line over the limit', [`x-long: ${'a'.repeat(61 * 1024)}`]],
    [
      'many lines over the limit',
      Array.from({ length: 90 }, (_, i) => `x-${i}: ${'a'.repeat(800)}`),
    ],
    ['more than 100 headers', many(120)],
  ];
  for (const [what, lines] of rows) {
    test(what, async () => {
      assert.equal(statusOf(await get('/', ...lines)), 431);
      assert.equal(got, '');
    });
  }
  test('just under them: passed on', async () => {
    assert.equal(statusOf(await get('/', ...many(90))), 200);
  });
  for (const [what, lines] of rows) {
    test(`over HTTP/2, ${what}`, async () => {
      const fields = lines.map((l): [string, string] => [
        l.slice(0, l.indexOf(':')),
        l.slice(l.indexOf(':') + 2),
      ]);
      const stream = await w.connect(`${vip}:80`);
      const back: Buffer[] = [];
      stream.on('data', (bytes: Buffer) => back.push(bytes));
      const all = block([...pseudo(), ...fields]);
      const parts: Buffer[] = [opening];
      for (let i = 0; i < all.length; i += 16_000) {
        const last = i + 16_000 >= all.length;
        const type = i === 0 ? headers : 9;
        parts.push(frame(type, (last ? 4 : 0) | (i === 0 ? 1 : 0), 1, all.subarray(i, i + 16_000)));
      }
      stream.write(Buffer.concat(parts));
      const answered = () =>
        (outcome(Buffer.concat(back)) ?? (stream.destroyed && 'closed')) || undefined;
      assert.match(await eventually(answered), /another status|reset|closed/);
      assert.equal(statusOf(await get('/after')), 200);
      assert.equal(/x-long|x-0/.test(got), false);
      stream.destroy();
    });
  }
});

describe('L8 answers that are none', () => {
  const bad: readonly (readonly [string, string])[] = [
    ['no HTTP', 'SSH-2.0-OpenSSH_9.6\r\n\r\n'],
    ['a broken status line', 'HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n'],
    [
      'length and coding',
      'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!'],
    ['a length of no number', 'HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nhello'],
    ['NUL in a header', 'HTTP/1.1 200 OK\r\nx-a: b\0c\r\ncontent-length: 0\r\n\r\n'],
    ['a head that never ends', `HTTP/1.1 200 OK\r\n${`x: ${'a'.repeat(100)}\r\n`.repeat(2_000)}`],
  ];
  for (const [what, bytes] of bad) {
    test(`${what}: 502 or 503, and the connection is not used again`, async () => {
      answer = bytes;
      const told = statusOf(await get('/bad'));
      assert.ok(told === 502 || told === 503, String(told));
      const before = connections;
      answer = fine;
      assert.equal(statusOf(await get('/good')), 200);
      assert.ok(connections > before);
    });
  }

  test('two answers to one request: the second answers nobody', async () => {
    answer = `${fine}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond`;
    assert.match(await get('/twice'), /hello$/);
    answer = fine;
    assert.match(await get('/next'), /hello$/);
  });

  test('a body after 204, 304 and HEAD is nobody’s answer', async () => {
    for (const [line, method] of [
      ['204 No Content', 'GET'],
      ['304 Not Modified', 'GET'],
      ['200 OK', 'HEAD'],
    ]) {
      answer = `HTTP/1.1 ${line}\r\ncontent-length: 6\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond`;
      const told = await ask1(`${method} /x HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n`);
      assert.doesNotMatch(told, /second/);
      answer = fine;
      assert.match(await get('/next'), /hello$/);
    }
  });

  test('interim answers without end are cut or passed on, and the end is one answer', async () => {
    answer = (socket) => {
      socket.write(`${'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n'.repeat(200)}${fine}`);
    };
    const told = await get('/hints');
    assert.equal([...told.matchAll(/^HTTP\/1\.1 (?!1)/gm)].length, 1);
    assert.match(told, /hello$|502|503/);
  });

  test('an answer before the request is one to nobody', async () => {
    const early = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly');
      socket.on('data', () => {});
    });
    await new Promise<void>((resolve) => early.listen(0, at(11), resolve));
    w.service('early', at(101), 80, [`${at(11)}:${(early.address() as net.AddressInfo).port}`]);
    w.configure('early', { ports: [{ port: 80, protocol: L7PortProtocol.HTTP }] });
    const bytes = 'POST / HTTP/1.1\r\nhost: web\r\nconnection: close\r\ncontent-length: 0\r\n\r\n';
    const told = await w.exchange(`${at(101)}:80`, bytes);
    assert.equal([...told.matchAll(/^HTTP\/1\.1 /gm)].length <= 1, true);
    early.close();
  });
});

describe('L19 L20 what is old or another protocol', () => {
  test('L19 HTTP/1.0 is asked to come again as 1.1; no Host is 400', async () => {
    const old = await ask1('GET / HTTP/1.0\r\n\r\n');
    assert.equal(statusOf(old), 426);
    assert.equal(statusOf(await ask1('GET / HTTP/1.1\r\nconnection: close\r\n\r\n')), 400);
    assert.equal(got, '');
  });
  test('L19 an answer that ends with its connection', async () => {
    answer = (socket) => socket.end('HTTP/1.1 200 OK\r\n\r\nto the end');
    assert.match(await get('/'), /to the end/);
  });
  test('L19 HEAD and a length of 0', async () => {
    answer = 'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n';
    const head = await ask1('HEAD / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n');
    assert.match(head, /^content-length: 500\r$/m);
    answer = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n';
    assert.equal(statusOf(await get('/')), 200);
  });
  test('L20 h2c by Upgrade: served as HTTP/1.1, the offer is not passed on', async () => {
    const told = await ask1(
      'GET / HTTP/1.1\r\nhost: web\r\nconnection: Upgrade, HTTP2-Settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n',
    );
    assert.equal(statusOf(told), 200);
    assert.doesNotMatch(got, /h2c|http2-settings|upgrade/i);
  });
  test('L7 bytes after an Upgrade that is refused are no request', async () => {
    answer = 'HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n';
    const told = await ask1(
      'GET /ws HTTP/1.1\r\nhost: web\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: web\r\n\r\n',
      (t) => t.includes('403'),
    );
    assert.equal(statusOf(told), 403);
    assert.doesNotMatch(got, /smuggled/);
  });
});
