// HBONE to the proxy's own pod (ztunnel-protocol.md 1.3): its metrics through mutual TLS, under its own identity,
// and nothing that would go round in circles.
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { bundleOf, connectTls, createCsr } from '../../certs/index.ts';
import { emptyMatch, podUid, policyKey, type SpiffeId } from '../../core/model/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { testPolicy, testWorkload } from '../kit/mesh.ts';
import { type NetnsMesh, startNetnsMesh } from './mesh.ts';
import { skip } from './ring.ts';

const prometheus = 'spiffe://cluster.local/ns/monitoring/sa/prometheus' as SpiffeId;
const itself = 'spiffe://cluster.local/ns/istio-system/sa/ztunnel' as SpiffeId;

describe('the self listener', { skip, timeout: 60_000 }, () => {
  let mesh: NetnsMesh;
  let ip: string;
  const sessions: http2.ClientHttp2Session[] = [];
  const own = (...policies: string[]) => ({
    ...testWorkload('ztunnel-1', ip),
    uid: podUid('Kubernetes', 'istio-system', 'ztunnel-1'),
    namespace: 'istio-system',
    serviceAccount: 'ztunnel',
    authorizationPolicies: policies.map((name) => policyKey('shop', name)),
  });

  before(async () => {
    const at = await claimBlock();
    ip = at(9);
    mesh = await startNetnsMesh({
      POD_NAME: 'ztunnel-1',
      POD_NAMESPACE: 'istio-system',
      SERVICE_ACCOUNT: 'ztunnel',
      INSTANCE_IP: ip,
      STATS_ADDRESS: ip,
      STATS_PORT: '15020',
    });
    mesh.feed.apply({ workloads: [own()] });
    await eventually(async () => (await connected(ip)) !== undefined, 'port 15008');
  });
  after(async () => {
    for (const s of sessions) s.destroy();
    await mesh.stop();
    assert.equal(await connected(ip), undefined, 'closed with the proxy');
  });

  const session = async (): Promise<http2.ClientHttp2Session> => {
    const { csr, keyPem } = await createCsr(prometheus);
    const { chain } = await mesh.ca.signWorkload({ csr, identity: prometheus, ttlSeconds: 600 });
    const roots = bundleOf([mesh.ca.material.rootPem]);
    const times = { serial: '', notBeforeMs: 0, notAfterMs: 0 };
    const cert = { id: prometheus, keyPem, chain, roots, ...times };
    const socket = await connected(ip);
    assert.ok(socket);
    const { stream } = await connectTls(socket, cert, [itself], { clock: systemClock });
    const h2 = http2.connect('http://x', { createConnection: () => stream as never });
    h2.on('error', () => {});
    sessions.push(h2);
    return h2;
  };
  /** Status of the CONNECT, and what came back for `send`. */
  const ask = (h2: http2.ClientHttp2Session, authority: string, send = '') =>
    new Promise<{ status: number | undefined; text: string }>((resolve) => {
      const stream = h2.request({ ':method': 'CONNECT', ':authority': authority });
      let status: number | undefined;
      let text = '';
      stream.on('error', () => {});
      stream.on('response', (h) => {
        status = h[':status'];
        stream.end(send);
      });
      stream.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
      stream.on('close', () => resolve({ status, text }));
      if (send === '') stream.end();
    });
  const scrape = `GET /stats/prometheus HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`;

  test('1.3: its metrics can be scraped through HBONE, under its own identity', async () => {
    const { status, text } = await ask(await session(), `${ip}:15020`, scrape);
    assert.equal(status, 200);
    assert.match(text, /^HTTP\/1\.1 200 /);
    assert.match(text, /istio_build|istio_tcp/);
    const [record] = await eventually(async () => {
      const all = (await mesh.records()).filter((r) => r.direction === 'inbound');
      return all.length > 0 && all;
    });
    assert.equal(record?.source.identity, prometheus);
    assert.equal(record?.destination.identity, itself);
  });

  test('1.4: no circles, no other address, nobody without a certificate', async () => {
    const h2 = await session();
    for (const port of [15001, 15006, 15008]) {
      assert.equal((await ask(h2, `${ip}:${port}`)).status, 503, String(port));
    }
    assert.notEqual((await ask(h2, '127.0.0.1:15000')).status, 200, 'the admin port');
    const plain = await connected(ip);
    assert.ok(plain);
    const closed = new Promise<void>((done) => plain.once('close', () => done()));
    plain.resume();
    plain.write('GET / HTTP/1.1\r\n\r\n');
    await closed;
    for (const port of [15001, 15006]) assert.equal(await connected(ip, port), undefined);
  });

  test('policy holds for it as for every pod', async () => {
    const rules = [
      [
        [
          {
            ...emptyMatch,
            principals: {
              any: [{ kind: 'exact' as const, text: prometheus.slice('spiffe://'.length) }],
              none: [],
            },
          },
        ],
      ],
    ];
    mesh.feed.apply({
      policies: [testPolicy('no', { action: 'Deny', rules })],
      workloads: [own('no')],
    });
    assert.equal((await ask(await session(), `${ip}:15020`)).status, 401);
    mesh.feed.apply({ workloads: [own()] });
  });
});

test('1.3: a proxy that is not told who it is has no self listener', { skip }, async () => {
  const at = await claimBlock();
  const mesh = await startNetnsMesh({ POD_NAME: 'z', POD_NAMESPACE: 'n', INSTANCE_IP: at(9) });
  try {
    assert.equal(await connected(at(9)), undefined);
  } finally {
    await mesh.stop();
  }
});

function connected(host: string, port = 15008): Promise<net.Socket | undefined> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port });
    socket.once('error', () => resolve(undefined));
    socket.once('connect', () => {
      socket.on('error', () => {});
      resolve(socket);
    });
  });
}
