// The manager with a CA that can be made to fail, stall or lie.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock, MeshError, seededRandom, silentLog } from '../core/base/index.ts';
import type { SpiffeId } from '../core/model/index.ts';
import { createCa } from './ca.ts';
import { type CaClient, localCaClient } from './ca-client.ts';
import { CertManager } from './cert-manager.ts';
import type { WorkloadCert } from './workload-cert.ts';

const id = 'spiffe://cluster.local/ns/shop/sa/web' as SpiffeId;
const other = 'spiffe://cluster.local/ns/shop/sa/api' as SpiffeId;

interface Wrapped extends CaClient {
  calls: number;
  fail: Error | undefined;
  stall: boolean;
  lie: boolean;
}

async function setUp(fetchMs = 10_000) {
  const clock = new FakeClock();
  const ca = localCaClient(await createCa({ trustDomain: 'cluster.local', clock }));
  const client: Wrapped = {
    calls: 0,
    fail: undefined,
    stall: false,
    lie: false,
    sign(request) {
      this.calls++;
      if (this.fail) return Promise.reject(this.fail);
      if (this.stall) return new Promise(() => {});
      return ca.sign({ ...request, ...(this.lie && { identity: other }) });
    },
  };
  const random = seededRandom(3);
  const manager = new CertManager({ ca: client, clock, random, log: silentLog, fetchMs });
  return { clock, client, manager };
}

/** Lets a fetch that was just started run to its end: keys and signatures are made off the main thread. */
const next = (manager: CertManager): Promise<WorkloadCert> =>
  new Promise((resolve) => {
    const stop = manager.onCert((cert) => {
      stop();
      resolve(cert);
    });
  });

test('many callers get the one certificate of one request', async () => {
  const { manager, client } = await setUp();
  const certs = await Promise.all(Array.from({ length: 10 }, () => manager.get(id)));
  assert.equal(client.calls, 1);
  assert.equal(new Set(certs).size, 1);
  assert.equal(manager.current(id), certs[0]);
  manager.stop();
});

test('a renewal replaces the certificate and tells the listeners', async () => {
  // The request's own limit is measured by the same clock that jumps to the renewal.
  const { manager, clock } = await setUp(100 * 3_600_000);
  const first = await manager.get(id);
  const renewed = next(manager);
  clock.advance(14 * 3_600_000);
  assert.notEqual((await renewed).serial, first.serial);
  assert.equal(manager.current(id)?.serial, (await renewed).serial);
  manager.stop();
});

test('design 6.7: a valid certificate outlives a failed renewal; an expired one is not handed out', async () => {
  const { manager, clock, client } = await setUp();
  const first = await manager.get(id);
  client.fail = new Error('CA is away');
  clock.advance(14 * 3_600_000);
  assert.equal(await manager.get(id), first);
  clock.advance(11 * 3_600_000);
  assert.equal(manager.current(id), undefined);
  manager.stop();
});

test('a failure reaches every waiter with its reason, and is cached for a moment', async () => {
  const { manager, client } = await setUp();
  client.fail = new Error('not your pod');
  const both = await Promise.allSettled([manager.get(id), manager.get(id)]);
  for (const r of both) {
    assert.ok(r.status === 'rejected' && r.reason instanceof MeshError);
    assert.equal(r.reason.code, 'CERT_UNAVAILABLE');
    assert.match(r.reason.message, /not your pod/);
  }
  await assert.rejects(manager.get(id), { code: 'CERT_UNAVAILABLE' });
  assert.equal(client.calls, 1);
  manager.stop();
});

test('design 6.7: a waiting connection makes the manager try again at once', async () => {
  const { manager, client, clock } = await setUp();
  client.fail = new Error('starting');
  await assert.rejects(manager.get(id));
  client.fail = undefined;
  clock.advance(1_200);
  assert.equal((await manager.get(id)).id, id);
  manager.stop();
});

test('a CA that does not answer is given up after 10 s', async () => {
  const { manager, client, clock } = await setUp();
  client.stall = true;
  const waiting = manager.get(id);
  while (client.calls === 0) await new Promise((resolve) => setImmediate(resolve));
  clock.advance(10_000);
  await assert.rejects(waiting, { code: 'CERT_UNAVAILABLE' });
  manager.stop();
});

test('a certificate for another identity is never used', async () => {
  const { manager, client } = await setUp();
  client.lie = true;
  await assert.rejects(manager.get(id), /S12/);
  assert.equal(manager.current(id), undefined);
  manager.stop();
});

test('forgetting tells the waiters and drops the certificate', async () => {
  const { manager, client } = await setUp();
  client.stall = true;
  const waiting = manager.get(id);
  manager.forget(id);
  await assert.rejects(waiting, /no longer needed/);
  assert.deepEqual(manager.snapshot(), []);
  manager.stop();
});
