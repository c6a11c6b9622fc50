// The whole way through waypoints: a captured pod's proxy, two replicas of a waypoint beside it, the application.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import type { GatewayAddress } from '../../core/model/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { callFrom } from '../kit/apps.ts';
import { eventually } from '../kit/eventually.ts';
import { backs, startMesh, type TestMesh, testService, testWorkload } from '../kit/mesh.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const client = at(2);
const server = at(3);
const solo = at(4);
const first = at(5);
const second = at(6);
const vip = { address: at(101), host: at(102), nobody: at(103), pair: at(104) };
const waiting: http.ServerResponse[] = [];
let asked = 0;
let mesh: TestMesh;
let one: TestWaypoint;
let two: TestWaypoint;
let apps: http.Server[];

const host = (hostname: string): GatewayAddress => ({
  kind: 'host',
  namespace: 'shop',
  hostname: `${hostname}.shop.svc.cluster.local`,
  hboneMtlsPort: 15008,
});
const address = (ip: string): GatewayAddress => {
  const parsed = testWorkload('x', ip).addresses[0];
  assert.ok(parsed);
  return { kind: 'address', network: '', ip: parsed, hboneMtlsPort: 15008 };
};
const waypointPod = (name: string, ip: string, service: string) =>
  testWorkload(name, ip, {
    serviceAccount: 'waypoint',
    node: 'n2',
    nativeTunnel: true,
    services: backs(service),
  });

before(async () => {
  apps = [server, solo].map((ip) =>
    http
      .createServer((req, res) => {
        asked++;
        if (req.url === '/wait') waiting.push(res);
        else res.end(`${req.method} ${req.url}`);
      })
      .listen(8080, ip),
  );
  one = await startTestWaypoint(first);
  two = await startTestWaypoint(second, { POD_NAME: 'waypoint-2' }, one.ca);
  for (const w of [one, two]) {
    for (const [name, ip] of Object.entries(vip)) {
      w.service(name, ip, 80, [`${server}:8080`]);
      w.configure(name, { ports: [{ port: 80, protocol: 0 }] });
    }
    // The application is captured too: the second leg is a tunnel of its own.
    w.feed.apply({
      workloads: [
        testWorkload('client', client),
        testWorkload('host-0', server, {
          serviceAccount: 'server',
          services: new Map([...backs('host')].map(([key]) => [key, new Map([[80, 8080]])])),
        }),
        testWorkload('solo', solo, { serviceAccount: 'server', waypoint: host('waypoint') }),
      ],
    });
    w.configure('waypoint', { workloads: true });
  }
  mesh = await startMesh({ ca: one.ca });
  const bound = (name: keyof typeof vip, waypoint: GatewayAddress) => ({
    ...testService(name, vip[name], 80, 8080),
    waypoint,
  });
  mesh.apply({
    services: [
      { ...testService('waypoint', at(110), 15008, 15008) },
      { ...testService('replicas', at(111), 15008, 15008) },
      bound('address', address(first)),
      bound('host', host('waypoint')),
      bound('nobody', host('nowhere')),
      bound('pair', host('replicas')),
    ],
    workloads: [waypointPod('waypoint-1', first, 'waypoint')],
  });
  await mesh.enrol(testWorkload('client', client), testWorkload('server', server));
  await mesh.enrol(
    testWorkload('solo', solo, { serviceAccount: 'server', waypoint: host('waypoint') }),
  );
});
after(async () => {
  await mesh.stop();
  await one.stop();
  await two.stop();
  for (const app of apps) {
    app.closeAllConnections();
    app.close();
  }
});

/** One request by the pod `client`: the answer's text, or the code of the connection's end. */
async function ask(target: string, port: number, path = '/x'): Promise<string> {
  const call = await callFrom(client, target, port);
  call.socket.write(`GET ${path} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n`);
  const end = await call.ended;
  call.socket.destroy();
  return call.text() === '' ? end : call.text();
}

const bindings: readonly (readonly [string, string, number])[] = [
  ['a service bound by address', vip.address, 80],
  ['a service bound by host name', vip.host, 80],
  ['a workload bound by host name', solo, 8080],
];
for (const [what, target, port] of bindings) {
  test(`Z5 ${what}: dialled at the waypoint, the target as authority, both in the log`, async () => {
    assert.match(await ask(target, port), /^HTTP\/1\.1 200 [^]*GET \/x$/);
    const record = await eventually(async () => {
      const newest = (await mesh.records()).find((r) => r.direction === 'outbound');
      return newest?.destination.hboneAddr === `${target}:${port}` && newest;
    }, 'the record');
    assert.equal(record.destination.addr, `${first}:15008`);
    assert.equal(record.destination.workload, 'waypoint-1');
    assert.equal(record.destination.identity, 'spiffe://cluster.local/ns/shop/sa/waypoint');
    const line = mesh.lines.findLast((l) => l.includes('connection complete')) ?? '';
    assert.ok(line.includes(`dst.addr=${first}:15008 dst.hbone_addr=${target}:${port}`), line);
  });
}

test('M31 the waypoint tells of a request as its reporter, in mutual TLS, with every label', async () => {
  const { body } = await one.metrics.render(undefined);
  const line =
    body
      .split('\n')
      .find((l) => l.startsWith('istio_requests_total{') && l.includes('service_name="host"')) ??
    '';
  for (const label of [
    'reporter="waypoint"',
    'source_workload="client"',
    'source_canonical_service="client"',
    'source_workload_namespace="shop"',
    'source_principal="spiffe://cluster.local/ns/shop/sa/client"',
    'destination_service="host.shop.svc.cluster.local"',
    'destination_service_name="host"',
    'destination_service_namespace="shop"',
    'destination_workload="host-0"',
    'destination_workload_namespace="shop"',
    'destination_principal="spiffe://cluster.local/ns/shop/sa/server"',
    'destination_canonical_service="host-0"',
    'destination_canonical_revision="v1"',
    'request_protocol="http"',
    'response_code="200"',
    'response_flags="-"',
    'connection_security_policy="mutual_tls"',
  ])
    assert.ok(line.includes(label), `${label} in ${line}`);
});

test('F32 the waypoint is not there: refused, never around it, with its reason', async () => {
  const before = asked;
  assert.equal(await ask(vip.nobody, 80), 'ECONNRESET');
  assert.equal(asked, before);
  const [record] = await mesh.records();
  assert.equal(record?.reason, 'UNKNOWN_WAYPOINT');
});

test('F33 the waypoint dies in a request: it ends at once and is not sent twice, the next goes to the other', async () => {
  mesh.apply({ workloads: [waypointPod('replica-1', first, 'replicas')] });
  const before = asked;
  const hanging = ask(vip.pair, 80, '/wait');
  await eventually(() => waiting.length === 1, 'the request at the application');
  mesh.apply({ workloads: [waypointPod('replica-2', second, 'replicas')] });
  await one.waypoint.stop({ graceMs: 0 });
  const got = await hanging;
  assert.ok(got === 'ECONNRESET' || got.startsWith('HTTP/1.1 503'), got);
  assert.equal(asked, before + 1);
  for (let i = 0; i < 6; i++) assert.match(await ask(vip.pair, 80), /^HTTP\/1\.1 200 /);
  assert.equal(asked, before + 7);
});
