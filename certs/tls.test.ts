// TLS over any Duplex, both ends, with everything a hostile peer may present. The three traps of Node's
// TLS each have a test that would fail if the trap came back.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { duplexPair, type Duplex } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { after, test } from 'node:test';
import tls from 'node:tls';
import { FakeClock, MeshError } from '../core/base/index.ts';
import type { SpiffeId } from '../core/model/index.ts';
import { readCertificate } from './certificate.ts';
import type { Revocations } from './peer.ts';
import { caProfile, goodId, leafProfile, makeCa, makeCert, type TestCert } from './testkit.ts';
import { connectTls, type Secured, TlsAcceptor } from './tls.ts';
import { bundleOf } from './trust.ts';
import type { WorkloadCert } from './workload-cert.ts';

// The TLS library judges dates by the real clock.
const clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (ms: number, work: () => void) => {
    const timer = setTimeout(work, ms);
    return { cancel: () => clearTimeout(timer) };
  },
};
const web = goodId as SpiffeId;
const api = 'spiffe://cluster.local/ns/shop/sa/api' as SpiffeId;
const root = await makeCa();

function workloadCert(id: SpiffeId, leaf: TestCert, above: readonly TestCert[] = []): WorkloadCert {
  const facts = readCertificate(leaf.der);
  return {
    id,
    keyPem: leaf.keyPem,
    chain: [leaf.pem, ...above.map((c) => c.pem)],
    roots: bundleOf([root.pem]),
    serial: facts?.serial ?? '',
    notBeforeMs: facts?.notBeforeMs ?? 0,
    notAfterMs: facts?.notAfterMs ?? 0,
  };
}

const certFor = async (id: SpiffeId, issuer = root): Promise<WorkloadCert> =>
  workloadCert(id, await makeCert(issuer, { profile: leafProfile(id) }));

const webCert = await certFor(web);
const apiCert = await certFor(api);
const acceptor = new TlsAcceptor(webCert, { clock });

/** Both ends of a TCP connection on loopback. */
const server = net.createServer();
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
after(() => server.close());
async function tcpPair(): Promise<[net.Socket, net.Socket]> {
  const accepted = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
  const near = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  near.on('error', () => {});
  return [near, await accepted];
}

const codeOf = (r: PromiseSettledResult<Secured>): string => {
  if (r.status === 'fulfilled') return 'ok';
  return r.reason instanceof MeshError ? r.reason.code : String(r.reason);
};

/** [what the dialling side saw, what the accepting side saw]. */
async function meet(
  client: WorkloadCert,
  expected: readonly SpiffeId[] = [web],
  at: TlsAcceptor = acceptor,
): Promise<[PromiseSettledResult<Secured>, PromiseSettledResult<Secured>]> {
  const [near, far] = await tcpPair();
  const both = await Promise.allSettled([
    connectTls(near, client, expected, { clock }),
    at.accept(far),
  ]);
  near.destroy();
  far.destroy();
  return both;
}

test('both ends prove themselves over TCP', async () => {
  const [near, far] = await meet(apiCert);
  assert.equal(codeOf(near), 'ok');
  assert.equal(codeOf(far), 'ok');
  if (near.status !== 'fulfilled' || far.status !== 'fulfilled') return;
  assert.equal(near.value.peer.id, web);
  assert.equal(far.value.peer.id, api);
  assert.equal(far.value.peer.chain.length, 2);
  assert.equal(near.value.tls.version, 'TLSv1.3');
  assert.equal(near.value.tls.alpn, 'h2');
});

test('both ends prove themselves over any Duplex', async () => {
  const [near, far] = duplexPair();
  const both = await Promise.all([
    connectTls(near, apiCert, [web], { clock }),
    acceptor.accept(far),
  ]);
  assert.equal(both[1].peer.id, api);
  near.destroy();
  far.destroy();
});

test('trap: a foreign CA’s certificate never gets in, and not a byte of it is read', async () => {
  const foreign = await certFor(api, await makeCa());
  const [near, far] = await tcpPair();
  const dialled = tls.connect({
    socket: near,
    key: foreign.keyPem,
    cert: foreign.chain.join(''),
    ca: root.pem,
    ALPNProtocols: ['h2'],
    checkServerIdentity: () => undefined,
  });
  dialled.on('error', () => {});
  dialled.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  await assert.rejects(acceptor.accept(far), { code: 'PEER_UNTRUSTED' });
  assert.equal(far.destroyed, true);
  dialled.destroy();
});

test('trap: the dialling side is "secure" before it is refused, so success proves nothing yet', async () => {
  const foreign = await certFor(api, await makeCa());
  const [near, far] = await meet(foreign);
  assert.equal(codeOf(near), 'ok');
  assert.equal(codeOf(far), 'PEER_UNTRUSTED');
});

test('trap S20 T12: a saved session is never resumed, so no check is ever skipped', async () => {
  let session: Buffer | undefined;
  for (let i = 0; i < 2; i++) {
    const [near, far] = await tcpPair();
    const socket = tls.connect({
      socket: near,
      key: apiCert.keyPem,
      cert: apiCert.chain.join(''),
      ca: root.pem,
      ALPNProtocols: ['h2'],
      checkServerIdentity: () => undefined,
      ...(session && { session }),
    });
    socket.on('error', () => {});
    socket.on('session', (s: Buffer) => {
      session = s;
    });
    const secured = await acceptor.accept(far);
    assert.equal(secured.peer.id, api);
    assert.equal(socket.isSessionReused(), false);
    session ??= socket.getSession();
    socket.destroy();
    far.destroy();
  }
});

const refusedByAcceptor: [string, () => Promise<WorkloadCert>, string][] = [
  [
    'S1: two URI names',
    async () => workloadCert(api, await makeCert(root, { profile: leafProfile(api, web) })),
    'PEER_CERT_INVALID',
  ],
  [
    'S3: a CA as leaf',
    async () => {
      const profile = { ...leafProfile(api), ca: { is: true } };
      return workloadCert(api, await makeCert(root, { profile }));
    },
    'PEER_CERT_INVALID',
  ],
  [
    'S4: no key usage',
    async () => {
      const { keyUsage: _none, ...profile } = leafProfile(api);
      return workloadCert(api, await makeCert(root, { profile }));
    },
    'PEER_CERT_INVALID',
  ],
  [
    'S8: expired a second ago',
    async () =>
      workloadCert(
        api,
        await makeCert(root, { profile: leafProfile(api), notAfterMs: Date.now() - 1000 }),
      ),
    'PEER_CERT_INVALID',
  ],
  [
    'S8: not valid for another minute',
    async () =>
      workloadCert(
        api,
        await makeCert(root, { profile: leafProfile(api), notBeforeMs: Date.now() + 60_000 }),
      ),
    'PEER_CERT_INVALID',
  ],
  [
    'S10: an intermediate without CA flag',
    async () => {
      const middle = await makeCa(root, { ca: { is: false } });
      return workloadCert(api, await makeCert(middle, { profile: leafProfile(api) }), [middle]);
    },
    'PEER_CERT_INVALID',
  ],
  [
    'S10: path length exceeded',
    async () => {
      const short = await makeCa(root, caProfile(0));
      const below = await makeCa(short);
      const leaf = await makeCert(below, { profile: leafProfile(api) });
      return workloadCert(api, leaf, [below, short]);
    },
    'PEER_CERT_INVALID',
  ],
  [
    'S11: another trust domain',
    async () => {
      const id = 'spiffe://other.example/ns/shop/sa/api' as SpiffeId;
      return workloadCert(api, await makeCert(root, { profile: leafProfile(id) }));
    },
    'PEER_TRUST_DOMAIN',
  ],
];

for (const [name, make, code] of refusedByAcceptor) {
  test(`T5 ${name}: refused by the accepting side`, async () => {
    const [, far] = await meet(await make());
    assert.equal(codeOf(far), code);
  });
}

test('S12: another identity than the expected one is refused by the dialling side', async () => {
  const [near] = await meet(apiCert, [api]);
  assert.equal(codeOf(near), 'PEER_IDENTITY_MISMATCH');
});

test('S13: no renegotiation is possible', async () => {
  const [near, far] = await tcpPair();
  const [dialled] = await Promise.all([
    connectTls(near, apiCert, [web], { clock }),
    acceptor.accept(far),
  ]);
  const socket = dialled.stream as tls.TLSSocket;
  const error = await new Promise<Error | null>((resolve) => {
    if (!socket.renegotiate({}, (e) => resolve(e))) resolve(new Error('refused'));
  });
  assert.ok(error);
  near.destroy();
  far.destroy();
});

test('S18: a revoked peer is refused on either side', async () => {
  const facts = readCertificate(
    Buffer.from(apiCert.chain[0]?.split('\n').slice(1, -2).join('') ?? '', 'base64'),
  );
  const revoked: Revocations = new Map([[facts?.issuer ?? '', new Set([apiCert.serial])]]);
  const strict = new TlsAcceptor(webCert, { clock, revocations: () => revoked });
  const [, far] = await meet(apiCert, [web], strict);
  assert.equal(codeOf(far), 'CERT_REVOKED');
});

const hostile: [string, (near: Duplex) => void][] = [
  ['plain HTTP', (s) => s.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
  ['random bytes', (s) => s.write(Buffer.alloc(4096, 0xa5))],
  ['a record that never ends', (s) => s.write(Buffer.from([0x16, 3, 1, 0x40, 0, 1]))],
  ['an end', (s) => s.end()],
];
for (const [name, attack] of hostile) {
  test(`T1: ${name} instead of a handshake is refused`, async () => {
    const [near, far] = await tcpPair();
    const short = new TlsAcceptor(webCert, { clock, handshakeMs: 200 });
    const accepted = short.accept(far);
    attack(near);
    await assert.rejects(accepted, MeshError);
    assert.equal(far.destroyed, true);
    near.destroy();
  });
}

test('T1 T11: a silent peer is cut at the time limit and reclaimed', async () => {
  const fake = new FakeClock();
  const slow = new TlsAcceptor(webCert, { clock: fake });
  const [near, far] = await tcpPair();
  const accepted = slow.accept(far);
  assert.equal(slow.inFlight, 1);
  fake.advance(10_000);
  await assert.rejects(accepted, { code: 'HANDSHAKE_TIMEOUT' });
  assert.equal(slow.inFlight, 0);
  assert.equal(far.destroyed, true);
  near.destroy();
});

test('T10 T11 one address that begins and leaves keeps nobody else out, and what is too much is shed', async () => {
  const fake = new FakeClock(Date.now());
  const busy = new TlsAcceptor(webCert, { clock: fake });
  const { port } = server.address() as net.AddressInfo;
  const near: net.Socket[] = [];
  const accept = async (from: string): Promise<{ readonly accepted: Promise<unknown> }> => {
    const arrived = once(server, 'connection') as Promise<[net.Socket]>;
    const socket = net.connect({ host: '127.0.0.1', port, localAddress: from });
    socket.on('error', () => {});
    near.push(socket);
    const accepted = busy.accept((await arrived)[0]);
    accepted.catch(() => {});
    return { accepted };
  };
  for (let i = 0; i < 64; i++) await accept('127.0.0.9');
  for (let i = 0; i < 16; i++)
    await assert.rejects((await accept('127.0.0.9')).accepted, { code: 'TLS_HANDSHAKE' });
  assert.equal(busy.inFlight, 64);
  const other = await accept('127.0.0.10');
  const proven = connectTls(near.at(-1) as net.Socket, apiCert, [web], { clock });
  assert.equal((await proven).peer.id, web);
  await other.accepted;
  for (let n = 11; n < 14; n++) for (let i = 0; i < 64; i++) await accept(`127.0.0.${n}`);
  assert.equal(busy.inFlight, 256);
  await assert.rejects((await accept('127.0.0.10')).accepted, { code: 'TLS_HANDSHAKE' });
  fake.advance(10_000);
  while (busy.inFlight > 0) await nextTurn();
  const late = await accept('127.0.0.9');
  const again = connectTls(near.at(-1) as net.Socket, apiCert, [web], { clock });
  assert.equal((await again).peer.id, web);
  await late.accepted;
  for (const s of near) s.destroy();
});

/** A raw TLS client with options of its own; the code with which the acceptor refused it. */
async function rawClient(options: tls.ConnectionOptions): Promise<string> {
  const [near, far] = await tcpPair();
  const accepted = acceptor.accept(far);
  const socket = tls.connect({
    socket: near,
    ca: root.pem,
    checkServerIdentity: () => undefined,
    ...options,
  });
  socket.on('error', () => {});
  const [result] = await Promise.allSettled([accepted]);
  socket.destroy();
  return codeOf(result);
}

const own = { key: apiCert.keyPem, cert: apiCert.chain.join('') };

test('T2: TLS 1.2 is refused', async () => {
  const code = await rawClient({ ...own, maxVersion: 'TLSv1.2', ALPNProtocols: ['h2'] });
  assert.equal(code, 'TLS_HANDSHAKE');
});

test('T3: another protocol than h2, or none, is refused', async () => {
  assert.equal(await rawClient({ ...own, ALPNProtocols: ['http/1.1'] }), 'TLS_HANDSHAKE');
  assert.equal(await rawClient(own), 'TLS_HANDSHAKE');
});

test('T4: no client certificate is refused', async () => {
  assert.equal(await rawClient({ ALPNProtocols: ['h2'] }), 'TLS_HANDSHAKE');
});

test('T8: a server name is ignored', async () => {
  assert.equal(
    await rawClient({ ...own, ALPNProtocols: ['h2'], servername: 'Other.Example' }),
    'ok',
  );
});

test('T9: a handshake in one-byte pieces works', async () => {
  const [near, far] = duplexPair();
  const slow = await trickle(near);
  const both = await Promise.all([
    connectTls(slow, apiCert, [web], { clock }),
    acceptor.accept(far),
  ]);
  assert.equal(both[1].peer.id, api);
  slow.destroy();
  far.destroy();
});

/** A Duplex that hands every byte on alone, in the direction of the accepting side. */
async function trickle(inner: Duplex): Promise<Duplex> {
  const { Duplex: Base } = await import('node:stream');
  const outer = new Base({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      for (const byte of chunk) inner.write(Buffer.from([byte]));
      done();
    },
    destroy(error, done) {
      inner.destroy();
      done(error);
    },
  });
  inner.on('data', (chunk: Buffer) => outer.push(chunk));
  inner.on('end', () => outer.push(null));
  return outer;
}

test('T13: a renewed certificate is presented to the next handshake', async () => {
  const renewing = new TlsAcceptor(webCert, { clock });
  const next = await certFor(web);
  renewing.update(next);
  const [near] = await meet(apiCert, [web], renewing);
  assert.ok(near.status === 'fulfilled');
  assert.equal(near.value.peer.serial, next.serial);
});

test('Z45 a client beneath an issuer we have not met: we learn of it by renewing, and take the client', async () => {
  const fresh = await makeCa(root);
  const leaf = await makeCert(fresh, { profile: leafProfile(api) });
  // Not by our own code: it would remember the issuer.
  const dial = async (at: TlsAcceptor): Promise<Secured> => {
    const [near, far] = await tcpPair();
    const socket = tls.connect({
      socket: near,
      key: leaf.keyPem,
      cert: leaf.pem + fresh.pem,
      ca: root.pem,
      ALPNProtocols: ['h2'],
      checkServerIdentity: () => undefined,
    });
    socket.on('error', () => {});
    return at.accept(far);
  };
  let renewals = 0;
  const idle = new TlsAcceptor(webCert, {
    clock,
    renew: () => {
      renewals++;
      return Promise.resolve();
    },
  });
  await assert.rejects(dial(idle), { code: 'PEER_UNTRUSTED' });
  assert.equal(renewals, 1);
  const learning = new TlsAcceptor(webCert, {
    clock,
    renew: async () => {
      renewals++;
      const next = await makeCert(fresh, { profile: leafProfile(web) });
      learning.update(workloadCert(web, next, [fresh]));
    },
  });
  const secured = await dial(learning);
  assert.equal(secured.peer.id, api);
  assert.equal(secured.peer.path.length, 3);
  secured.stream.destroy();
  // From here on it is known.
  (await dial(learning)).stream.destroy();
  assert.equal(renewals, 2);
});
