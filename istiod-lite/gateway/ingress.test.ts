// Ingress gateways: listeners, routes attached to them, what their pods are told, and what status says (Gateway API;
// control-plane.md 6.4, 6.6). Rows of conformance carry the upstream tests' names.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { before, describe, test } from 'node:test';
import { createCa, type CertificateAuthority } from '../../certs/index.ts';
import { makeCa, makeCert } from '../../certs/testkit.ts';
import type { KubeObject } from '../../core/kube/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import type { World } from './binding.ts';
import { withWaypoints } from './references.ts';
import { planDeployment } from './deploy-plan.ts';
import { gatewayStatus } from './gateway-status.ts';
import { readGateway, readRoute, type RouteKind } from './objects.ts';
import { serviceConfigs } from './service-config.ts';
import { routeStatus } from './status-plan.ts';
import { testSettings as settings, shopObject as object, worldOf } from './testkit.ts';

const now = '2026-01-01T00:00:00Z';

const namespace = (name: string, labels: object = {}): KubeObject => ({
  kind: 'Namespace',
  metadata: { name, labels: labels as Record<string, string> },
});
const service = (name: string, ns = 'shop', more: object = {}): KubeObject =>
  object(
    'Service',
    name,
    { spec: { clusterIP: '10.0.0.9', ports: [{ name: 'http', port: 80 }], ...more } },
    { namespace: ns },
  );
const gateway = (...listeners: object[]): KubeObject =>
  object('Gateway', 'edge', { spec: { gatewayClassName: 'istio', listeners } });
const http = (more: object = {}): object => ({ name: 'http', port: 80, protocol: 'HTTP', ...more });
const https = (more: object = {}, tls: object = {}): object => ({
  name: 'https',
  port: 443,
  protocol: 'HTTPS',
  tls: { mode: 'Terminate', certificateRefs: [{ name: 'pair' }], ...tls },
  ...more,
});
const route = (spec: object = {}, meta: object = {}, kind = 'HTTPRoute'): KubeObject =>
  object(
    kind,
    'r',
    {
      spec: {
        parentRefs: [{ name: 'edge', namespace: 'shop' }],
        rules: [{ backendRefs: [{ name: 'web', port: 80 }] }],
        ...spec,
      },
    },
    meta,
  );
const grant = (from: object, to: object, ns = 'other'): KubeObject =>
  object(
    'ReferenceGrant',
    'g',
    {
      spec: { from: [{ group: 'gateway.networking.k8s.io', ...from }], to: [{ group: '', ...to }] },
    },
    { namespace: ns },
  );
const klass: KubeObject = {
  kind: 'GatewayClass',
  metadata: { name: 'istio' },
  spec: { controllerName: 'istio.io/gateway-controller' },
};

function world(...objects: readonly KubeObject[]): World {
  const base = [klass, namespace('shop'), namespace('other', { team: 'a' }), service('web')];
  return worldOf(settings, [...base, ...objects]);
}

let ca: CertificateAuthority;
const base64 = (s: string): string => Buffer.from(s).toString('base64');
async function pair(name = 'pair', ns = 'shop', wrong = false): Promise<KubeObject> {
  const make = () => ca.signServer({ dns: ['a'], ips: [], ttlSeconds: 3600 });
  const [one, two] = [await make(), await make()];
  const data = { 'tls.crt': base64(one.chainPem), 'tls.key': base64((wrong ? two : one).keyPem) };
  return object('Secret', name, { type: 'kubernetes.io/tls', data }, { namespace: ns });
}

async function rsaPair(modulusLength: number): Promise<KubeObject> {
  const made = generateKeyPairSync('rsa', { modulusLength });
  const publicKey = made.publicKey.export({ type: 'spki', format: 'der' });
  const keyPem = made.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const cert = await makeCert(await makeCa(), { key: { keyPem, publicKey } });
  const data = { 'tls.crt': base64(cert.pem), 'tls.key': base64(keyPem) };
  return object('Secret', 'pair', { type: 'kubernetes.io/tls', data });
}

before(async () => {
  ca = await createCa({ trustDomain: 'cluster.local', clock: systemClock });
});

interface Conditions {
  readonly conditions: readonly {
    type: string;
    status: string;
    reason: string;
    message?: string;
  }[];
}
const reasons = (s: Conditions | undefined): Record<string, string> =>
  Object.fromEntries((s?.conditions ?? []).map((c) => [c.type, `${c.status} ${c.reason}`]));

interface GatewayStatus extends Conditions {
  readonly addresses: unknown[];
  readonly listeners: readonly (Conditions & {
    name: string;
    attachedRoutes: number;
    supportedKinds: unknown[];
  })[];
}
function statusOf(w: World): GatewayStatus {
  const g = w.gateways.gateways.get('shop/edge');
  assert.ok(g);
  return gatewayStatus(w, g, now) as GatewayStatus;
}
function parentOf(w: World, o: KubeObject): Record<string, string> {
  const facts = readRoute(o.kind as RouteKind, o);
  const status = routeStatus(w, facts, now) as { parents: Conditions[] } | undefined;
  return reasons(status?.parents[0]);
}
const configOf = (w: World) => serviceConfigs(w).find((c) => c.gateway === 'shop/edge')?.config;

describe('listeners', () => {
  const good = {
    Accepted: 'True Accepted',
    Conflicted: 'False NoConflicts',
    Programmed: 'True Programmed',
    ResolvedRefs: 'True ResolvedRefs',
  };
  const two = { certificateRefs: [{ name: 'pair' }, { name: 'more' }] };
  const ended = {
    name: 'tls',
    port: 443,
    protocol: 'TLS',
    tls: { certificateRefs: [{ name: 'pair' }] },
  };
  const rows: readonly (readonly [string, () => Promise<readonly KubeObject[]>, object])[] = [
    ['plain HTTP', async () => [gateway(http())], good],
    ['HTTPS with its Secret', async () => [gateway(https()), await pair()], good],
    [
      'GatewaySecretReferenceGrantSpecific: a Secret of another namespace with a grant',
      async () => [
        gateway(https({}, { certificateRefs: [{ name: 'pair', namespace: 'other' }] })),
        await pair('pair', 'other'),
        grant({ kind: 'Gateway', namespace: 'shop' }, { kind: 'Secret', name: 'pair' }),
      ],
      good,
    ],
    [
      'GatewaySecretMissingReferenceGrant',
      async () => [
        gateway(https({}, { certificateRefs: [{ name: 'pair', namespace: 'other' }] })),
        await pair('pair', 'other'),
      ],
      { ...good, Programmed: 'False Invalid', ResolvedRefs: 'False RefNotPermitted' },
    ],
    [
      'GatewaySecretInvalidReferenceGrant: for another Secret, and another kind',
      async () => [
        gateway(https({}, { certificateRefs: [{ name: 'pair', namespace: 'other' }] })),
        await pair('pair', 'other'),
        grant({ kind: 'Gateway', namespace: 'shop' }, { kind: 'Secret', name: 'others' }),
        grant({ kind: 'HTTPRoute', namespace: 'shop' }, { kind: 'Secret' }),
      ],
      { ...good, Programmed: 'False Invalid', ResolvedRefs: 'False RefNotPermitted' },
    ],
    [
      'GatewayInvalidTLSConfiguration: no Secret',
      async () => [gateway(https())],
      { ...good, Programmed: 'False Invalid', ResolvedRefs: 'False InvalidCertificateRef' },
    ],
    [
      'GatewayInvalidTLSConfiguration: the key of another certificate',
      async () => [gateway(https()), await pair('pair', 'shop', true)],
      { ...good, Programmed: 'False Invalid', ResolvedRefs: 'False InvalidCertificateRef' },
    ],
    [
      'GatewayInvalidTLSConfiguration: no certificate reference',
      async () => [gateway(https({}, { certificateRefs: [] }))],
      { ...good, Programmed: 'False Invalid', ResolvedRefs: 'False InvalidCertificateRef' },
    ],
    [
      'an option that is not understood is not left out in silence',
      async () => [
        gateway(https({}, { options: { 'gateway.istio.io/tls-terminate-mode': 'MUTUAL' } })),
        await pair(),
      ],
      { ...good, Accepted: 'False UnsupportedValue', Programmed: 'False Invalid' },
    ],
    [
      'GatewayInvalidRouteKind',
      async () => [
        gateway(http({ allowedRoutes: { kinds: [{ kind: 'HTTPRoute' }, { kind: 'BadRoute' }] } })),
      ],
      { ...good, ResolvedRefs: 'False InvalidRouteKinds' },
    ],
    [
      'HBONE is for waypoints',
      async () => [gateway({ name: 'mesh', port: 15008, protocol: 'HBONE' })],
      { ...good, Accepted: 'False UnsupportedProtocol', Programmed: 'False Invalid' },
    ],
    [
      'TLS that passes through by SNI',
      async () => [
        gateway({ name: 'tls', port: 443, protocol: 'TLS', tls: { mode: 'Passthrough' } }),
      ],
      good,
    ],
    [
      'TLS that ends here for routes by connection',
      async () => [gateway(ended), await pair()],
      good,
    ],
    [
      'TLS that ends here without a certificate',
      async () => [gateway({ ...ended, tls: {} })],
      { ...good, Programmed: 'False Invalid', ResolvedRefs: 'False InvalidCertificateRef' },
    ],
    [
      'several certificates',
      async () => [gateway(https({}, two)), await pair(), await pair('more')],
      good,
    ],
    [
      'several certificates, one of them missing: served with the others, and told',
      async () => [gateway(https({}, two)), await pair('more')],
      { ...good, ResolvedRefs: 'False InvalidCertificateRef' },
    ],
    [
      'an RSA key of 1024 bits',
      async () => [gateway(https()), await rsaPair(1024)],
      { ...good, Programmed: 'False Invalid', ResolvedRefs: 'False InvalidCertificateRef' },
    ],
    ['an RSA key of 2048 bits', async () => [gateway(https()), await rsaPair(2048)], good],
    [
      'a port of the gateway itself',
      async () => [gateway(http({ port: 15021 }))],
      { ...good, Accepted: 'False PortUnavailable', Programmed: 'False Invalid' },
    ],
  ];
  for (const [name, make, wanted] of rows) {
    test(name, async () => {
      const status = statusOf(world(...(await make())));
      assert.deepEqual(reasons(status.listeners[0]), wanted);
    });
  }

  test('of several certificates every one that cannot be shown is told', async () => {
    const refs = { certificateRefs: ['nil', 'pair', 'none'].map((name) => ({ name })) };
    const [listener] = statusOf(world(gateway(https({}, refs)), await pair())).listeners;
    const said = listener?.conditions?.find((c) => c.type === 'ResolvedRefs')?.message;
    const missing = (name: string) => `Secret shop/${name} of type kubernetes.io/tls not found`;
    assert.equal(said, `${missing('nil')}; ${missing('none')}`);
  });

  test('of two with one port and hostname, or two protocols, the first is served', () => {
    const w = world(
      gateway(
        http(),
        http({ name: 'again' }),
        { name: 'tcp', port: 80, protocol: 'TCP' },
        http({ name: 'more', hostname: 'a.b' }),
      ),
    );
    const status = statusOf(w);
    assert.deepEqual(
      status.listeners.map((l) => reasons(l)['Conflicted']),
      ['False NoConflicts', 'True HostnameConflict', 'True ProtocolConflict', 'False NoConflicts'],
    );
    assert.equal(reasons(status)['Accepted'], 'True ListenersNotValid');
    assert.deepEqual(
      configOf(w)?.listeners?.map((l) => l.name),
      ['http', 'more'],
    );
    assert.equal(reasons(statusOf(world(gateway(https()))))['Accepted'], 'False ListenersNotValid');
  });

  test('the Secret’s pair is told to the gateway’s pods alone, and nowhere else', async () => {
    const w = world(gateway(https({ hostname: 'A.example.com' })), await pair());
    const [l] = configOf(w)?.listeners ?? [];
    assert.deepEqual([l?.hostname, l?.port, l?.bindPort], ['a.example.com', 443, 10_443]);
    assert.match(l?.privateKey ?? '', /^-----BEGIN PRIVATE KEY-----/);
    assert.doesNotMatch(JSON.stringify(statusOf(w)), /BEGIN/);
  });

  test('all pairs that can be shown are told, in their order', async () => {
    const w = world(gateway(https({}, two)), await pair(), await pair('more'));
    const [l] = configOf(w)?.listeners ?? [];
    const known = [l, ...(l?.moreCertificates ?? [])].map((p) => p?.certificates);
    const secret = (name: string) => w.gateways.secrets.get(`shop/${name}`)?.certificates;
    assert.deepEqual(known, [secret('pair'), secret('more')]);
  });

  test('TLSRouteTerminate: where TLS is ended, TLSRoutes by name and TCPRoutes for the rest', async () => {
    const named = route({ hostnames: ['a.example.com'] }, { name: 'named' }, 'TLSRoute');
    const w = world(gateway(ended), await pair(), named, route({}, {}, 'TCPRoute'));
    const [l] = configOf(w)?.listeners ?? [];
    assert.deepEqual(
      l?.connections?.map((c) => c.hostnames),
      [['a.example.com'], []],
    );
    assert.equal(statusOf(w).listeners[0]?.attachedRoutes, 2);
    assert.match(l?.certificates ?? '', /BEGIN CERTIFICATE/);
  });
});

describe('routes of a Gateway', () => {
  const ok = { Accepted: 'True Accepted', ResolvedRefs: 'True ResolvedRefs' };
  const elsewhere = { namespace: 'other' };
  const rows: readonly (readonly [string, readonly KubeObject[], object, string[]])[] = [
    ['HTTPRouteSimpleSameNamespace', [gateway(http()), route()], ok, ['']],
    [
      'HTTPRouteListenerHostnameMatching: the narrower of both',
      [
        gateway(http({ hostname: '*.example.com' })),
        route({ hostnames: ['a.example.com', '*.b.example.com', 'x.org'] }),
      ],
      ok,
      ['*.b.example.com', 'a.example.com'],
    ],
    [
      'HTTPRouteHostnameIntersection: nothing in common',
      [gateway(http({ hostname: 'a.example.com' })), route({ hostnames: ['b.example.com'] })],
      { ...ok, Accepted: 'False NoMatchingListenerHostname' },
      [],
    ],
    [
      'HTTPRouteInvalidParentRefNotMatchingSectionName',
      [gateway(http()), route({ parentRefs: [{ name: 'edge', sectionName: 'none' }] })],
      { ...ok, Accepted: 'False NoMatchingParent' },
      [],
    ],
    [
      'HTTPRouteInvalidParentRefNotMatchingListenerPort',
      [gateway(http()), route({ parentRefs: [{ name: 'edge', port: 81 }] })],
      { ...ok, Accepted: 'False NoMatchingParent' },
      [],
    ],
    [
      'HTTPRouteInvalidCrossNamespaceParentRef',
      [gateway(http()), route({}, elsewhere), service('web', 'other')],
      { ...ok, Accepted: 'False NotAllowedByListeners' },
      [],
    ],
    [
      'HTTPRouteCrossNamespace: from All',
      [
        gateway(http({ allowedRoutes: { namespaces: { from: 'All' } } })),
        route({}, elsewhere),
        service('web', 'other'),
      ],
      ok,
      [''],
    ],
    [
      'from Selector',
      [
        gateway(
          http({
            allowedRoutes: {
              namespaces: { from: 'Selector', selector: { matchLabels: { team: 'a' } } },
            },
          }),
        ),
        route({}, elsewhere),
        service('web', 'other'),
      ],
      ok,
      [''],
    ],
    [
      'a kind that the listener does not take',
      [gateway(http({ allowedRoutes: { kinds: [{ kind: 'GRPCRoute' }] } })), route()],
      { ...ok, Accepted: 'False NotAllowedByListeners' },
      [],
    ],
    [
      'HTTPRouteInvalidCrossNamespaceBackendRef',
      [
        gateway(http()),
        route({ rules: [{ backendRefs: [{ name: 'web', namespace: 'other', port: 80 }] }] }),
        service('web', 'other'),
      ],
      { ...ok, ResolvedRefs: 'False RefNotPermitted' },
      [''],
    ],
    [
      'HTTPRouteReferenceGrant',
      [
        gateway(http()),
        route({ rules: [{ backendRefs: [{ name: 'web', namespace: 'other', port: 80 }] }] }),
        service('web', 'other'),
        grant({ kind: 'HTTPRoute', namespace: 'shop' }, { kind: 'Service' }),
      ],
      ok,
      [''],
    ],
    [
      'HTTPRouteInvalidReferenceGrant',
      [
        gateway(http()),
        route({ rules: [{ backendRefs: [{ name: 'web', namespace: 'other', port: 80 }] }] }),
        service('web', 'other'),
        grant({ kind: 'HTTPRoute', namespace: 'elsewhere' }, { kind: 'Service' }),
        grant({ kind: 'HTTPRoute', namespace: 'shop' }, { kind: 'Secret' }),
        grant({ kind: 'HTTPRoute', namespace: 'shop' }, { kind: 'Service' }, 'shop'),
      ],
      { ...ok, ResolvedRefs: 'False RefNotPermitted' },
      [''],
    ],
  ];
  for (const [name, objects, wanted, hosts] of rows) {
    test(name, () => {
      const w = world(...objects);
      const [given] = objects.filter((o) => o.kind === 'HTTPRoute');
      assert.ok(given);
      assert.deepEqual(parentOf(w, given), wanted);
      const [l] = configOf(w)?.listeners ?? [];
      assert.deepEqual(
        (l?.hosts ?? []).map((h) => h.hostname),
        hosts,
      );
      assert.equal(statusOf(w).listeners[0]?.attachedRoutes, hosts.length > 0 ? 1 : 0);
    });
  }

  const tls = (more: object = {}): object => ({
    name: 'tls',
    port: 443,
    protocol: 'TLS',
    tls: { mode: 'Passthrough' },
    ...more,
  });
  const tlsRoute = (hostnames: readonly string[], more: object = {}): KubeObject =>
    route({ hostnames, ...more }, {}, 'TLSRoute');
  const tlsRows: readonly (readonly [string, readonly KubeObject[], object, string[]])[] = [
    [
      'TLSRouteSimpleSameNamespace',
      [gateway(tls()), tlsRoute(['A.example.com', '*.b.org'])],
      ok,
      ['a.example.com', '*.b.org'],
    ],
    [
      'TLSRoute: the narrower of both',
      [
        gateway(tls({ hostname: '*.example.com' })),
        tlsRoute(['a.example.com', '*.b.example.com', 'x.org']),
      ],
      ok,
      ['a.example.com', '*.b.example.com'],
    ],
    [
      'TLSRoute: nothing in common',
      [gateway(tls({ hostname: 'a.example.com' })), tlsRoute(['b.example.com'])],
      { ...ok, Accepted: 'False NoMatchingListenerHostname' },
      [],
    ],
    [
      'TLSRoute on a listener of HTTP',
      [gateway(http()), tlsRoute(['a.example.com'])],
      { ...ok, Accepted: 'False NotAllowedByListeners' },
      [],
    ],
    [
      'TLSRouteInvalidBackendRefNonexistent',
      [
        gateway(tls()),
        tlsRoute(['a.example.com'], { rules: [{ backendRefs: [{ name: 'none', port: 80 }] }] }),
      ],
      { ...ok, ResolvedRefs: 'False BackendNotFound' },
      ['a.example.com'],
    ],
    [
      'TLSRouteInvalidReferenceGrant',
      [
        gateway(tls()),
        tlsRoute(['a.example.com'], {
          rules: [{ backendRefs: [{ name: 'web', namespace: 'other', port: 80 }] }],
        }),
        service('web', 'other'),
        grant({ kind: 'TCPRoute', namespace: 'shop' }, { kind: 'Service' }),
      ],
      { ...ok, ResolvedRefs: 'False RefNotPermitted' },
      ['a.example.com'],
    ],
  ];
  for (const [name, objects, wanted, hosts] of tlsRows) {
    test(name, () => {
      const w = world(...objects);
      const given = objects.find((o) => o.kind === 'TLSRoute');
      assert.ok(given);
      assert.deepEqual(parentOf(w, given), wanted);
      const connections = configOf(w)?.listeners?.[0]?.connections ?? [];
      assert.deepEqual(
        connections.flatMap((c) => c.hostnames ?? []),
        hosts,
      );
      const resolved = (wanted as typeof ok).ResolvedRefs.startsWith('True');
      for (const b of connections.flatMap((c) => c.backends ?? []))
        assert.equal(b.invalid !== true, resolved);
    });
  }

  test('a backend without a grant keeps its share and answers 500', () => {
    const refs = [
      { name: 'web', port: 80 },
      { name: 'web', namespace: 'other', port: 80 },
    ];
    const w = world(
      gateway(http()),
      route({ rules: [{ backendRefs: refs }] }),
      service('web', 'other'),
    );
    const rule = configOf(w)?.listeners?.[0]?.hosts?.[0]?.routes?.rules?.[0];
    assert.deepEqual(
      rule?.backends?.map((b) => b.invalid === true),
      [false, true],
    );
  });

  test('a Gateway that is not ours gets no word of us', () => {
    assert.deepEqual(parentOf(world(), route()), {});
  });
});

describe('what a Gateway of class istio is served by', () => {
  const plan = (annotations: object = {}) =>
    planDeployment(
      readGateway(
        object('Gateway', 'edge', { spec: gateway(http(), https())['spec'] }, { annotations }),
      ),
      'istio.io/gateway-controller',
      { spec: { template: { spec: { containers: [{ name: 'istio-proxy' }] } } } },
      settings,
    );

  test('named after it, with ports that need no privileges in the pod', () => {
    const made = plan();
    assert.ok(made);
    const { serviceAccount, deployment, service: s } = made;
    assert.deepEqual(
      [serviceAccount, deployment, s].map((o) => o.metadata.name),
      ['edge-istio', 'edge-istio', 'edge-istio'],
    );
    const spec = s['spec'] as { type: string; ports: { port: number; targetPort?: number }[] };
    assert.equal(spec.type, 'LoadBalancer');
    assert.deepEqual(
      spec.ports.map((p) => [p.port, p.targetPort]),
      [
        [15021, undefined],
        [80, 10_080],
        [443, 10_443],
      ],
    );
    assert.match(JSON.stringify(deployment), /"GATEWAY_ROLE","value":"ingress"/);
  });

  test('networking.istio.io/service-type', () => {
    const type = plan({ 'networking.istio.io/service-type': 'ClusterIP' })?.service['spec'];
    assert.equal((type as { type: string }).type, 'ClusterIP');
  });

  const slice = object(
    'EndpointSlice',
    'edge-istio-1',
    { endpoints: [{ addresses: ['10.1.0.1'], conditions: { ready: true } }], ports: [] },
    { labels: { 'kubernetes.io/service-name': 'edge-istio' } },
  );
  const balanced = (ingress: object[]): KubeObject => ({
    ...service('edge-istio', 'shop', { type: 'LoadBalancer' }),
    status: { loadBalancer: { ingress } },
  });
  const host = { type: 'Hostname', value: 'edge-istio.shop.svc.cluster.local' };
  const rows: readonly (readonly [string, KubeObject[], string, unknown[]])[] = [
    ['no Service yet', [], 'False AddressNotUsable', []],
    ['no ready pod', [service('edge-istio')], 'False AddressNotAssigned', []],
    ['ClusterIP', [service('edge-istio'), slice], 'True Programmed', [host]],
    ['a load balancer that is pending', [balanced([]), slice], 'False AddressNotAssigned', []],
    [
      'its address',
      [balanced([{ ip: '192.0.2.1' }]), slice],
      'True Programmed',
      [{ type: 'IPAddress', value: '192.0.2.1' }],
    ],
    [
      'its name',
      [balanced([{ hostname: 'lb.example.com' }]), slice],
      'True Programmed',
      [{ type: 'Hostname', value: 'lb.example.com' }],
    ],
  ];
  for (const [name, objects, wanted, addresses] of rows) {
    test(`programmed: ${name}`, () => {
      const status = statusOf(world(gateway(http()), ...objects));
      assert.equal(reasons(status)['Programmed'], wanted);
      assert.deepEqual(status.addresses, addresses);
    });
  }
});

describe('M17 istio.io/ingress-use-waypoint', () => {
  const rows: readonly (readonly [string, string | undefined, string | undefined, boolean])[] = [
    ['nothing', undefined, undefined, false],
    ['on the service', 'true', undefined, true],
    ['on the namespace', undefined, 'true', true],
    ['the service says no', 'false', 'true', false],
    ['what cannot be read on the service counts as no', 'maybe', 'true', false],
  ];
  for (const [name, own, above, wanted] of rows) {
    test(`M17 ${name}: ${wanted}`, () => {
      const labels = (v: string | undefined): object =>
        v === undefined ? {} : { 'istio.io/ingress-use-waypoint': v };
      const w = world(
        namespace('shop', labels(above)),
        object(
          'Service',
          'web',
          { spec: service('web')['spec'] },
          {
            labels: { 'istio.io/use-waypoint': 'wp', ...labels(own) },
          },
        ),
        object('AuthorizationPolicy', 'p', {
          spec: { targetRefs: [{ kind: 'Service', name: 'web' }], rules: [{}] },
        }),
      );
      const hostname = 'web.shop.svc.cluster.local';
      const plain = { name: 'web', namespace: 'shop', hostname } as Parameters<
        typeof withWaypoints
      >[1]['services'][number];
      const { services } = withWaypoints(w, { services: [plain], workloads: [] });
      assert.equal(services[0]?.ingressUseWaypoint === true, wanted);
    });
  }
});
