// The conformance vectors of ztunnel-protocol.md 16.1: state, dial → protocol, TCP destination, authority.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIpPort, printIpPort, seededRandom } from '../../core/base/index.ts';
import { type Batch, podUid, type SpiffeId } from '../../core/model/index.ts';
import { byAddress, byHost, mesh, of, service, workload } from '../testkit.ts';
import { type OutboundPlan, planOutbound } from './plan.ts';

const source = workload('source', ['127.0.0.1', '::1']);

function plan(batch: Batch, dial: string, seed = 1): OutboundPlan {
  const to = parseIpPort(dial);
  assert.ok(to);
  const view = mesh({ ...batch, workloads: [source, ...(batch.workloads ?? [])] });
  return planOutbound(view, source, to, { network: '', random: seededRandom(seed) });
}

/** `TCP 1.2.3.4:80`, `HBONE 127.0.0.2:15008 127.0.0.2:80`, `DOUBLE …`, `CODE`. */
function show(p: OutboundPlan): string {
  switch (p.do) {
    case 'refuse':
      return p.code;
    case 'pass':
      return `TCP ${printIpPort(p.dial)}`;
    case 'tunnel':
      return `HBONE ${printIpPort(p.dial)} ${p.authority}`;
    case 'double':
      return `DOUBLE ${printIpPort(p.dial)} ${p.authority}`;
    case 'resolve':
      return `RESOLVE ${p.host}:${p.port}`;
  }
}

const hbone = { protocol: 'HBONE' } as const;
const waypoint10 = workload('waypoint', ['127.0.0.10'], hbone);
const dual = workload('dual', ['127.0.0.2', 'ff06::c3'], { ...hbone, services: of('example.com') });
const dualService = (ipFamilies: 'IPv6' | 'Dual') =>
  service('example.com', ['127.0.0.3', '::3'], [[80, 80]], { ipFamilies });
const remoteEndpoint = workload('remote', [], {
  ...hbone,
  network: 'remote',
  networkGateway: byAddress('10.22.1.1', 15009, 'remote'),
  services: of('example.com'),
});
const gatewayPod = workload('gateway', ['10.22.1.1'], { ...hbone, network: 'remote' });
const example = service('example.com', ['127.0.0.3'], [[80, 8080]]);
const network = {
  preferences: ['Network'],
  mode: 'Failover',
  healthPolicy: 'OnlyHealthy',
} as const;
const local = (more = {}) =>
  workload('local', ['127.0.0.2'], { ...hbone, services: of('example.com'), ...more });

const vectors: [string, Batch, string, string][] = [
  [
    'unrelated workload only',
    { workloads: [workload('x', ['127.0.0.2'])] },
    '1.2.3.4:80',
    'TCP 1.2.3.4:80',
  ],
  [
    'workload without tunnel',
    { workloads: [workload('x', ['127.0.0.2'])] },
    '127.0.0.2:80',
    'TCP 127.0.0.2:80',
  ],
  [
    'workload with HBONE',
    { workloads: [workload('x', ['127.0.0.2'], hbone)] },
    '127.0.0.2:80',
    'HBONE 127.0.0.2:15008 127.0.0.2:80',
  ],
  [
    'workload with a waypoint',
    {
      workloads: [
        workload('x', ['127.0.0.2'], { ...hbone, waypoint: byAddress('127.0.0.10') }),
        waypoint10,
      ],
    },
    '127.0.0.2:80',
    'HBONE 127.0.0.10:15008 127.0.0.2:80',
  ],
  [
    'dual-stack workload, waypoint by v4 address',
    {
      workloads: [
        workload('x', ['127.0.0.2', 'ff06::c3'], { ...hbone, waypoint: byAddress('127.0.0.11') }),
        workload('w', ['127.0.0.11'], hbone),
      ],
    },
    '[ff06::c3]:80',
    'HBONE 127.0.0.11:15008 [ff06::c3]:80',
  ],
  [
    'service with a waypoint',
    {
      services: [
        service('example.com', ['127.0.0.3'], [[80, 8080]], { waypoint: byAddress('127.0.0.10') }),
      ],
      workloads: [waypoint10],
    },
    '127.0.0.3:80',
    'HBONE 127.0.0.10:15008 127.0.0.3:80',
  ],
  ['service without endpoints', { services: [example] }, '127.0.0.3:80', 'NO_HEALTHY_UPSTREAM'],
  [
    'the endpoint that maps the port is chosen',
    {
      services: [
        service(
          'example.com',
          ['127.0.0.3'],
          [
            [80, 0],
            [8080, 0],
          ],
        ),
      ],
      workloads: [
        workload('a', ['127.0.0.2'], { services: of(['example.com', [[80, 1234]]]) }),
        workload('b', ['127.0.0.4'], { services: of(['example.com', [[8080, 9999]]]) }),
      ],
    },
    '127.0.0.3:80',
    'TCP 127.0.0.2:1234',
  ],
  [
    'host-network pod through its service',
    {
      services: [service('example.com', ['127.0.0.3'], [[80, 80]])],
      workloads: [
        workload('pod1', ['127.0.0.2'], {
          networkMode: 'HostNetwork',
          services: of('example.com'),
        }),
        workload('pod2', ['127.0.0.2'], { networkMode: 'HostNetwork' }),
      ],
    },
    '127.0.0.3:80',
    'TCP 127.0.0.2:80',
  ],
  [
    'host-network pod by address passes through',
    { workloads: [workload('pod1', ['127.0.0.2'], { networkMode: 'HostNetwork' })] },
    '127.0.0.2:80',
    'TCP 127.0.0.2:80',
  ],
  [
    'IPv6-only service',
    { services: [dualService('IPv6')], workloads: [dual] },
    '127.0.0.3:80',
    'HBONE [ff06::c3]:15008 [ff06::c3]:80',
  ],
  [
    'dual service asked by v4',
    { services: [dualService('Dual')], workloads: [dual] },
    '127.0.0.3:80',
    'HBONE 127.0.0.2:15008 127.0.0.2:80',
  ],
  [
    'dual service asked by v6',
    { services: [dualService('Dual')], workloads: [dual] },
    '[::3]:80',
    'HBONE [ff06::c3]:15008 [ff06::c3]:80',
  ],
  [
    'PASSTHROUGH service',
    {
      services: [
        service('p', ['1.2.3.4'], [[80, 80]], {
          loadBalancing: { ...network, mode: 'Passthrough' },
        }),
      ],
    },
    '1.2.3.4:80',
    'TCP 1.2.3.4:80',
  ],
  [
    'PASSTHROUGH service with a waypoint',
    {
      services: [
        service('p', ['1.2.3.4'], [[80, 80]], {
          loadBalancing: { ...network, mode: 'Passthrough' },
          waypoint: byAddress('127.0.0.10'),
        }),
      ],
      workloads: [waypoint10],
    },
    '1.2.3.4:80',
    'HBONE 127.0.0.10:15008 1.2.3.4:80',
  ],
  [
    'only endpoint in another network, no gateway',
    {
      services: [example],
      workloads: [
        workload('r', ['10.0.0.9'], { ...hbone, network: 'remote', services: of('example.com') }),
      ],
    },
    '127.0.0.3:80',
    'NO_ROUTABLE_ADDRESS',
  ],
  [
    'endpoint behind a gateway by address',
    { services: [example], workloads: [remoteEndpoint, gatewayPod] },
    '127.0.0.3:80',
    'DOUBLE 10.22.1.1:15009 example.com:80',
  ],
  [
    'gateway by hostname, target port mapped',
    {
      services: [example, service('ew-gtw', [], [[15009, 15009]])],
      workloads: [
        { ...remoteEndpoint, networkGateway: byHost('ew-gtw', 15009) },
        workload('gw', ['127.0.0.5'], { ...hbone, services: of(['ew-gtw', [[15009, 15008]]]) }),
      ],
    },
    '127.0.0.3:80',
    'DOUBLE 127.0.0.5:15008 example.com:80',
  ],
  [
    'waypoint whose only pod is behind a gateway',
    {
      services: [
        { ...example, waypoint: byHost('waypoint.com') },
        service('waypoint.com', [], [[15008, 15008]]),
      ],
      workloads: [{ ...remoteEndpoint, services: of('waypoint.com') }, gatewayPod],
    },
    '127.0.0.3:80',
    'DOUBLE 10.22.1.1:15009 example.com:80',
  ],
  [
    'FAILOVER [NETWORK] with a local endpoint',
    {
      services: [{ ...example, loadBalancing: network }],
      workloads: [local(), remoteEndpoint, gatewayPod],
    },
    '127.0.0.3:80',
    'HBONE 127.0.0.2:15008 127.0.0.2:8080',
  ],
  [
    'FAILOVER [NETWORK], the local endpoint unhealthy',
    {
      services: [{ ...example, loadBalancing: network }],
      workloads: [local({ status: 'Unhealthy' }), remoteEndpoint, gatewayPod],
    },
    '127.0.0.3:80',
    'DOUBLE 10.22.1.1:15009 example.com:80',
  ],
  [
    'a waypoint that cannot be resolved fails closed',
    { services: [{ ...example, waypoint: byHost('nobody') }], workloads: [local()] },
    '127.0.0.3:80',
    'UNKNOWN_WAYPOINT',
  ],
  [
    'an own port on loopback',
    { workloads: [workload('x', ['127.0.0.2'], hbone)] },
    '127.0.0.2:15008',
    'RECURSIVE_CALL',
  ],
  [
    'an endpoint known by name only',
    {
      services: [example],
      workloads: [workload('n', [], { hostname: 'db.example', services: of('example.com') })],
    },
    '127.0.0.3:80',
    'RESOLVE db.example:8080',
  ],
];

for (const [name, batch, dial, expected] of vectors) {
  test(`16.1 ${name}`, () => assert.equal(show(plan(batch, dial)), expected));
}

test('16.1 weighted waypoints: by weight, and all zero falls back to the plain one', () => {
  const weighted = (a: number, b: number): Batch => ({
    services: [
      {
        ...example,
        waypoint: byAddress('127.0.0.10'),
        weightedWaypoints: [
          { destination: byAddress('127.0.0.10'), weight: a },
          { destination: byAddress('127.0.0.11'), weight: b },
        ],
      },
    ],
    workloads: [waypoint10, workload('w2', ['127.0.0.11'], hbone)],
  });
  assert.match(show(plan(weighted(100, 0), '127.0.0.3:80')), /^HBONE 127\.0\.0\.10:/);
  assert.match(show(plan(weighted(0, 100), '127.0.0.3:80')), /^HBONE 127\.0\.0\.11:/);
  assert.match(show(plan(weighted(0, 0), '127.0.0.3:80')), /^HBONE 127\.0\.0\.10:/);
});

test('expected identities: the workload’s own and the service’s SPIFFE names, others dropped', () => {
  const san = 'spiffe://cluster.local/ns/x/sa/y';
  const p = plan(
    { services: [{ ...example, subjectAltNames: [san, 'db.example', ''] }], workloads: [local()] },
    '127.0.0.3:80',
  );
  assert.ok(p.do === 'tunnel');
  assert.deepEqual(p.expect, [san, 'spiffe://cluster.local/ns/ns/sa/default'] as SpiffeId[]);
});

test('a waypoint calls its own workload directly', () => {
  const gateway = byHost('waypoint.com');
  const view = mesh({
    services: [service('waypoint.com', [], [[15008, 15008]])],
    workloads: [
      { ...source, services: of('waypoint.com') },
      workload('x', ['127.0.0.2'], { ...hbone, waypoint: gateway }),
    ],
  });
  const to = parseIpPort('127.0.0.2:80');
  assert.ok(to);
  const p = planOutbound(view, source, to, { network: '', random: seededRandom(1) });
  assert.equal(show(p), 'HBONE 127.0.0.2:15008 127.0.0.2:80');
});

test('an endpoint that just failed is left out', () => {
  const view = mesh({
    services: [example],
    workloads: [
      source,
      local(),
      workload('other', ['127.0.0.4'], { ...hbone, services: of('example.com') }),
    ],
  });
  const to = parseIpPort('127.0.0.3:80');
  assert.ok(to);
  for (let seed = 0; seed < 10; seed++) {
    const except = new Set([local().uid]);
    const p = planOutbound(view, source, to, { network: '', random: seededRandom(seed), except });
    assert.equal(show(p), 'HBONE 127.0.0.4:15008 127.0.0.4:8080');
  }
});

const passthrough = service('outside.example', ['127.0.0.9'], [[443, 443]], {
  loadBalancing: { preferences: [], mode: 'Passthrough', healthPolicy: 'AllowAll' },
});
const egress: [string, string, Batch, [string, string, string]][] = [
  [
    'an address nothing claims',
    '1.2.3.4:443',
    {},
    ['TCP 1.2.3.4:443', 'TCP 1.2.3.4:443 unregistered', 'EGRESS_NOT_REGISTERED'],
  ],
  [
    'an entry that claims it',
    '127.0.0.9:443',
    { services: [passthrough] },
    ['TCP 127.0.0.9:443', 'TCP 127.0.0.9:443', 'TCP 127.0.0.9:443'],
  ],
  [
    'a workload without tunnel',
    '127.0.0.2:80',
    { workloads: [workload('x', ['127.0.0.2'])] },
    ['TCP 127.0.0.2:80', 'TCP 127.0.0.2:80', 'TCP 127.0.0.2:80'],
  ],
];
for (const [what, dial, batch, outcomes] of egress) {
  for (const [i, mode] of (['ALLOW_ANY', 'LOG_ONLY', 'REGISTRY_ONLY'] as const).entries()) {
    test(`M20 egress ${mode}, ${what}: ${outcomes[i]}`, () => {
      const to = parseIpPort(dial);
      assert.ok(to);
      const view = mesh({ ...batch, workloads: [source, ...(batch.workloads ?? [])] });
      const made = planOutbound(view, source, to, {
        network: '',
        random: seededRandom(1),
        egress: mode,
      });
      const told = made.do === 'pass' && made.unregistered && mode === 'LOG_ONLY';
      assert.equal(`${show(made)}${told ? ' unregistered' : ''}`, outcomes[i]);
    });
  }
}

const twin = (name: string, more = {}) =>
  workload(name, ['127.0.0.2'], {
    ...hbone,
    uid: podUid('Kubernetes', 'ns', name),
    serviceAccount: name,
    ...more,
  });
const collisions: [string, Batch, string][] = [
  ['two ready pods', { workloads: [twin('x'), twin('y')] }, 'ADDRESS_CONTESTED'],
  [
    'one of them outside the mesh',
    { workloads: [twin('x'), twin('y', { protocol: 'TCP' })] },
    'ADDRESS_CONTESTED',
  ],
  [
    'the former one is going',
    { workloads: [twin('x', { status: 'Unhealthy' }), twin('y')] },
    'HBONE 127.0.0.2:15008 127.0.0.2:80',
  ],
  [
    'the same identity',
    { workloads: [twin('x', { serviceAccount: 's' }), twin('y', { serviceAccount: 's' })] },
    'HBONE 127.0.0.2:15008 127.0.0.2:80',
  ],
  [
    'one of them on the host network',
    { workloads: [twin('x'), twin('y', { networkMode: 'HostNetwork' })] },
    'HBONE 127.0.0.2:15008 127.0.0.2:80',
  ],
];
for (const [what, batch, want] of collisions) {
  test(`K12 two workloads with one address, ${what}: ${want}`, () => {
    assert.equal(show(plan(batch, '127.0.0.2:80')), want);
    const turned = { workloads: batch.workloads?.toReversed() ?? [] };
    assert.equal(show(plan(turned, '127.0.0.2:80')), want, 'in the other order');
  });
}
