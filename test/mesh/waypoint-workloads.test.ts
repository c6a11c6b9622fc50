// A waypoint for workloads: calls to a pod's own address, judged by the gateway's policies, sent to that pod and no other.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { L7PolicyAction } from '../../core/proto/index.ts';
import type { GatewayAddress } from '../../core/model/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { testService, testWorkload } from '../kit/mesh.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const app = at(10);
const ports = { http: 0, tcp: 0 };
const stops: (() => void)[] = [];
let w: TestWaypoint;

const ours: GatewayAddress = {
  kind: 'host',
  namespace: 'shop',
  hostname: 'waypoint.shop.svc.cluster.local',
  hboneMtlsPort: 15008,
};
const pod = (waypoint?: GatewayAddress): void =>
  void w.feed.apply({
    workloads: [testWorkload('web-0', app, { protocol: 'TCP', ...(waypoint && { waypoint }) })],
  });
const get = (method = 'GET'): string =>
  `${method} /x HTTP/1.1\r\nhost: whatever\r\nconnection: close\r\n\r\n`;

before(async () => {
  w = await startTestWaypoint(at(1));
  const listening = (server: net.Server): Promise<number> =>
    new Promise((resolve) => {
      server.listen(0, app, () => resolve((server.address() as net.AddressInfo).port));
      stops.push(() => void server.close());
    });
  ports.http = await listening(
    http.createServer((req, res) => res.end(`${req.url} for ${String(req.headers.host)}`)),
  );
  ports.tcp = await listening(
    net.createServer((s) => {
      s.on('error', () => {});
      s.end('hello first');
    }),
  );
  pod(ours);
  w.configure('waypoint', {
    workloads: true,
    policies: [
      {
        key: 'shop/no-delete',
        action: L7PolicyAction.DENY,
        // Where no method can be seen a DENY holds for the rest of its rule, so the rule names the port.
        rules: [{ to: [{ methods: { any: ['DELETE'] }, ports: { any: [String(ports.http)] } }] }],
      },
    ],
  });
});
after(async () => {
  await w.stop();
  for (const stop of stops) stop();
});

describe('calls to the address of a workload', () => {
  test('go to that workload, whatever Host says', async () => {
    assert.match(await w.exchange(`${app}:${ports.http}`, get()), /200 OK[^]*\/x for whatever$/);
  });

  test('are judged by the policies of the gateway', async () => {
    const got = await w.exchange(`${app}:${ports.http}`, get('DELETE'));
    assert.match(got, /403 Forbidden[^]*RBAC: access denied$/);
  });

  test('of a protocol where the server speaks first', async () => {
    assert.equal(await w.exchange(`${app}:${ports.tcp}`, ''), 'hello first');
  });

  test('are reported without a service', async () => {
    const text = (await w.metrics.render(undefined)).body;
    const line = text.split('\n').find((l) => l.startsWith('istio_requests_total{')) ?? '';
    assert.match(line, /destination_service="unknown"/);
    assert.match(line, /destination_workload="web-0"/);
  });

  for (const [what, reference] of [
    ['no waypoint', undefined],
    ['another waypoint', { ...ours, hostname: 'other.shop.svc.cluster.local' }],
    ['one of the same name elsewhere', { ...ours, namespace: 'other' }],
  ] as const) {
    test(`of a workload with ${what}: refused`, async () => {
      pod(reference);
      await assert.rejects(w.connect(`${app}:${ports.http}`), /WAYPOINT_NOT_BOUND/);
      pod(ours);
    });
  }

  test('of an address that nobody has: refused', async () => {
    await assert.rejects(w.connect(`${at(11)}:80`), /WAYPOINT_NOT_BOUND/);
  });

  test('where the reference is by address', async () => {
    w.feed.apply({ services: [testService('waypoint', at(99), 15008, 15008)] });
    const ip = testWorkload('x', at(99)).addresses[0];
    assert.ok(ip);
    pod({ kind: 'address', network: '', ip, hboneMtlsPort: 15008 });
    assert.match(await w.exchange(`${app}:${ports.http}`, get()), /200 OK/);
  });
});

test('M21 a canary is told a service under another name, and keeps it when it becomes the only one', async () => {
  const config = { ports: [{ port: 80, protocol: 0 }] };
  w.service('svc', at(120), 80, [`${app}:${ports.http}`]);
  w.configure('svc', config, 'shop/svc.shop.svc.cluster.local#canary');
  assert.match(await w.exchange(`${at(120)}:80`, get()), /200 OK/);
  w.configure('svc', config);
  w.forget('shop/svc.shop.svc.cluster.local#canary');
  assert.match(await w.exchange(`${at(120)}:80`, get()), /200 OK/);
});
