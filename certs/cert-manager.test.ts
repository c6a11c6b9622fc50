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
  empty: boolean;
  /** Requests that are running, and the most there ever were. */
  running: number;
  most: number;
  readonly asked: SpiffeId[];
}

async function setUp(fetchMs = 10_000) {
  const clock = new FakeClock();
  const ca = localCaClient(await createCa({ trustDomain: 'cluster.local', clock }));
  const client: Wrapped = {
    calls: 0,
    fail: undefined,
    stall: false,
    lie: false,
    empty: false,
    running: 0,
    most: 0,
    asked: [],
    sign(request) {
      this.calls++;
      this.asked.push(request.identity);
      if (this.fail) return Promise.reject(this.fail);
      if (this.stall) return new Promise(() => {});
      if (this.empty) return Promise.resolve({ chain: [], roots: '' });
      this.most = Math.max(this.most, ++this.running);
      return ca
        .sign({ ...request, ...(this.lie && { identity: other }) })
        .finally(() => this.running--);
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

test('Z30: a hundred callers get the one certificate of one request', async () => {
  const { manager, client } = await setUp();
  const certs = await Promise.all(Array.from({ length: 100 }, () => manager.get(id)));
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

test('F7: a CA that does not answer is given up after 10 s', async () => {
  const { manager, client, clock } = await setUp();
  client.stall = true;
  const waiting = manager.get(id);
  while (client.calls === 0) await new Promise((resolve) => setImmediate(resolve));
  clock.advance(10_000);
  await assert.rejects(waiting, { code: 'CERT_UNAVAILABLE' });
  manager.stop();
});

test('Z33 F9: a certificate for another identity, or an empty chain, is never used', async () => {
  const { manager, client } = await setUp();
  client.lie = true;
  await assert.rejects(manager.get(id), /S12/);
  client.lie = false;
  client.empty = true;
  await assert.rejects(manager.get(other), { code: 'CERT_UNAVAILABLE' });
  assert.equal(manager.current(other), undefined);
  assert.equal(manager.current(id), undefined);
  manager.stop();
});

test('Z32: forgetting tells the waiters and drops the certificate', async () => {
  const { manager, client } = await setUp();
  client.stall = true;
  const waiting = manager.get(id);
  manager.forget(id);
  await assert.rejects(waiting, /no longer needed/);
  assert.deepEqual(manager.snapshot(), []);
  manager.stop();
});

/** Real keys and signatures: a thousand take half a minute of a slow machine, so `npm test` makes fewer. */
const many = process.env['SOAK'] === '1' ? 1_000 : 48;

test(`F48 Z31: ${many} identities at start: the waiting connection first, 8 in flight, all issued`, async () => {
  const { manager, client } = await setUp();
  const all = Array.from(
    { length: many },
    (_, i) => `spiffe://cluster.local/ns/shop/sa/n${i}` as SpiffeId,
  );
  const issued = new Set<string>();
  const whole = new Promise<void>((resolve) => {
    manager.onCert((cert) => {
      issued.add(cert.id);
      if (issued.size === all.length + 1) resolve();
    });
  });
  for (const n of all) manager.want(n, 'warm-up');
  // A connection comes while all of them wait.
  const urgent = await manager.get(id);
  assert.equal(urgent.id, id);
  assert.ok(client.asked.indexOf(id) <= 8, `asked for as number ${client.asked.indexOf(id) + 1}`);
  assert.ok(issued.size < 40, 'the others were not waited for');
  await whole;
  assert.equal(client.most, 8);
  assert.equal(client.calls, all.length + 1, 'each was asked for once');
  manager.stop();
});

test('F1 F7 F8: twelve hours without a CA cost no request; it is asked with patience, and used once it is back', async () => {
  // The limit of one request is measured by the same clock that is moved by hours.
  const { manager, clock, client } = await setUp(1_000 * 3_600_000);
  const first = await manager.get(id);
  client.fail = new Error('the control plane is away');
  for (let minute = 0; minute < 12 * 60; minute += 5) {
    clock.advance(5 * 60_000);
    assert.equal(await manager.get(id), first, `after ${minute} minutes`);
    // What failed is told to the plan in a later turn.
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(client.calls < 12 * 30, `${client.calls} requests in twelve hours`);
  client.fail = undefined;
  const renewed = next(manager);
  for (let n = 0; n < 60 && manager.current(id) === first; n++) {
    clock.advance(5 * 60_000);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.notEqual((await renewed).serial, first.serial);
  manager.stop();
});

test('a renewal out of turn: a new certificate at once, once a minute, and the good one stays if it fails', async () => {
  const { clock, client, manager } = await setUp();
  const first = await manager.get(id);
  const both = [manager.renew(id), manager.renew(id)];
  await Promise.all(both);
  const second = manager.current(id);
  assert.notEqual(second?.serial, first.serial);
  assert.equal(client.calls, 2);
  await manager.renew(id);
  assert.equal(client.calls, 2, 'the minute is not over');
  clock.advance(60_000);
  client.fail = new Error('CA down');
  await manager.renew(id);
  assert.equal(client.calls, 3);
  assert.equal(manager.current(id), second);
  await manager.renew(other);
  assert.equal(client.calls, 3, 'nobody has this identity');
  manager.stop();
});
