// Comings and goings: drains, pods that leave, a node agent that comes back, certificates that are renewed
// or cannot be had, tunnels to pods that are gone.
import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import type { CaClient, CertificateAuthority } from '../../certs/index.ts';
import { createCa, localCaClient } from '../../certs/index.ts';
import { FakeClock } from '../../core/base/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import { callFrom, startEcho } from '../kit/apps.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { startMesh, type TestMesh, testWorkload } from '../kit/mesh.ts';

const at = await claimBlock();
const client = at(2);
const server = at(3);

interface Story {
  readonly mesh: TestMesh;
  readonly echoed: (text?: string) => Promise<Awaited<ReturnType<typeof callFrom>>>;
}

/** A fresh mesh with an echo for each story; everything ends with it. */
async function story(
  work: (s: Story) => Promise<void>,
  options: Parameters<typeof startMesh>[0] = {},
): Promise<void> {
  const mesh = await startMesh(options);
  const echo = await startEcho(server);
  try {
    await mesh.enrol(testWorkload('client', client), testWorkload('server', server));
    const echoed: Story['echoed'] = async (text = 'ping') => {
      const call = await callFrom(client, server);
      call.socket.write(text);
      await eventually(() => call.text() === text, 'the echo');
      return call;
    };
    await work({ mesh, echoed });
  } finally {
    await mesh.stop();
    await echo.stop();
  }
}

test('F14 Z11 Z12: a stop refuses new connections, lets the open one go on, and ends with it', () =>
  story(async ({ mesh, echoed }) => {
    const call = await echoed();
    const stopped = mesh.ztunnel.stop({ graceMs: 10_000 });
    await assert.rejects(callFrom(client, server), { code: 'ECONNREFUSED' });
    call.socket.write('!');
    await eventually(() => call.text() === 'ping!', 'the echo during the drain');
    call.socket.end();
    assert.equal(await call.ended, 'end');
    await stopped;
  }));

test('F14 a stop cuts with a reset what is left after the grace time', () =>
  story(async ({ mesh, echoed }) => {
    const call = await echoed();
    await mesh.ztunnel.stop({ graceMs: 30 });
    assert.equal(await call.ended, 'ECONNRESET');
  }));

test('F14 observability stays up during the drain and says not ready', () =>
  story(async ({ mesh, echoed }) => {
    const call = await echoed();
    const { readiness } = mesh.ztunnel.addresses;
    const url = `http://127.0.0.1:${readiness.port}/healthz/ready`;
    assert.equal((await fetch(url)).status, 200);
    const stopped = mesh.ztunnel.stop({ graceMs: 10_000 });
    const answer = await fetch(url);
    assert.equal(answer.status, 500);
    assert.match(await answer.text(), /^not ready, pending: draining/);
    assert.equal((await mesh.get('/config_dump')).status, 200);
    call.socket.end();
    await stopped;
  }));

test('a pod that died is cut at once; the others go on', () =>
  story(async ({ mesh, echoed }) => {
    const call = await echoed();
    assert.equal(await mesh.agent.del('Kubernetes//Pod/shop/client'), '');
    assert.equal(await call.ended, 'ECONNRESET');
    await assert.rejects(callFrom(client, server), { code: 'ECONNREFUSED' });
  }));

test('D4: a pod that leaves with a drain still serves, and coming back ends the drain', () =>
  story(async ({ mesh, echoed }) => {
    const uid = 'Kubernetes//Pod/shop/server';
    assert.equal(await mesh.agent.del(uid, 60_000), '');
    const call = await echoed();
    const again = { uid, name: 'server', namespace: 'shop', serviceAccount: 'server' };
    assert.equal(await mesh.agent.add({ ...again, addresses: [server] }), '');
    call.socket.write('!');
    await eventually(() => call.text() === 'ping!', 'the echo after the return');
    call.socket.destroy();
  }));

test('the node agent may go away: connections go on, and who is not named again is stopped', () =>
  story(async ({ mesh, echoed }) => {
    const call = await echoed();
    mesh.agent.drop();
    await eventually(async () => {
      const { readiness } = mesh.ztunnel.addresses;
      return (await fetch(`http://127.0.0.1:${readiness.port}/healthz/ready`)).status === 500;
    }, 'not ready without the node agent');
    call.socket.write('!');
    await eventually(() => call.text() === 'ping!', 'the echo without the node agent');
    const uid = 'Kubernetes//Pod/shop/server';
    const again = { uid, name: 'server', namespace: 'shop', serviceAccount: 'server' };
    assert.equal(await mesh.agent.add({ ...again, addresses: [server] }), '');
    assert.equal(await mesh.agent.snapshot(), '');
    assert.equal(await call.ended, 'ECONNRESET');
  }));

test('a request that cannot be decoded is refused and the proxy comes back', () =>
  story(async ({ mesh, echoed }) => {
    assert.match(await mesh.agent.raw(new Uint8Array([0xff, 0xff, 0xff])), /decoded/);
    await mesh.agent.snapshot();
    mesh.apply({});
    const uid = 'Kubernetes//Pod/shop/client';
    const pod = { uid, name: 'client', namespace: 'shop', serviceAccount: 'client' };
    assert.equal(await mesh.agent.add({ ...pod, addresses: [client] }), '');
    const server2 = { ...pod, uid: 'Kubernetes//Pod/shop/server', name: 'server' };
    const more = { ...server2, serviceAccount: 'server', addresses: [server] };
    assert.equal(await mesh.agent.add(more), '');
    await echoed();
  }));

test('an address that cannot be bound is an error in the ack that names it (Z13)', () =>
  story(async ({ mesh }) => {
    const pod = { uid: 'x', name: 'x', namespace: 'shop', serviceAccount: 'x' };
    const error = await mesh.agent.add({ ...pod, addresses: ['192.0.2.1'] });
    assert.match(error, /cannot listen on 192\.0\.2\.1:15001: EADDRNOTAVAIL/);
  }));

test('Z42: a port in use is tried again until it is free, and a deletion ends the trying', () => {
  const clock = new FakeClock(systemClock.now());
  return story(
    async ({ mesh }) => {
      const { readiness } = mesh.ztunnel.addresses;
      const ready = async (): Promise<number> =>
        (await fetch(`http://127.0.0.1:${readiness.port}/healthz/ready`)).status;
      const tries = (ip: string): number =>
        mesh.lines.filter((l) => l.includes('could not be started') && l.includes(ip)).length;
      const listens = (ip: string): Promise<boolean> =>
        new Promise((resolve) => {
          const socket = net.connect({ host: ip, port: 15008 });
          socket.once('error', () => resolve(false));
          socket.once('connect', () => {
            socket.destroy();
            resolve(true);
          });
        });
      const taken = async (ip: string): Promise<() => Promise<void>> => {
        const holder = net.createServer();
        await new Promise<void>((done) => holder.listen(15006, ip, done));
        return () => new Promise((done) => holder.close(() => done()));
      };
      const pod = (name: string, ip: string) => ({
        uid: name,
        name,
        namespace: 'shop',
        serviceAccount: name,
        addresses: [ip],
      });
      const [late, gone] = [at(9), at(8)];
      const free = await taken(late);
      assert.match(await mesh.agent.add(pod('late', late)), /15006: EADDRINUSE/);
      assert.equal(await ready(), 500);
      assert.equal(await listens(late), false, 'all of its listeners or none');
      clock.advance(5_000);
      await eventually(() => tries(late) === 2, 'a second try');
      await free();
      clock.advance(5_000);
      await eventually(() => listens(late), 'the pod is served');
      await eventually(async () => (await ready()) === 200, 'ready again');

      const freeGone = await taken(gone);
      assert.match(await mesh.agent.add(pod('gone', gone)), /EADDRINUSE/);
      await freeGone();
      // The retry that is due and the deletion meet: whichever comes first, nothing is left.
      clock.advance(5_000);
      assert.equal(await mesh.agent.del('gone'), '');
      assert.equal(await listens(gone), false);
      clock.advance(60_000);
      assert.equal(await mesh.agent.add(pod('next', at(7))), '', 'requests wait for retries');
      assert.equal(await listens(gone), false);
      assert.equal(await ready(), 200);
    },
    { clock },
  );
});

test('3.1.4: a pod the mesh does not know yet is waited for', () =>
  story(async ({ mesh }) => {
    const ip = at(9);
    const pod = { uid: 'late', name: 'late', namespace: 'shop', serviceAccount: 'late' };
    assert.equal(await mesh.agent.add({ ...pod, addresses: [ip] }), '');
    const call = await callFrom(ip, server);
    call.socket.write('early');
    mesh.apply({ workloads: [testWorkload('late', ip)] });
    await eventually(() => call.text() === 'early', 'the echo');
    call.socket.destroy();
  }));

test('a pod that is removed loses the tunnels to it, so that its successor is dialled anew', () =>
  story(async ({ mesh, echoed }) => {
    const first = await echoed();
    first.socket.end();
    await first.ended;
    mesh.apply({ removed: { addresses: ['Kubernetes//Pod/shop/server'] } });
    const successor = testWorkload('server-2', server, { serviceAccount: 'server' });
    assert.equal(await mesh.agent.del('Kubernetes//Pod/shop/server'), '');
    await mesh.enrol(successor);
    const call = await echoed();
    call.socket.end();
    await call.ended;
    const { outbound } = await mesh.bothEnds();
    assert.equal(outbound.reused, false);
    assert.equal(outbound.destination.workload, 'server-2');
  }));

/** Certificates that live three seconds, so that they are renewed within the story. */
const shortLived = (ca: CertificateAuthority): CaClient => ({
  sign: ({ csr, identity }) => ca.signWorkload({ csr, identity, ttlSeconds: 3 }),
});

test('T13: certificates are renewed under way; open tunnels go on, new ones use the new one', () =>
  story(
    async ({ mesh, echoed }) => {
      const call = await echoed();
      const serialOf = async (): Promise<string> => {
        const probe = { source: 'Kubernetes//Pod/shop/client', destination: `${server}:8080` };
        const { body } = await mesh.post('/ambient/probe', { ...probe, fresh: true });
        return (JSON.parse(body) as { peer?: { serial: string } }).peer?.serial ?? '';
      };
      const first = await serialOf();
      await eventually(async () => {
        const now = await serialOf();
        return now !== '' && now !== first;
      }, 'another certificate');
      call.socket.write('!');
      await eventually(() => call.text() === 'ping!', 'the echo on the old tunnel');
      call.socket.destroy();
    },
    { caClient: shortLived },
  ));

test('hours without the control plane: no request fails, certificates hold, and are renewed afterwards', async () => {
  // The certificates are real and of now; only the proxy's own time goes by, in steps that leave no time for
  // answers to PING: so each request makes a tunnel of its own, with the certificates in hand.
  const ca = await createCa({ trustDomain: 'cluster.local', clock: systemClock });
  const clock = new FakeClock(systemClock.now());
  const minute = 60_000;
  let away = false;
  let asked = 0;
  let given = 0;
  const flaky = (): CaClient => {
    const good = localCaClient(ca);
    return {
      sign: (request) => {
        if (away) asked++;
        else given++;
        return away ? Promise.reject(new Error('CA is away')) : good.sign(request);
      },
    };
  };
  await story(
    async ({ mesh, echoed }) => {
      const request = async (): Promise<void> => {
        const call = await echoed();
        call.socket.end();
        assert.equal(await call.ended, 'end');
      };
      await request();
      // They are renewed after 10.8 to 13.2 of their 24 hours: in these three they would be.
      clock.advance(10 * 60 * minute + 45 * minute);
      away = true;
      const before = given;
      for (let i = 0; i < 45; i++) {
        clock.advance(4 * minute);
        await request();
      }
      assert.ok(asked > 2, `it was asked for in vain, ${asked} times`);
      assert.ok(asked < 200, `and not all the time: ${asked}`);
      assert.equal(given, before);
      const fresh = { source: 'Kubernetes//Pod/shop/client', destination: `${server}:8080` };
      const probed = await mesh.post('/ambient/probe', { ...fresh, fresh: true });
      assert.equal((JSON.parse(probed.body) as { ok?: boolean }).ok, true, 'new tunnels too');
      assert.ok(mesh.lines.some((l) => l.includes('CA is away')));
      away = false;
      await eventually(() => {
        clock.advance(minute);
        return given >= before + 2;
      }, 'certificates for both pods');
      await request();
    },
    { clock, ca, caClient: flaky },
  );
});

test('4.1.2: without a certificate the connection is refused with its reason, and works once the CA is back', () => {
  let down = true;
  const flaky = (ca: CertificateAuthority): CaClient => {
    const good = localCaClient(ca);
    return {
      sign: (request) => (down ? Promise.reject(new Error('CA is away')) : good.sign(request)),
    };
  };
  return story(
    async ({ mesh, echoed }) => {
      const call = await callFrom(client, server);
      assert.equal(await call.ended, 'ECONNRESET');
      assert.equal((await mesh.records())[0]?.reason, 'CERT_UNAVAILABLE');
      assert.ok(mesh.lines.some((l) => l.includes('CA is away')));
      down = false;
      await eventually(async () => {
        const again = await callFrom(client, server);
        again.socket.end('x');
        return (await again.ended) === 'end';
      }, 'the first connection with a certificate');
      await echoed();
    },
    { caClient: flaky },
  );
});
