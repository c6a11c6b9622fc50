// The second leg of a proof: the waypoint opens it to where a request would go, through its own tunnels or a fresh one.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { L7PathKind, L7PortProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { type EchoApp, startEcho } from '../kit/apps.ts';
import { backs, startMesh, type TestMesh, testWorkload } from '../kit/mesh.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const vip = at(100);
let w: TestWaypoint;
let mesh: TestMesh;
let echo: EchoApp;

interface Proof {
  readonly ok: boolean;
  readonly route?: string;
  readonly protocol?: string;
  readonly reason?: string;
  readonly endpoint?: { readonly name: string };
}

async function probe(more: object = {}): Promise<Proof> {
  const { host, port } = w.waypoint.addresses.admin;
  const answer = await fetch(`http://${host}:${port}/ambient/probe`, {
    method: 'POST',
    body: JSON.stringify({ destination: `${vip}:80`, ...more }),
  });
  return (await answer.json()) as Proof;
}

const handshakes = (): Promise<number> =>
  w.metrics.value('ambient_tls_handshakes_total', { reporter: 'source' });

before(async () => {
  w = await startTestWaypoint(at(1));
  mesh = await startMesh({ ca: w.ca });
  const ports = new Map([[80, 8080]]);
  const [web, api] = ['web', 'api'].map((name, i) => {
    const [key] = backs(name).keys();
    assert.ok(key);
    return testWorkload(name, at(10 + i), { services: new Map([[key, ports]]) });
  });
  assert.ok(web && api);
  await mesh.enrol(web, api);
  echo = await startEcho(at(11));
  w.service('web', vip, 80, []);
  w.service('api', at(101), 80, []);
  w.feed.apply({ workloads: [web, api] });
  // Whoever asks ztunnel must be known to it.
  mesh.apply({ workloads: [testWorkload('waypoint', at(1))] });
});
after(async () => {
  await w.stop();
  await mesh.stop();
  await echo.stop();
});

const route = (path: string): Draft<wire.L7PortConfig> => ({
  port: 80,
  protocol: L7PortProtocol.HTTP,
  routes: {
    rules: [
      {
        route: 'shop/to-api',
        name: 'to-api',
        backends: [
          {
            namespace: 'shop',
            hostname: 'api.shop.svc.cluster.local',
            port: 80,
            weight: 1,
            protocol: L7PortProtocol.HTTP,
          },
        ],
      },
    ],
    entries: [{ match: { pathKind: L7PathKind.EXACT, path }, rule: 0 }],
  },
});

test('it goes where the route of GET / leads', async () => {
  w.configure('web', { ports: [route('/')] });
  const proof = await probe();
  assert.deepEqual(
    [proof.ok, proof.route, proof.endpoint?.name, proof.protocol],
    [true, 'to-api', 'api', 'HBONE'],
    JSON.stringify(proof),
  );
});

test('a route for other paths says nothing of it: the service’s own endpoints', async () => {
  w.configure('web', { ports: [route('/elsewhere')] });
  const proof = await probe();
  assert.deepEqual([proof.route, proof.endpoint?.name], [undefined, 'web']);
});

test('fresh: a tunnel of its own, and the one of traffic stays', async () => {
  w.configure('web', { ports: [route('/')] });
  await probe();
  const before = await handshakes();
  assert.equal((await probe()).ok, true);
  assert.equal(await handshakes(), before, 'the tunnel that is there');
  assert.equal((await probe({ fresh: true })).ok, true);
  assert.equal(await handshakes(), before + 1);
  assert.equal((await probe()).ok, true);
  assert.equal(await handshakes(), before + 1);
});
