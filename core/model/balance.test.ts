// Load balancing 3.5, target port 3.6, picking the IP 3.7 of ztunnel-protocol.md.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { seededRandom } from '../base/index.ts';
import {
  type BalanceScope,
  type GatewayAddress,
  type LoadBalancing,
  localityRank,
  MeshState,
  pickAddress,
  pickEndpoint,
  type Service,
  serviceKey,
  targetPort,
  type Workload,
} from './index.ts';
import { ip, member, service, workload } from './testkit.ts';

const gateway: GatewayAddress = {
  kind: 'address',
  network: 'n2',
  ip: ip('10.22.1.1'),
  hboneMtlsPort: 15_008,
};
const at = (region: string, zone: string, network = ''): Partial<Workload> => ({
  locality: { region, zone, subzone: '' },
  network,
});
const from = workload('a/client', ['10.0.0.1'], at('r1', 'z1'));
const endpoint = (name: string, more: Partial<Workload> = {}): Workload =>
  workload(`a/${name}`, [`10.1.0.${name.charCodeAt(0)}`], {
    services: new Map([member('a/s')]),
    ...more,
  });

/** The set of endpoints that can be chosen. */
function chosen(s: Service, endpoints: Workload[], options = {}, servicePort = 80): string {
  const mesh = new MeshState();
  mesh.apply({ services: [s], workloads: endpoints });
  const random = seededRandom(5);
  const names = new Set<string>();
  for (let i = 0; i < 200; i++) {
    names.add(pickEndpoint(mesh, s, servicePort, from, random, options)?.workload.name ?? '-');
  }
  return [...names].toSorted().join('');
}

describe('3.5 rank', () => {
  const order: readonly BalanceScope[] = ['Network', 'Region', 'Zone'];
  const rows: readonly [string, readonly BalanceScope[], Partial<Workload>, number][] = [
    ['all three', order, at('r1', 'z1'), 5],
    ['network and region', order, at('r1', 'z2'), 4],
    ['network', order, at('r2', 'z1'), 3],
    ['remote region and zone', order, at('r1', 'z1', 'n2'), 2],
    ['remote region', order, at('r1', 'z2', 'n2'), 1],
    ['nothing', order, at('r2', 'z1', 'n2'), 0],
    ['the first mismatch stops counting', ['Region', 'Zone'], at('r2', 'z1'), 0],
    [
      'network later in the list is an ordinary one',
      ['Region', 'Network', 'Zone'],
      at('r1', 'z1', 'n2'),
      1,
    ],
    ['two empty subzones are equal', ['Subzone'], at('', ''), 1],
    ['node', ['Node'], { node: 'n2' }, 0],
    ['cluster', ['Cluster'], { clusterId: 'other' }, 0],
  ];
  for (const [what, preferences, more, rank] of rows) {
    test(`${what} = ${rank}`, () => {
      assert.equal(localityRank(preferences, from, endpoint('x', more)), rank);
    });
  }
});

describe('3.5 candidates and modes', () => {
  const s = service('a/s', ['10.9.0.1']);
  const balanced = (
    mode: LoadBalancing['mode'],
    preferences: BalanceScope[],
    healthPolicy: LoadBalancing['healthPolicy'] = 'OnlyHealthy',
  ) => service('a/s', ['10.9.0.1'], { loadBalancing: { mode, preferences, healthPolicy } });
  const near = endpoint('n', at('r1', 'z1'));
  const mid = endpoint('m', at('r1', 'z2'));
  const far = endpoint('f', at('r2', 'z9'));
  const remote = { network: 'n2', addresses: [], networkGateway: gateway };
  const zero = service('a/s', [], {
    ports: [{ servicePort: 80, targetPort: 0, appProtocol: 'TCP' }],
  });
  const noPorts = new Map([member('a/s', [])]);

  const rows: readonly [string, Service, Workload[], string, object?, number?][] = [
    ['Standard: all candidates', s, [near, mid, far], 'fmn'],
    ['STRICT: all preferences must match', balanced('Strict', ['Region']), [near, mid, far], 'mn'],
    [
      'STRICT: none matches, no upstream',
      balanced('Strict', ['Node']),
      [endpoint('x', { node: 'n2' })],
      '-',
    ],
    ['FAILOVER: the highest rank', balanced('Failover', ['Region', 'Zone']), [near, mid, far], 'n'],
    [
      'FAILOVER: the next rank when that is empty',
      balanced('Failover', ['Region', 'Zone']),
      [mid, far],
      'm',
    ],
    [
      'FAILOVER: nothing matches, everything ties',
      balanced('Failover', ['Node']),
      [endpoint('x', { node: 'n8' }), endpoint('y', { node: 'n9' })],
      'xy',
    ],
    [
      'Z38 unhealthy ones are not candidates',
      s,
      [near, endpoint('u', { status: 'Unhealthy' })],
      'n',
    ],
    ['Z38 no fallback to unhealthy ones', s, [endpoint('u', { status: 'Unhealthy' })], '-'],
    [
      'Z38 unless the service asks for all',
      balanced('Standard', [], 'AllowAll'),
      [endpoint('u', { status: 'Unhealthy' })],
      'u',
    ],
    ['no address and no hostname', s, [endpoint('x', { addresses: [] })], '-'],
    ['no address, but a hostname', s, [endpoint('x', { addresses: [], hostname: 'h' })], 'x'],
    ['no address, another network, a gateway', s, [endpoint('x', remote)], 'x'],
    [
      'no address, another network, no gateway',
      s,
      [endpoint('x', { addresses: [], network: 'n2' })],
      '-',
    ],
    [
      'no address, our own network, a gateway',
      s,
      [endpoint('x', { addresses: [], networkGateway: gateway })],
      '-',
    ],
    ['the service does not list the port', s, [near], '-', {}, 81],
    [
      'target port 0: the endpoint must map it',
      zero,
      [endpoint('x', { services: noPorts }), near],
      'n',
    ],
    [
      'target port 0: an application tunnel is no mapping',
      zero,
      [
        endpoint('x', {
          services: noPorts,
          applicationTunnel: { protocol: 'PROXY', port: 15_088 },
        }),
      ],
      '-',
    ],
    [
      'waypoint: an application tunnel stands for the port',
      s,
      [endpoint('x', { applicationTunnel: { protocol: 'PROXY', port: 15_088 } })],
      'x',
      { waypoint: true },
      15_008,
    ],
    ['waypoint: neither port nor tunnel', s, [near], '-', { waypoint: true }, 15_008],
    ['capacity 0 is never chosen', s, [near, endpoint('z', { capacity: 0 })], 'n'],
    ['all capacities 0', s, [endpoint('z', { capacity: 0 })], '-'],
    [
      'one that just failed is left out',
      s,
      [near, mid],
      'm',
      { except: new Set(['Kubernetes//Pod/a/n']) },
    ],
  ];
  for (const [what, svc, endpoints, want, options, port] of rows) {
    test(what, () => assert.equal(chosen(svc, endpoints, options ?? {}, port ?? 80), want));
  }

  test('Z4 capacity is a weight', () => {
    const mesh = new MeshState();
    mesh.apply({
      services: [s],
      workloads: [endpoint('a', { capacity: 1 }), endpoint('b', { capacity: 9 })],
    });
    const random = seededRandom(1);
    let heavy = 0;
    for (let i = 0; i < 2000; i++) {
      if (pickEndpoint(mesh, s, 80, from, random)?.workload.name === 'b') heavy++;
    }
    assert.ok(heavy > 1700 && heavy < 1900);
  });
});

describe('3.6 target port', () => {
  const tunnel = { applicationTunnel: { protocol: 'PROXY' as const, port: 15_088 } };
  const rows: readonly [
    string,
    [number, number][],
    number,
    Partial<Workload>,
    number | undefined,
  ][] = [
    ['the endpoint’s own mapping', [[80, 1234]], 8080, {}, 1234],
    ['else the service’s', [], 8080, {}, 8080],
    ['else the service port, with an application tunnel', [], 0, tunnel, 80],
    [
      'an application tunnel without a port does not help',
      [],
      0,
      { applicationTunnel: { protocol: 'NONE', port: 0 } },
      undefined,
    ],
    ['else nothing', [], 0, {}, undefined],
    ['a mapping of another port is none', [[81, 1]], 0, {}, undefined],
  ];
  for (const [what, ports, target, more, want] of rows) {
    test(what, () => {
      const s = service('a/s', [], {
        ports: [{ servicePort: 80, targetPort: target, appProtocol: 'TCP' }],
      });
      assert.equal(targetPort(s, 80, { ports: new Map(ports) }, endpoint('x', more)), want);
    });
  }
});

describe('3.7 picking the IP', () => {
  const families = (ipFamilies: Service['ipFamilies']) => service('a/s', [], { ipFamilies });
  const both = ['10.0.0.2', 'ff06::c3'];
  const rows: readonly [string, string[], Service | undefined, string, string | undefined][] = [
    ['the original destination, if it is one of its own', both, undefined, 'ff06::c3', 'ff06::c3'],
    ['… even against the family of the service', both, families('IPv4'), 'ff06::c3', 'ff06::c3'],
    ['same family as asked for: v4', both, families('Dual'), '10.9.9.9', '10.0.0.2'],
    ['same family as asked for: v6', both, families('Dual'), '::3', 'ff06::c3'],
    ['IPV6_ONLY beats the asked family', both, families('IPv6'), '10.9.9.9', 'ff06::c3'],
    ['IPV4_ONLY beats the asked family', both, families('IPv4'), '::3', '10.0.0.2'],
    ['else the first allowed', ['ff06::c3'], families('Automatic'), '10.9.9.9', 'ff06::c3'],
    ['none allowed', ['ff06::c3'], families('IPv4'), '10.9.9.9', undefined],
    ['no address at all', [], undefined, '10.9.9.9', undefined],
  ];
  for (const [what, addresses, svc, wanted, want] of rows) {
    test(what, () => assert.equal(pickAddress(workload('a/w', addresses), svc, ip(wanted)), want));
  }
});

test('3.5 what is remembered is what a fresh mesh says, after any changes, with the same chance', () => {
  const place = fc.record({
    zone: fc.constantFrom('z1', 'z2'),
    network: fc.constantFrom('', 'n2'),
    capacity: fc.nat(3),
    healthy: fc.boolean(),
  });
  const modes = fc.constantFrom<LoadBalancing['mode']>('Standard', 'Failover', 'Strict');
  const name = fc.constantFrom('p', 'q', 'r', 't', 'u');
  const step = fc.oneof(
    fc.tuple(fc.constant('put'), name, place),
    fc.tuple(fc.constant('drop'), name, fc.constant(undefined)),
  );
  fc.assert(
    fc.property(modes, fc.array(step, { maxLength: 12 }), fc.nat(), (mode, steps, seed) => {
      const s = service('a/s', ['10.9.0.1'], {
        loadBalancing: { mode, preferences: ['Region', 'Zone'], healthPolicy: 'OnlyHealthy' },
      });
      const mesh = new MeshState();
      mesh.apply({ services: [s] });
      const present = new Map<string, Workload>();
      for (const [, n, more] of steps) {
        present.delete(n);
        const { uid } = endpoint(n);
        if (more) {
          const { zone, network, capacity, healthy } = more;
          const status = healthy ? 'Healthy' : 'Unhealthy';
          present.set(n, endpoint(n, { ...at('r1', zone, network), capacity, status }));
        }
        const w = present.get(n);
        mesh.apply(w ? { workloads: [w] } : { removed: { addresses: [uid] } });
        const fresh = new MeshState();
        fresh.apply({ services: [{ ...s }], workloads: [...present.values()] });
        const own = fresh.service(serviceKey(s)) ?? s;
        const [a, b] = [seededRandom(seed), seededRandom(seed)];
        for (let i = 0; i < 5; i++) {
          const got = pickEndpoint(mesh, s, 80, from, a)?.workload;
          const list = [...present.values()];
          const expected = pickEndpoint(fresh, own, 80, from, b)?.workload;
          assert.equal(got === undefined, expected === undefined);
          if (!got) continue;
          assert.ok(list.includes(got) && got.capacity > 0 && got.status === 'Healthy');
          // Without preferences the draw depends on the order in which they came.
          if (mode !== 'Standard') assert.equal(got.locality.zone, expected?.locality.zone);
        }
      }
    }),
  );
});
