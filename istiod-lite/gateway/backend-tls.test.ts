// BackendTLSPolicy: what gateways and waypoints are told, and what its status says (Gateway API; waypoint-l7.md 5.1, 11).
// Rows of conformance carry the upstream tests' names.
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { createCa } from '../../certs/index.ts';
import type { KubeObject } from '../../core/kube/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import { backendTlsStatus } from './backend-tls-status.ts';
import type { World } from './binding.ts';
import { serviceConfigs } from './service-config.ts';
import { sendersIn } from './policy-ancestors.ts';
import { testSettings as settings, worldOf } from './testkit.ts';

const now = '2026-01-01T00:00:00Z';
const object = (kind: string, name: string, more: object, meta: object = {}): KubeObject => ({
  kind,
  metadata: { name, namespace: 'shop', uid: `uid-${name}`, generation: 3, ...meta },
  ...more,
});
const klass = (name: string, controller: string): KubeObject => ({
  kind: 'GatewayClass',
  metadata: { name },
  spec: { controllerName: `istio.io/${controller}` },
});
const useWaypoint = { labels: { 'istio.io/use-waypoint': 'waypoint' } };
const ports = [
  { name: 'http', port: 80 },
  { name: 'https', port: 443 },
];
const base: KubeObject[] = [
  { kind: 'Namespace', metadata: { name: 'shop' } },
  klass('istio', 'gateway-controller'),
  klass('istio-waypoint', 'mesh-controller'),
  object('Gateway', 'edge', {
    spec: {
      gatewayClassName: 'istio',
      listeners: [{ name: 'http', port: 80, protocol: 'HTTP' }],
    },
  }),
  object('Gateway', 'waypoint', {
    spec: {
      gatewayClassName: 'istio-waypoint',
      listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
    },
    status: { addresses: [{ type: 'Hostname', value: 'waypoint.shop.svc.cluster.local' }] },
  }),
  object('Service', 'web', { spec: { clusterIP: '10.0.0.1', ports } }),
  object('Service', 'bare', { spec: { clusterIP: '10.0.0.2', ports } }),
  object('Service', 'mine', { spec: { clusterIP: '10.0.0.3', ports } }, useWaypoint),
  object(
    'ServiceEntry',
    'api',
    {
      spec: {
        hosts: ['api.example.com'],
        location: 'MESH_EXTERNAL',
        resolution: 'DNS',
        ports: [{ number: 80, name: 'http', protocol: 'HTTP', targetPort: 443 }],
      },
    },
    useWaypoint,
  ),
  object('HTTPRoute', 'r', {
    spec: {
      parentRefs: [{ name: 'edge' }],
      rules: [
        { backendRefs: [{ name: 'web', port: 80 }] },
        { backendRefs: [{ name: 'web', port: 443 }] },
      ],
    },
  }),
];

const service = (name = 'web', sectionName?: string): object => ({
  group: '',
  kind: 'Service',
  name,
  ...(sectionName !== undefined && { sectionName }),
});
const entry = { group: 'networking.istio.io', kind: 'ServiceEntry', name: 'api' };
const roots = { caCertificateRefs: [{ group: '', kind: 'ConfigMap', name: 'roots' }] };
const policy = (
  validation: object,
  targetRefs: readonly object[] = [service()],
  meta: object = {},
  more: object = {},
): KubeObject =>
  object(
    'BackendTLSPolicy',
    'p',
    { spec: { targetRefs, validation: { hostname: 'web.example.com', ...validation }, ...more } },
    meta,
  );
const system = { wellKnownCACertificates: 'System' };

let pem = '';
const rootsMap = (text = pem, key = 'ca.crt'): KubeObject =>
  object('ConfigMap', 'roots', { data: { [key]: text } });
before(async () => {
  const ca = await createCa({ trustDomain: 'cluster.local', clock: systemClock });
  ({ rootPem: pem } = await ca.signServer({ dns: ['a'], ips: [], ttlSeconds: 3600 }));
});

const world = (...more: readonly KubeObject[]): World => worldOf(settings, [...base, ...more]);
function tlsOf(w: World, resource: string, host: string, port = 80) {
  const config = serviceConfigs(w).find((c) => c.name === resource)?.config;
  assert.ok(config, resource);
  return config.clusters?.find((c) => c.hostname === host && c.port === port)?.traffic?.tls;
}
const web = 'web.shop.svc.cluster.local';
const atEdge = (w: World, port = 80) =>
  tlsOf(w, 'shop/edge-istio.shop.svc.cluster.local', web, port);

interface Ancestor {
  readonly ancestorRef: { readonly kind: string; readonly name: string };
  readonly controllerName: string;
  readonly conditions: readonly {
    readonly type: string;
    readonly status: string;
    readonly reason: string;
    readonly observedGeneration: number;
  }[];
}
function statusOf(w: World, key = 'shop/p' as const): Ancestor[] | undefined {
  const p = w.gateways.backendTls.get(key);
  assert.ok(p);
  const made = backendTlsStatus(w, p, sendersIn(serviceConfigs(w)), now);
  return (made as { ancestors: Ancestor[] } | undefined)?.ancestors;
}
/** `Gateway edge: Accepted True Accepted, ResolvedRefs …`. */
const told = (w: World): string[] =>
  (statusOf(w) ?? []).map(
    (a) =>
      `${a.ancestorRef.kind} ${a.ancestorRef.name}: ${a.conditions.map((c) => `${c.type} ${c.status} ${c.reason}`).join(', ')}`,
  );
const fine = 'ResolvedRefs True ResolvedRefs';

describe('where a BackendTLSPolicy holds', () => {
  test('BackendTLSPolicy: at the ingress gateway that routes to its Service, with its roots and name', () => {
    const w = world(policy(roots), rootsMap());
    const tls = atEdge(w);
    assert.deepEqual(
      [tls?.sni, tls?.subjectAltNames, tls?.fault, tls?.roots?.trim()],
      ['web.example.com', [], undefined, pem.trim()],
    );
    assert.deepEqual(atEdge(w, 443), tls);
    assert.deepEqual(told(w), [`Gateway edge: Accepted True Accepted, ${fine}`]);
  });

  test('at the waypoint of a Service and of a ServiceEntry; both Gateways are told as ancestors', () => {
    const w = world(policy(system, [service('mine'), service(), entry]));
    const mine = 'mine.shop.svc.cluster.local';
    for (const [resource, host] of [
      [`shop/${mine}`, mine],
      ['shop/api.example.com', 'api.example.com'],
    ] as const) {
      assert.deepEqual(tlsOf(w, resource, host), {
        sni: 'web.example.com',
        subjectAltNames: [],
        roots: '',
      });
    }
    assert.deepEqual(told(w), [
      `Gateway waypoint: Accepted True Accepted, ${fine}`,
      `Gateway edge: Accepted True Accepted, ${fine}`,
    ]);
  });

  test('where no Gateway sends to it, the target itself is told', () => {
    const w = world(policy(system, [service('bare')]));
    assert.deepEqual(told(w), [`Service bare: Accepted True Accepted, ${fine}`]);
  });

  test('not for a Service of its name in another namespace', () => {
    const w = world(policy(system, [service()], { namespace: 'other' }));
    assert.equal(atEdge(w), undefined);
  });

  test('sectionName: that port alone, and before a policy for the whole, whichever is older', () => {
    const early = { name: 'p', creationTimestamp: '2026-01-01T00:00:00Z' };
    const late = { name: 'q', creationTimestamp: '2026-01-02T00:00:00Z' };
    const whole = { hostname: 'whole.example.com', ...system };
    for (const [one, two] of [
      [early, late],
      [late, early],
    ] as const) {
      const w = world(
        policy(whole, [service()], one),
        policy(system, [service('web', 'https')], two),
      );
      assert.deepEqual(
        [atEdge(w)?.sni, atEdge(w, 443)?.sni],
        ['whole.example.com', 'web.example.com'],
      );
      assert.deepEqual(told(w), [`Gateway edge: Accepted True Accepted, ${fine}`]);
    }
  });

  const rule = (trafficPolicy: object): KubeObject =>
    object('DestinationRule', 'd', { spec: { host: 'web', trafficPolicy } });
  test('a DestinationRule without tls keeps what it says, and gets the policy’s TLS', () => {
    const w = world(policy(system), rule({ loadBalancer: { simple: 'RANDOM' } }));
    assert.equal(atEdge(w)?.sni, 'web.example.com');
    const config = serviceConfigs(w).find((c) => c.gateway === 'shop/edge')?.config;
    assert.equal(config?.clusters?.[0]?.traffic?.balancer, 2);
  });
  test('a DestinationRule with tls holds instead, also one that turns it off', () => {
    const own = world(policy(system), rule({ tls: { mode: 'SIMPLE', sni: 'own.example.com' } }));
    assert.equal(atEdge(own)?.sni, 'own.example.com');
    assert.equal(atEdge(world(policy(system), rule({ tls: { mode: 'DISABLE' } }))), undefined);
  });

  test('BackendTLSPolicyConflictResolution: the older holds, then the first by name; the other is told', () => {
    const late = policy(system, [service()], { creationTimestamp: '2026-01-02T00:00:00Z' });
    const older = policy({ hostname: 'older.example.com', ...system }, [service()], {
      name: 'z',
      creationTimestamp: '2026-01-01T00:00:00Z',
    });
    const w = world(late, older);
    assert.equal(atEdge(w)?.sni, 'older.example.com');
    assert.deepEqual(told(w), [`Gateway edge: Accepted False Conflicted, ${fine}`]);
    const same = world(policy(system), policy(system, [service()], { name: 'a' }));
    assert.deepEqual(told(same), [`Gateway edge: Accepted False Conflicted, ${fine}`]);
  });
});

describe('a BackendTLSPolicy that cannot be carried out', () => {
  const ref = (kind: string, name = 'roots', group = ''): object => ({
    caCertificateRefs: [{ group, kind, name }],
  });
  const noCa = (refs: string): string =>
    `Gateway edge: Accepted False NoValidCACertificate, ResolvedRefs ${refs}`;
  const rows: readonly (readonly [string, () => KubeObject[], string])[] = [
    [
      'BackendTLSPolicyInvalidCACertificateRef: no such ConfigMap',
      () => [policy(ref('ConfigMap', 'none'))],
      noCa('False InvalidCACertificateRef'),
    ],
    [
      'BackendTLSPolicyInvalidCACertificateRef: malformed',
      () => [policy(roots), rootsMap('-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----')],
      noCa('False InvalidCACertificateRef'),
    ],
    [
      'BackendTLSPolicyInvalidCACertificateRef: another key',
      () => [policy(roots), rootsMap(pem, 'root.pem')],
      noCa('False InvalidCACertificateRef'),
    ],
    [
      'one good and one broken certificate',
      () => [policy(roots), rootsMap(`${pem}${pem.replace('MII', 'xII')}`)],
      noCa('False InvalidCACertificateRef'),
    ],
    [
      'BackendTLSPolicyInvalidKind',
      () => [policy(ref('Secret')), rootsMap()],
      noCa('False InvalidKind'),
    ],
    [
      'a ConfigMap of another group',
      () => [policy(ref('ConfigMap', 'roots', 'x.example.com')), rootsMap()],
      noCa('False InvalidKind'),
    ],
    ['neither roots nor System', () => [policy({})], noCa('True ResolvedRefs')],
    ...(
      [
        ['both', { ...roots, ...system }],
        ['another well known set', { wellKnownCACertificates: 'Mozilla' }],
        ['no hostname', { hostname: '', ...system }],
        ['a hostname that is none', { hostname: 'a..b', ...system }],
        ['a wildcard as hostname', { hostname: '*.example.com', ...system }],
        ['a name of no type', { subjectAltNames: [{ hostname: 'a' }], ...system }],
        ['a URI that is none', { subjectAltNames: [{ type: 'URI', uri: '/x' }], ...system }],
        ['K9 of any shape', { subjectAltNames: [7], ...system }],
      ] as const
    ).map(([name, validation]) => {
      const make = (): KubeObject[] => [policy(validation), rootsMap()];
      return [name, make, `Gateway edge: Accepted False Invalid, ${fine}`] as const;
    }),
    [
      'an option that nobody understands',
      () => [policy(system, [service()], {}, { options: { 'example.com/x': 'y' } })],
      `Gateway edge: Accepted False Invalid, ${fine}`,
    ],
  ];
  for (const [name, make, wanted] of rows) {
    test(`${name}: nothing is sent, and it is told`, () => {
      const w = world(...make());
      assert.match(atEdge(w)?.fault ?? '', /^BackendTLSPolicy shop\/p: /);
      assert.deepEqual(told(w), [wanted]);
    });
  }

  const targets: readonly (readonly [string, object])[] = [
    ['no such Service', service('none')],
    ['no such port', service('web', 'grpc')],
    ['no such kind', { group: 'apps', kind: 'Deployment', name: 'web' }],
  ];
  for (const [name, target] of targets) {
    test(`${name}: TargetNotFound`, () => {
      const w = world(policy(system, [target]));
      assert.equal(atEdge(w), undefined);
      const [first] = told(w);
      assert.match(first ?? '', /^(Service|Deployment) \w+: Accepted False TargetNotFound, /);
    });
  }

  test('a ConfigMap that was not read yet: nothing is sent meanwhile', () => {
    const w = world(policy(roots));
    assert.match(atEdge(w)?.fault ?? '', /ConfigMap shop\/roots: not read yet/);
  });
});

describe('the status of a BackendTLSPolicy', () => {
  test('BackendTLSPolicyObservedGenerationBump: follows, and is written only where it differs', () => {
    const first = statusOf(world(policy(system)));
    assert.ok(first);
    const again = { ...policy(system), status: { ancestors: first } };
    assert.equal(statusOf(world(again)), undefined);
    const bumped = statusOf(world({ ...again, metadata: { ...again.metadata, generation: 4 } }));
    assert.deepEqual(
      bumped?.[0]?.conditions.map((c) => c.observedGeneration),
      [4, 4],
    );
  });

  test('entries of others stay, ours for ancestors that are gone go, and there are never more than 16', () => {
    const other = (n: number): object => ({
      ancestorRef: { kind: 'Gateway', name: `g${n}` },
      controllerName: 'example.com/other',
      conditions: [],
    });
    const gone = { ...other(1), controllerName: 'istio.io/gateway-controller' };
    const some = { ...policy(system), status: { ancestors: [other(0), gone] } };
    assert.deepEqual(
      statusOf(world(some))?.map((a) => a.ancestorRef.name),
      ['g0', 'edge'],
    );
    const many = Array.from({ length: 16 }, (_, n) => other(n));
    assert.equal(statusOf(world({ ...policy(system), status: { ancestors: many } })), undefined);
  });

  test('further references are not read, and that is said', () => {
    const two = [...roots.caCertificateRefs, { group: '', kind: 'ConfigMap', name: 'more' }];
    const w = world(policy({ caCertificateRefs: two }), rootsMap());
    assert.equal(atEdge(w)?.fault, undefined);
    assert.match(JSON.stringify(statusOf(w)), /only the first of caCertificateRefs is read/);
  });
});
