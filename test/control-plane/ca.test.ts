// The CA over real TLS, gRPC and the API: plugged in, rotated while certificates are in use, limited, audited
// (control-plane.md 5.5, 5.6; checklist F12, F48, S34, S37).
import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import { after, before, beforeEach, afterEach, describe, test } from 'node:test';
import {
  bundleOf,
  connectTls,
  createCsr,
  pemToDer,
  readCertificate,
  TlsAcceptor,
  type WorkloadCert,
} from '../../certs/index.ts';
import { makeCa, type TestCert } from '../../certs/testkit.ts';
import type { Log, LogFields } from '../../core/base/index.ts';
import { resources } from '../../core/kube/index.ts';
import { parseSpiffeId, type SpiffeId } from '../../core/model/index.ts';
import { type RpcChannel, RpcError } from '../../core/rpc/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import type { Istiod } from '../../istiod-lite/index.ts';
import { startCluster, type TestCluster } from '../kit/cluster.ts';
import { eventually } from '../kit/eventually.ts';

const objects = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: ztunnel, namespace: istio-system}
---
apiVersion: v1
kind: Pod
metadata: {name: ztunnel-1, namespace: istio-system}
spec: {nodeName: n1, serviceAccountName: ztunnel, containers: [{name: c, image: x}]}
status: {phase: Running, podIP: 127.70.1.3, podIPs: [{ip: 127.70.1.3}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop}
spec: {nodeName: n1, serviceAccountName: web, containers: [{name: c, image: x}]}
status: {phase: Running, podIP: 127.70.1.5, podIPs: [{ip: 127.70.1.5}]}
`;

const web = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web') as SpiffeId;
const b64 = (text: string): string => Buffer.from(text).toString('base64');
const cacerts = (signer: TestCert, chain: string, roots: string, crl?: string) => ({
  data: {
    'ca-cert.pem': b64(signer.pem),
    'ca-key.pem': b64(signer.keyPem),
    'cert-chain.pem': b64(chain),
    'root-cert.pem': b64(roots),
    ...(crl !== undefined && { 'ca-crl.pem': b64(crl) }),
  },
});

describe('the CA of the control plane', () => {
  let cluster: TestCluster;
  let istiod: Istiod | undefined;
  let channel: RpcChannel | undefined;
  let lines: { message: string; fields: LogFields }[] = [];
  const note = (message: string, fields: LogFields = {}): void =>
    void lines.push({ message, fields });
  const log: Log = {
    debug: note,
    info: note,
    warn: note,
    error: note,
    enabled: () => true,
    child: () => log,
  };

  beforeEach(async () => {
    cluster = await startCluster();
    await cluster.apply(objects);
    lines = [];
  });
  afterEach(async () => {
    channel?.close();
    await istiod?.stop();
    channel = undefined;
    istiod = undefined;
    await cluster.stop();
  });

  async function start(env: Record<string, string> = {}): Promise<void> {
    istiod = await cluster.istiod({ env, log });
    const token = await cluster.token('istio-system', 'ztunnel', 'ztunnel-1');
    channel = await cluster.channel(istiod, token);
  }

  async function issue(identity = web): Promise<WorkloadCert> {
    assert.ok(channel);
    const { csr, keyPem } = await createCsr(identity);
    const metadata = { fields: { ImpersonatedIdentity: { stringValue: identity } } };
    const { certChain } = await channel.unary(
      'createCertificate',
      { csr, validityDuration: 0, metadata },
      5_000,
    );
    const facts = readCertificate(pemToDer(certChain[0] ?? ''));
    assert.ok(facts);
    const { serial, notBeforeMs, notAfterMs } = facts;
    const roots = bundleOf([certChain.at(-1) ?? '']);
    return {
      id: identity,
      keyPem,
      chain: certChain.slice(0, -1),
      roots,
      serial,
      notBeforeMs,
      notAfterMs,
    };
  }

  const secretIs = (patch: object) =>
    cluster.kube.patch(resources.secrets, 'istio-system', 'cacerts', patch, { kind: 'merge' });
  const published = async (name: string, key: string): Promise<string | undefined> => {
    const map = await cluster.kube.get(resources.configMaps, 'shop', name);
    return (map?.['data'] as Record<string, string> | undefined)?.[key];
  };
  const rootsAre = (count: number) =>
    eventually(async () => {
      const text = await published('istio-ca-root-cert', 'root-cert.pem');
      return text !== undefined && bundleOf([text]).length === count;
    }, `${count} roots published`);
  const plug = (signer: TestCert, chain: string, roots: string, crl?: string) =>
    cluster.kube.create(resources.secrets, {
      metadata: { name: 'cacerts', namespace: 'istio-system' },
      ...cacerts(signer, chain, roots, crl),
    });

  test('S34 a plugged-in intermediate: leaf, each issuer, the whole bundle; its list is published', async () => {
    const root = await makeCa();
    const signer = await makeCa(root);
    await plug(signer, signer.pem + root.pem, root.pem, 'REVOKED');
    await start();
    const cert = await issue();
    assert.deepEqual(
      cert.chain.slice(1).map((p) => p.trim()),
      [signer.pem.trim()],
    );
    assert.deepEqual(
      cert.roots.map((p) => p.trim()),
      [root.pem.trim()],
    );
    assert.equal(
      await eventually(() => published('istio-ca-crl', 'ca-crl.pem'), 'list'),
      'REVOKED\n',
    );
    assert.equal(
      await cluster.kube.get(resources.secrets, 'istio-system', 'istio-ca-secret'),
      undefined,
    );
  });

  test('a plugged-in CA in part stops the start with its reason', async () => {
    await cluster.kube.create(resources.secrets, {
      metadata: { name: 'cacerts', namespace: 'istio-system' },
      data: { 'ca-cert.pem': b64((await makeCa()).pem) },
    });
    await assert.rejects(
      cluster.istiod(),
      /cacerts cannot be used: it lacks ca-key\.pem and root-cert\.pem/,
    );
  });

  describe('F12 S37 root rotation by overlap', () => {
    const server = createServer();
    before(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)));
    after(() => server.close());

    /** A real mutual handshake; rejects if either refuses. */
    async function meet(client: WorkloadCert, at: WorkloadCert): Promise<void> {
      const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
      const near = connect((server.address() as { port: number }).port, '127.0.0.1');
      near.on('error', () => {});
      const far = await accepted;
      const clock = systemClock;
      try {
        await Promise.all([
          connectTls(near, client, [web], { clock }),
          new TlsAcceptor(at, { clock }).accept(far),
        ]);
      } finally {
        near.destroy();
        far.destroy();
      }
    }

    test('certificates of each step meet those of the next, both ways; no request for one fails', async () => {
      const [old, fresh] = [await makeCa(), await makeCa()];
      const both = old.pem + fresh.pem;
      await plug(old, '', old.pem);
      await start();
      const steps: [string, object, number][] = [
        ['both roots, the old one signs', cacerts(old, '', both), 2],
        ['both roots, the new one signs', cacerts(fresh, '', both), 2],
        ['only the new root', cacerts(fresh, '', fresh.pem), 1],
      ];
      let held = await issue();
      for (const [what, patch, roots] of steps) {
        await secretIs(patch);
        await rootsAre(roots);
        const next = await eventually(async () => {
          const c = await issue();
          const signer = what.includes('the old one signs') ? old : fresh;
          const facts = readCertificate(pemToDer(c.chain[0] ?? ''));
          const by = readCertificate(signer.der);
          return facts?.issuer === by?.subject && c.roots.length === roots ? c : undefined;
        }, what);
        await meet(held, next);
        await meet(next, held);
        held = next;
      }
    });

    test('a swap in one step is refused: the former stays in force, and the log says why', async () => {
      const [old, fresh] = [await makeCa(), await makeCa()];
      await plug(old, '', old.pem);
      await start();
      await secretIs(cacerts(fresh, '', fresh.pem));
      const line = await eventually(
        () => lines.find((l) => l.message.includes('refused, the former')),
        'refusal',
      );
      assert.match(String(line.fields['why']), /swapped in one step/);
      assert.deepEqual(
        (await issue()).roots.map((p) => p.trim()),
        [old.pem.trim()],
      );
      assert.equal(
        bundleOf([(await published('istio-ca-root-cert', 'root-cert.pem')) ?? '']).length,
        1,
      );
    });

    test('a Secret that breaks or vanishes changes nothing', async () => {
      const old = await makeCa();
      await plug(old, '', old.pem);
      await start();
      await secretIs({ data: { 'ca-key.pem': b64('garbage') } });
      await eventually(
        () => lines.some((l) => l.message.includes('refused, the former')),
        'refusal',
      );
      await cluster.kube.remove(resources.secrets, 'istio-system', 'cacerts');
      assert.equal((await issue()).chain.length, 1);
    });
  });

  test('F48 one caller may have so many certificates; the answer says to try again', async () => {
    await start({ CA_ISSUANCE_BURST: '3', CA_ISSUANCE_PER_SECOND: '1' });
    const all = await Promise.allSettled(Array.from({ length: 12 }, () => issue()));
    const codes = all.flatMap((r) =>
      r.status === 'rejected' && r.reason instanceof RpcError ? [r.reason.code] : [],
    );
    assert.ok(codes.length >= 6, `${codes.length} refused`);
    assert.deepEqual(new Set(codes), new Set([8]));
  });

  test('every answer leaves an audit line, and no secret in it', async () => {
    await start();
    const cert = await issue();
    const id = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/nobody') as SpiffeId;
    await assert.rejects(issue(id));
    const issued = lines.find((l) => l.message === 'certificate issued');
    assert.deepEqual(
      { ...issued?.fields, peer: '', notAfter: '' },
      {
        identity: web,
        impersonated: true,
        caller: 'istio-system/ztunnel',
        pod: 'ztunnel-1',
        peer: '',
        requested: web,
        serial: cert.serial,
        notAfter: '',
      },
    );
    const refused = lines.find((l) => l.message === 'certificate refused');
    assert.equal(refused?.fields['requested'], id);
    assert.match(String(refused?.fields['why']), /no pod of shop\/nobody runs on node n1/);
    assert.ok(!JSON.stringify(lines).includes('BEGIN'));
  });
});
