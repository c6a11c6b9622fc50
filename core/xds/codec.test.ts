// Wire → model → wire (ztunnel-protocol.md 6.2, 6.3, 5.4): what is refused names its field.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { anyPolicy, anyService, anyWorkload } from '../model/testkit.ts';
import { encode } from '../rpc/index.ts';
import {
  decodeAddress,
  decodeAuthorization,
  encodePolicy,
  encodeService,
  encodeWorkload,
} from './index.ts';

describe('decode ∘ encode is the identity', () => {
  test('workloads', () => {
    fc.assert(
      fc.property(anyWorkload, (workload) => {
        const back = decodeAddress(encodeWorkload(workload));
        assert.deepEqual(back, { ok: true, value: { kind: 'workload', workload } });
      }),
    );
  });
  test('services', () => {
    fc.assert(
      fc.property(anyService, (service) => {
        const back = decodeAddress(encodeService(service));
        assert.deepEqual(back, { ok: true, value: { kind: 'service', service } });
      }),
    );
  });
  test('policies', () => {
    fc.assert(
      fc.property(anyPolicy, (p) => {
        assert.deepEqual(decodeAuthorization(p.key, encodePolicy(p)), { ok: true, value: p });
      }),
    );
  });
  test('the same workload gives the same bytes, whatever order its services came in', () => {
    fc.assert(
      fc.property(anyWorkload, (w) => {
        const turned = { ...w, services: new Map([...w.services].toReversed()) };
        assert.deepEqual(encodeWorkload(turned), encodeWorkload(w));
      }),
    );
  });
});

describe('defaults of absent fields', () => {
  test('workload', () => {
    const r = decodeAddress(encode('istio.workload.Address', { workload: { uid: 'u' } }));
    assert.ok(r.ok && r.value.kind === 'workload');
    const { trustDomain, serviceAccount, clusterId, capacity, protocol, status } = r.value.workload;
    assert.deepEqual(
      { trustDomain, serviceAccount, clusterId, capacity, protocol, status },
      {
        trustDomain: 'cluster.local',
        serviceAccount: 'default',
        clusterId: 'Kubernetes',
        capacity: 1,
        protocol: 'TCP',
        status: 'Healthy',
      },
    );
  });
  test('a full-length prefix is a host VIP, a shorter one a block', () => {
    const address = new Uint8Array([10, 1, 2, 3]);
    const r = decodeAddress(
      encode('istio.workload.Address', {
        service: {
          hostname: 'h',
          addresses: [{ address }, { address, length: 32 }, { address, length: 8 }],
        },
      }),
    );
    assert.ok(r.ok && r.value.kind === 'service');
    assert.deepEqual(
      r.value.service.vips.map((v) => v.ip),
      ['10.1.2.3', '10.1.2.3'],
    );
    assert.deepEqual(
      r.value.service.cidrVips.map((v) => v.cidr.bits),
      [8],
    );
  });
  test('an unknown visibility is public, an unknown workload type a deployment', () => {
    const s = decodeAddress(
      encode('istio.workload.Address', { service: { hostname: 'h', visibility: 9 as 0 } }),
    );
    assert.ok(s.ok && s.value.kind === 'service' && s.value.service.visibility === 'Public');
    const w = decodeAddress(
      encode('istio.workload.Address', { workload: { uid: 'u', workloadType: 9 as 0 } }),
    );
    assert.ok(
      w.ok && w.value.kind === 'workload' && w.value.workload.workloadType === 'deployment',
    );
  });
});

type Address = Parameters<typeof encode<'istio.workload.Address'>>[1];
type Authorization = Parameters<typeof encode<'istio.security.Authorization'>>[1];

describe('6.2 conversion errors', () => {
  const v4 = new Uint8Array(4);
  const bad = 9 as 0;
  const rows: readonly [string, Address, string][] = [
    ['LEGACY_ISTIO_MTLS', { workload: { uid: 'u', tunnelProtocol: 2 } }, 'tunnel_protocol'],
    ['unknown tunnel protocol', { workload: { uid: 'u', tunnelProtocol: bad } }, 'tunnel_protocol'],
    ['unknown network mode', { workload: { uid: 'u', networkMode: bad } }, 'network_mode'],
    ['unknown status', { workload: { uid: 'u', status: bad } }, 'status'],
    [
      'unknown application tunnel',
      { workload: { uid: 'u', applicationTunnel: { protocol: bad } } },
      'application_tunnel.protocol',
    ],
    [
      'K12 address of 3 bytes',
      { workload: { uid: 'u', addresses: [v4, new Uint8Array(3)] } },
      'addresses[1]',
    ],
    [
      'services key without a slash',
      { workload: { uid: 'u', services: { nope: {} } } },
      'services[nope]',
    ],
    [
      'services key with two slashes',
      { workload: { uid: 'u', services: { 'a/b/c': {} } } },
      'services[a/b/c]',
    ],
    ['gateway without destination', { workload: { uid: 'u', waypoint: {} } }, 'waypoint'],
    [
      'network gateway with a short address',
      { workload: { uid: 'u', networkGateway: { address: { address: new Uint8Array(5) } } } },
      'network_gateway',
    ],
    ['no uid', { workload: { name: 'x' } }, 'uid'],
    [
      'unknown LB mode',
      { service: { hostname: 'h', loadBalancing: { mode: bad } } },
      'load_balancing.mode',
    ],
    [
      'unknown health policy',
      { service: { hostname: 'h', loadBalancing: { healthPolicy: bad } } },
      'load_balancing.health_policy',
    ],
    [
      'unspecified scope',
      { service: { hostname: 'h', loadBalancing: { routingPreference: [1, 0] } } },
      'load_balancing.routing_preference[1]',
    ],
    [
      'unknown scope',
      { service: { hostname: 'h', loadBalancing: { routingPreference: [bad] } } },
      'load_balancing.routing_preference[0]',
    ],
    ['unknown ip_families', { service: { hostname: 'h', ipFamilies: bad } }, 'ip_families'],
    [
      'VIP of 5 bytes',
      { service: { hostname: 'h', addresses: [{ address: new Uint8Array(5) }] } },
      'addresses[0]',
    ],
    [
      'bad CIDR length',
      { service: { hostname: 'h', addresses: [{ address: v4, length: 33 }] } },
      'addresses[0].length',
    ],
    [
      'weighted waypoint without destination',
      { service: { hostname: 'h', weightedWaypoints: [{ weight: 1 }] } },
      'weighted_waypoints[0]',
    ],
    ['no hostname', { service: { name: 's' } }, 'hostname'],
    ['neither workload nor service', {}, ''],
  ];
  for (const [what, message, path] of rows) {
    test(`${what}: refused at ${JSON.stringify(path)}`, () => {
      const r = decodeAddress(encode('istio.workload.Address', message));
      assert.ok(!r.ok);
      assert.deepEqual(
        r.faults.map((f) => f.path),
        [path],
      );
    });
  }

  test('all faults of one resource are told', () => {
    const r = decodeAddress(
      encode('istio.workload.Address', { workload: { tunnelProtocol: 2, status: bad } }),
    );
    assert.ok(!r.ok);
    assert.deepEqual(
      r.faults.map((f) => f.path),
      ['uid', 'tunnel_protocol', 'status'],
    );
  });
});

describe('5.4 policies that would widen', () => {
  const rule = (m: object): Authorization => ({
    name: 'p',
    namespace: 'n',
    rules: [{ clauses: [{ matches: [m] }] }],
  });
  const at = 'rules[0].clauses[0].matches[0]';
  const rows: readonly [string, Authorization, string][] = [
    ['P4 unknown action', { name: 'p', action: 9 as 0 }, 'action'],
    ['P4 unknown scope', { name: 'p', scope: 9 as 0 }, 'scope'],
    ['P4 string match of an unknown kind', rule({ principals: [{}] }), `${at}.principals[0]`],
    [
      'P5 block with a short address',
      rule({ sourceIps: [{ address: new Uint8Array(3), length: 8 }] }),
      `${at}.source_ips[0]`,
    ],
    [
      'P5 block with a long prefix',
      rule({ notDestinationIps: [{ address: new Uint8Array(4), length: 33 }] }),
      `${at}.not_destination_ips[0]`,
    ],
    ['port over 65535', rule({ destinationPorts: [80, 65_616] }), `${at}.destination_ports[1]`],
  ];
  for (const [what, message, path] of rows) {
    test(`${what}: refused at ${path}`, () => {
      const r = decodeAuthorization('n/p', encode('istio.security.Authorization', message));
      assert.ok(!r.ok);
      assert.deepEqual(
        r.faults.map((f) => f.path),
        [path],
      );
    });
  }

  test('bytes that are no message are a fault, never a throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        decodeAddress(bytes);
        decodeAuthorization('n/p', bytes);
      }),
    );
    assert.ok(!decodeAddress(new Uint8Array([0xff, 0xff, 0xff])).ok);
  });
});
