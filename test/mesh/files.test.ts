// What ztunnel reads from files that others rotate: its token and the roots of the control plane (F42).
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type CertificateAuthority, createCa, createCsr } from '../../certs/index.ts';
import { silentLog } from '../../core/base/index.ts';
import type { SpiffeId } from '../../core/model/index.ts';
import { type RpcServer, serveRpc } from '../../core/rpc/index.ts';
import { systemClock, systemRandom } from '../../core/runtime/index.ts';
import { createMetrics } from '../../core/telemetry/index.ts';
import { readConfig } from '../../ztunnel/index.ts';
import { connectWire } from '../../ztunnel/wire.ts';

const clock = systemClock;
const id = 'spiffe://cluster.local/ns/shop/sa/web' as SpiffeId;
const dir = mkdtempSync(join(tmpdir(), 'ambient-files-'));
const seen: string[] = [];
after(() => rmSync(dir, { recursive: true, force: true }));

/** As kubelet does it: a folder of its own for each state, and one link that is swapped. */
let states = 0;
function mount(files: Readonly<Record<string, string>>): void {
  const fresh = join(dir, `..${++states}`);
  mkdirSync(fresh);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(fresh, name), text);
  symlinkSync(fresh, join(dir, '..new'));
  renameSync(join(dir, '..new'), join(dir, '..data'));
}

const material = async (ca: CertificateAuthority) => {
  const own = await ca.signServer({ dns: ['localhost'], ips: ['127.0.0.1'], ttlSeconds: 3600 });
  return { certChainPem: own.chainPem, keyPem: own.keyPem };
};

test('F42 a token and roots that are swapped by a link count from the next call on', async () => {
  const before = await createCa({ trustDomain: 'cluster.local', clock });
  const later = await createCa({ trustDomain: 'cluster.local', clock });
  const server: RpcServer = await serveRpc({
    host: '127.0.0.1',
    port: 0,
    material: await material(before),
    handlers: {
      bidi: {},
      unary: {
        async createCertificate({ csr }, caller) {
          seen.push(caller.header('authorization') ?? '');
          const { chain, roots } = await later.signWorkload({ csr, identity: id, ttlSeconds: 600 });
          return { certChain: [...chain, roots] };
        },
      },
    },
    log: silentLog,
  });
  const { config } = readConfig({
    XDS_ADDRESS: '',
    CA_ADDRESS: `127.0.0.1:${server.port}`,
    CA_ROOT_CA: join(dir, '..data/root.pem'),
    ALT_CA_HOSTNAME: 'localhost',
    AUTH_TOKEN: join(dir, '..data/token'),
  });
  assert.ok(config.ok);
  mount({ token: 'first\n', 'root.pem': before.material.rootPem });
  const wire = connectWire(config.value, {
    clock,
    random: systemRandom,
    log: silentLog,
    metrics: createMetrics(),
  });
  const sign = async (): Promise<number> => {
    const { csr } = await createCsr(id);
    const signal = AbortSignal.timeout(20_000);
    return (await wire.ca.sign({ csr, identity: id, ttlSeconds: 600, signal })).chain.length;
  };
  try {
    assert.equal(await sign(), 1);
    mount({ token: 'second', 'root.pem': before.material.rootPem });
    assert.equal(await sign(), 1);
    server.replaceMaterial(await material(later));
    await assert.rejects(sign(), /could not be reached/, 'the old roots do not lead there');
    mount({ token: 'third', 'root.pem': later.material.rootPem });
    assert.equal(await sign(), 1);
    assert.deepEqual(seen, ['Bearer first', 'Bearer second', 'Bearer third']);
  } finally {
    wire.stop();
    await server.stop(0);
  }
});
