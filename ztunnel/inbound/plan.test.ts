// The conformance vectors of ztunnel-protocol.md 16.2 and the CONNECT rows of the checklist that a plan
// decides.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printIpPort } from '../../core/base/index.ts';
import type { GatewayAddress, Workload } from '../../core/model/index.ts';
import { byAddress, ip, mesh, of, service, workload } from '../testkit.ts';
import { type InboundPlan, planInbound } from './plan.ts';

const hbone = { protocol: 'HBONE' } as const;
const host = 'server.ns.svc.cluster.local';

interface Setting {
  readonly workloadWaypoint?: GatewayAddress;
  readonly serviceWaypoint?: GatewayAddress;
  readonly tunnel?: Workload['applicationTunnel'];
}

function plan(s: Setting, to: string, authority: string, method = 'CONNECT'): InboundPlan {
  const server = workload('server', ['10.0.0.2'], {
    ...hbone,
    services: of(host),
    ...(s.workloadWaypoint && { waypoint: s.workloadWaypoint }),
  });
  const waypoint = workload('waypoint', ['10.0.0.3'], {
    ...hbone,
    services: of('waypoint'),
    ...(s.tunnel && { applicationTunnel: s.tunnel }),
  });
  const view = mesh({
    workloads: [server, waypoint, workload('client', ['10.0.0.1'], hbone)],
    services: [
      service(host, ['10.10.0.1'], [[80, 8080]], {
        ...(s.serviceWaypoint && { waypoint: s.serviceWaypoint }),
      }),
      service('waypoint', ['10.10.0.2'], [[15008, 15008]]),
      service('other', ['10.10.0.9'], [[80, 80]]),
    ],
  });
  const local = to === '10.0.0.2' ? server : waypoint;
  const request = { method, authority, forwardedHost: undefined, localIp: ip(to) };
  return planInbound(view, local, request, '');
}

const show = (p: InboundPlan): string => {
  if (p.do === 'refuse') return p.code;
  const proxied = p.proxyTarget ? ` PROXY ${printIpPort(p.proxyTarget)}` : '';
  return `${printIpPort(p.dial)}${proxied}`;
};

const pod = byAddress('10.0.0.3');
const vip = byAddress('10.10.0.2');
const tunnel = { protocol: 'PROXY', port: 15088 } as const;

const vectors: [string, Setting, string, string, string][] = [
  ['none, by address', {}, '10.0.0.2', '10.0.0.2:8080', '10.0.0.2:8080'],
  ['Z14 none, by hostname', {}, '10.0.0.2', `${host}:80`, '10.0.0.2:8080'],
  [
    'workload waypoint by pod',
    { workloadWaypoint: pod },
    '10.0.0.3',
    '10.0.0.2:8080',
    '10.0.0.3:8080',
  ],
  [
    'workload waypoint by VIP',
    { workloadWaypoint: vip },
    '10.0.0.3',
    '10.0.0.2:8080',
    '10.0.0.3:8080',
  ],
  [
    'workload waypoint with application tunnel',
    { workloadWaypoint: vip, tunnel },
    '10.0.0.3',
    '10.0.0.2:8080',
    '10.0.0.3:15088 PROXY 10.0.0.2:8080',
  ],
  [
    'service waypoint by pod',
    { serviceWaypoint: pod },
    '10.0.0.3',
    '10.10.0.1:8080',
    '10.0.0.3:8080',
  ],
  [
    'service waypoint by VIP',
    { serviceWaypoint: vip },
    '10.0.0.3',
    '10.10.0.1:8080',
    '10.0.0.3:8080',
  ],
  [
    'service waypoint with application tunnel',
    { serviceWaypoint: vip, tunnel },
    '10.0.0.3',
    '10.10.0.1:8080',
    '10.0.0.3:15088 PROXY 10.10.0.1:8080',
  ],
  ['C3 Z15 authority of the client', {}, '10.0.0.2', '10.0.0.1:8080', 'ADDRESS_MISMATCH'],
  ['C3 same on the waypoint', {}, '10.0.0.3', '10.0.0.1:8080', 'ADDRESS_MISMATCH'],
  [
    'service waypoint asked for the pod',
    { serviceWaypoint: vip },
    '10.0.0.3',
    '10.0.0.2:8080',
    'ADDRESS_MISMATCH',
  ],
  [
    'workload waypoint asked for the VIP',
    { workloadWaypoint: vip },
    '10.0.0.3',
    '10.10.0.1:8080',
    'ADDRESS_MISMATCH',
  ],
  ['C4 own ports', {}, '10.0.0.2', '10.0.0.2:15008', 'RECURSIVE_CALL'],
  ['C4 another loopback address', {}, '10.0.0.2', '127.0.0.1:8080', 'ADDRESS_MISMATCH'],
  ['C5 hostname of another service', {}, '10.0.0.2', 'other:80', 'UNKNOWN_HOSTNAME'],
  ['C5 unknown hostname', {}, '10.0.0.2', 'nobody.example:80', 'UNKNOWN_HOSTNAME'],
  ['C5 port the service does not have', {}, '10.0.0.2', `${host}:81`, 'UNKNOWN_HOSTNAME'],
];
for (const [name, setting, to, authority, expected] of vectors) {
  test(`16.2 ${name}`, () => assert.equal(show(plan(setting, to, authority)), expected));
}

test('C1: only CONNECT', () => {
  for (const method of ['GET', 'POST', 'connect', '']) {
    assert.equal(show(plan({}, '10.0.0.2', '10.0.0.2:8080', method)), 'BAD_METHOD');
  }
});

test('C2: an authority that is not ip:port or host:port is refused', () => {
  const bad = [
    '',
    '10.0.0.2',
    '10.0.0.2:',
    '10.0.0.2:0',
    '10.0.0.2:65536',
    'user@10.0.0.2:80',
    '10.0.0.2:80/path',
    '10.0.0.2 :80',
    '[fe80::1%eth0]:80',
    `${'a'.repeat(256)}:80`,
    '10.0.0.2:+80',
    '10.0.0.02:80',
  ];
  for (const authority of bad) {
    assert.equal(show(plan({}, '10.0.0.2', authority)), 'BAD_AUTHORITY', authority);
  }
});

test('the service for labels: the forwarded host if it is ours, else by port', () => {
  const byPort = plan({}, '10.0.0.2', '10.0.0.2:8080');
  assert.equal(byPort.do === 'admit' && byPort.service?.hostname, host);
  const noPort = plan({}, '10.0.0.2', '10.0.0.2:9999');
  assert.equal(noPort.do === 'admit' && noPort.service, undefined);
});
