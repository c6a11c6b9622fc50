// Every row of the decision trees of ztunnel-protocol.md 3.3, 3.4 and 4.2 that a plan decides, under its own
// name. 3.8 (on demand) and double HBONE are plan values, whose shells answer with a code of their own.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faults, parseIpPort, printIpPort, seededRandom } from '../core/base/index.ts';
import type { Batch } from '../core/model/index.ts';
import { planInbound } from './inbound/plan.ts';
import { planOutbound } from './outbound/plan.ts';
import { byAddress, byHost, ip, mesh, of, service, workload } from './testkit.ts';

const hbone = { protocol: 'HBONE' } as const;
const source = workload('source', ['10.0.0.1'], hbone);
const waypointPod = workload('waypoint', ['10.0.0.9'], { ...hbone, services: of('waypoint') });
const waypointService = service('waypoint', ['10.10.0.9'], [[15008, 15008]]);
const web = workload('web', ['10.0.0.2'], { ...hbone, services: of('example.com') });
const plain = workload('plain', ['10.0.0.3'], { services: of('example.com') });
const passthrough = { preferences: [], mode: 'Passthrough', healthPolicy: 'AllowAll' } as const;
const example = (more = {}) => service('example.com', ['10.10.0.1'], [[80, 8080]], more);

function outbound(batch: Batch, dial: string, from = source): string {
  const to = parseIpPort(dial);
  assert.ok(to);
  const view = mesh({ ...batch, workloads: [from, ...(batch.workloads ?? [])] });
  const p = planOutbound(view, from, to, { network: '', random: seededRandom(1) });
  switch (p.do) {
    case 'refuse':
      return p.code;
    case 'pass':
      return `TCP ${printIpPort(p.dial)}`;
    case 'tunnel':
      return `${p.via} ${printIpPort(p.dial)} ${p.authority}`;
    case 'double':
      return `DOUBLE ${printIpPort(p.dial)} ${p.authority}`;
    case 'resolve':
      return `RESOLVE ${p.host}:${p.port}`;
  }
}

const remote = workload('remote', [], {
  ...hbone,
  network: 'far',
  networkGateway: byAddress('10.22.1.1', 15009, 'far'),
  services: of('example.com'),
});
const gateway = workload('gateway', ['10.22.1.1'], { ...hbone, network: 'far' });
const byName = byHost('waypoint');

const rows: [string, Batch, string, string][] = [
  ['3.1.3 loopback and an own port: recursive call', {}, '127.0.0.1:15001', 'RECURSIVE_CALL'],
  ['3.3 A nothing found: not service-addressed, passed on', {}, '192.0.2.1:80', 'TCP 192.0.2.1:80'],
  [
    '3.3 A.1 no waypoint: the service is remembered, no healthy upstream fails',
    { services: [example()] },
    '10.10.0.1:80',
    'NO_HEALTHY_UPSTREAM',
  ],
  [
    '3.3 A.2 a waypoint that cannot be resolved fails closed',
    { services: [example({ waypoint: byName })], workloads: [web] },
    '10.10.0.1:80',
    'UNKNOWN_WAYPOINT',
  ],
  [
    '3.3 A.4 through the waypoint, authority is the address asked for',
    { services: [example({ waypoint: byName }), waypointService], workloads: [web, waypointPod] },
    '10.10.0.1:80',
    'waypoint 10.0.0.9:15008 10.10.0.1:80',
  ],
  [
    '3.3 A also when the service is in PASSTHROUGH mode',
    {
      services: [example({ waypoint: byName, loadBalancing: passthrough }), waypointService],
      workloads: [waypointPod],
    },
    '10.10.0.1:80',
    'waypoint 10.0.0.9:15008 10.10.0.1:80',
  ],
  [
    '3.3 B PASSTHROUGH: original destination',
    { services: [example({ loadBalancing: passthrough })], workloads: [web] },
    '10.10.0.1:80',
    'TCP 10.10.0.1:80',
  ],
  [
    '3.3 B service: balanced, port mapped',
    { services: [example()], workloads: [web] },
    '10.10.0.1:80',
    'workload 10.0.0.2:15008 10.0.0.2:8080',
  ],
  [
    '3.3 B workload: port unchanged',
    { workloads: [web] },
    '10.0.0.2:1234',
    'workload 10.0.0.2:15008 10.0.0.2:1234',
  ],
  [
    '3.3 C other network, service-addressed: double HBONE',
    { services: [example()], workloads: [remote, gateway] },
    '10.10.0.1:80',
    'DOUBLE 10.22.1.1:15009 example.com:80',
  ],
  [
    '3.3 D workload waypoint',
    { services: [waypointService], workloads: [{ ...web, waypoint: byName }, waypointPod] },
    '10.0.0.2:80',
    'waypoint 10.0.0.9:15008 10.0.0.2:80',
  ],
  [
    '3.3 D only if not service-addressed',
    {
      services: [example(), waypointService],
      workloads: [{ ...web, waypoint: byName }, waypointPod],
    },
    '10.10.0.1:80',
    'workload 10.0.0.2:15008 10.0.0.2:8080',
  ],
  ['3.3 E HBONE', { workloads: [web] }, '10.0.0.2:80', 'workload 10.0.0.2:15008 10.0.0.2:80'],
  [
    '3.3 E NONE',
    { services: [example()], workloads: [plain] },
    '10.10.0.1:80',
    'TCP 10.0.0.3:8080',
  ],
  [
    '3.4 reference by address',
    {
      services: [example({ waypoint: byAddress('10.10.0.9') }), waypointService],
      workloads: [waypointPod],
    },
    '10.10.0.1:80',
    'waypoint 10.0.0.9:15008 10.10.0.1:80',
  ],
  [
    '3.4 reference by address of a pod',
    { services: [example({ waypoint: byAddress('10.0.0.9') })], workloads: [waypointPod] },
    '10.10.0.1:80',
    'waypoint 10.0.0.9:15008 10.10.0.1:80',
  ],
];
for (const [name, batch, dial, expected] of rows) {
  test(name, () => assert.equal(outbound(batch, dial), expected));
}

test('3.3 D a waypoint does not go through itself', () => {
  const self = { ...web, waypoint: byName };
  const batch = { services: [waypointService], workloads: [self] };
  assert.equal(outbound(batch, '10.0.0.2:80', waypointPod), 'workload 10.0.0.2:15008 10.0.0.2:80');
});

test('2.9 3.8 double HBONE and on-demand look-up have refusal codes until they are carried', () => {
  assert.equal(faults.DOUBLE_HBONE_UNSUPPORTED.side, 'internal');
  assert.equal(faults.ON_DEMAND_UNSUPPORTED.side, 'internal');
});

function inbound(method: string, authority: string, more = {}): string {
  const local = workload('server', ['10.0.0.2'], { ...hbone, services: of('server'), ...more });
  const view = mesh({
    workloads: [local, source],
    services: [
      service('server', ['10.10.0.2'], [[80, 8080]]),
      service('other', ['10.10.0.3'], [[80, 80]]),
    ],
  });
  const p = planInbound(
    view,
    local,
    { method, authority, forwardedHost: undefined, localIp: ip('10.0.0.2') },
    '',
  );
  return p.do === 'refuse' ? `${faults[p.code].status} ${p.code}` : printIpPort(p.dial);
}

const tree: [string, string, string, string, object?][] = [
  ['4.2.1 method', 'GET', '10.0.0.2:80', '400 BAD_METHOD'],
  ['4.2.2 authority', 'CONNECT', '10.0.0.2', '400 BAD_AUTHORITY'],
  ['4.2.4 another address', 'CONNECT', '10.0.0.7:80', '400 ADDRESS_MISMATCH'],
  ['4.2.4 own address', 'CONNECT', '10.0.0.2:8080', '10.0.0.2:8080'],
  ['4.2.4 a host name is no mismatch', 'CONNECT', 'server:80', '10.0.0.2:8080'],
  ['4.2.5 unknown host name', 'CONNECT', 'nosuch:80', '503 UNKNOWN_HOSTNAME'],
  ['4.2.5 a service without this workload (C5)', 'CONNECT', 'other:80', '503 UNKNOWN_HOSTNAME'],
  ['4.2.6 own port', 'CONNECT', '10.0.0.2:15008', '503 RECURSIVE_CALL'],
  [
    '4.2.7 application tunnel',
    'CONNECT',
    '10.0.0.2:80',
    '10.0.0.2:15088',
    { applicationTunnel: { protocol: 'NONE', port: 15088 } },
  ],
];
for (const [name, method, authority, expected, more] of tree) {
  test(name, () => assert.equal(inbound(method, authority, more), expected));
}
