// Binding, what is sent when a waypoint cannot be used, and the order of routes (control-plane.md 2.7;
// design.md 6.2; waypoint-l7.md 3.3, 3.9).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { KubeObject } from '../../core/kube/index.ts';
import { L7PathKind } from '../../core/proto/index.ts';
import { bindService, type World } from './binding.ts';
import { serviceWaypoint } from './references.ts';
import { planDeployment } from './deploy-plan.ts';
import { serviceConfigs } from './service-config.ts';
import { gatewayStatus } from './gateway-status.ts';
import { policyStatus, routeStatus, serviceStatus } from './status-plan.ts';
import { testSettings as settings, shopObject as object, worldOf } from './testkit.ts';

const namespace = (labels: Record<string, string>): KubeObject => ({
  kind: 'Namespace',
  metadata: { name: 'shop', labels },
});
const service = (name: string, meta: object = {}): KubeObject =>
  object(
    'Service',
    name,
    { spec: { clusterIP: '10.0.0.9', ports: [{ name: 'http', port: 80 }] } },
    meta,
  );
const gateway = (more: { labels?: object; from?: string; ready?: boolean } = {}): KubeObject =>
  object(
    'Gateway',
    'waypoint',
    {
      spec: {
        gatewayClassName: 'istio-waypoint',
        listeners: [
          {
            name: 'mesh',
            port: 15008,
            protocol: 'HBONE',
            allowedRoutes: { namespaces: { from: more.from ?? 'Same' } },
          },
        ],
      },
      ...(more.ready !== false && {
        status: {
          addresses: [
            { type: 'IPAddress', value: '10.0.0.5' },
            { type: 'Hostname', value: 'waypoint.shop.svc.cluster.local' },
          ],
        },
      }),
    },
    { labels: more.labels ?? {} },
  );
const slice = (ready: boolean): KubeObject =>
  object(
    'EndpointSlice',
    'waypoint-1',
    { endpoints: [{ addresses: ['10.1.0.1'], conditions: { ready } }], ports: [] },
    { labels: { 'kubernetes.io/service-name': 'waypoint' } },
  );
const policy = (more: object = {}): KubeObject =>
  object('AuthorizationPolicy', 'p', {
    spec: { targetRefs: [{ kind: 'Service', group: '', name: 'web' }], rules: [{}], ...more },
  });
const klass: KubeObject = {
  kind: 'GatewayClass',
  metadata: { name: 'istio-waypoint' },
  spec: { controllerName: 'istio.io/mesh-controller' },
};

function world(...objects: readonly KubeObject[]): World {
  return worldOf(settings, [klass, ...objects]);
}

const enrolled = namespace({ 'istio.io/use-waypoint': 'waypoint' });
const up = [gateway(), service('waypoint'), slice(true)];

describe('binding of a service', () => {
  const rows: readonly (readonly [string, readonly KubeObject[], string])[] = [
    ['nothing asks', [namespace({}), service('web'), ...up], 'none'],
    ['namespace label', [enrolled, service('web'), ...up], 'bound'],
    [
      'own label',
      [namespace({}), service('web', { labels: { 'istio.io/use-waypoint': 'waypoint' } }), ...up],
      'bound',
    ],
    [
      'own none',
      [enrolled, service('web', { labels: { 'istio.io/use-waypoint': 'none' } }), ...up],
      'none',
    ],
    [
      'own label that leads nowhere has no fallback',
      [enrolled, service('web', { labels: { 'istio.io/use-waypoint': 'x' } }), ...up],
      'WaypointIsNotReady',
    ],
    ['missing', [enrolled, service('web')], 'WaypointIsNotReady'],
    [
      'without address',
      [enrolled, service('web'), gateway({ ready: false })],
      'WaypointIsNotReady',
    ],
    [
      'no ready endpoint',
      [enrolled, service('web'), gateway(), service('waypoint'), slice(false)],
      'WaypointIsNotReady',
    ],
    [
      'for workloads',
      [
        enrolled,
        service('web'),
        gateway({ labels: { 'istio.io/waypoint-for': 'workload' } }),
        service('waypoint'),
        slice(true),
      ],
      'UnsupportedTrafficType',
    ],
    [
      'for all',
      [
        enrolled,
        service('web'),
        gateway({ labels: { 'istio.io/waypoint-for': 'all' } }),
        service('waypoint'),
        slice(true),
      ],
      'bound',
    ],
    [
      'not permitted',
      [enrolled, service('web'), gateway({ from: 'None' }), service('waypoint'), slice(true)],
      'AttachmentDenied',
    ],
    [
      'its own Service',
      [
        enrolled,
        ...up,
        service('web', { labels: { 'gateway.istio.io/managed': 'istio.io-mesh-controller' } }),
      ],
      'none',
    ],
  ];
  for (const [name, objects, wanted] of rows) {
    test(name, () => {
      const w = world(...objects);
      const facts = w.cluster.services.get('shop', 'web');
      assert.ok(facts);
      const b = bindService(w, facts);
      assert.equal(b.kind === 'unbound' ? b.reason : b.kind, wanted);
    });
  }
});

describe('bound, but the waypoint cannot be used', () => {
  const sent = (...objects: readonly KubeObject[]): unknown => {
    const w = world(...objects);
    const facts = w.cluster.services.get('shop', 'web');
    return facts && serviceWaypoint(w, facts);
  };
  const reference = {
    kind: 'host',
    namespace: 'shop',
    hostname: 'waypoint.shop.svc.cluster.local',
    hboneMtlsPort: 15008,
  };
  test('no L7 policy: direct', () => assert.equal(sent(enrolled, service('web')), undefined));
  test('a policy on the service: named all the same, so that proxies refuse', () =>
    assert.deepEqual(sent(enrolled, service('web'), policy()), reference));
  test('a policy on the gateway too', () => {
    const refs = [{ kind: 'Gateway', group: 'gateway.networking.k8s.io', name: 'waypoint' }];
    assert.deepEqual(sent(enrolled, service('web'), policy({ targetRefs: refs })), reference);
  });
  test('a policy on another service: direct', () => {
    const refs = [{ kind: 'Service', group: '', name: 'other' }];
    assert.equal(sent(enrolled, service('web'), policy({ targetRefs: refs })), undefined);
  });
  test('opted out by annotation: direct', () => {
    const annotations = { 'ambientlite.dev/waypoint-fail-open': 'true' };
    assert.equal(sent(enrolled, service('web', { annotations }), policy()), undefined);
  });
});

test('a policy tells where it is attached, and when it is not', () => {
  const message = (...objects: readonly KubeObject[]): string => {
    const w = world(...objects);
    const p = w.cluster.authorizationPolicies.get('shop', 'p');
    const status = p && policyStatus(w, p, 't');
    const [c] = (status as { conditions: { status: string; reason: string; message: string }[] })
      .conditions;
    return `${c?.status} ${c?.reason} ${c?.message}`;
  };
  assert.equal(
    message(enrolled, service('web'), ...up, policy()),
    'True Accepted bound to shop/waypoint',
  );
  assert.equal(
    message(enrolled, service('web'), policy()),
    'False AncestorNotBound Service shop/web is not bound to a waypoint',
  );
  assert.equal(message(enrolled, policy()), 'False TargetNotFound Service shop/web was not found');
});

test('status is written once: what is there already is no change', () => {
  const w = world(enrolled, service('web'), ...up);
  const s = w.cluster.services.get('shop', 'web');
  assert.ok(s);
  const first = serviceStatus(w, s, 't') as { conditions: never };
  w.gateways.service('MODIFIED', object('Service', 'web', { status: first }));
  assert.equal(serviceStatus(w, s, 't2'), undefined);
  const g = w.gateways.gateways.get('shop/waypoint');
  assert.ok(g);
  const status = gatewayStatus(w, g, 't');
  w.gateways.apply('Gateway', 'MODIFIED', { ...gateway(), status });
  const again = w.gateways.gateways.get('shop/waypoint');
  assert.ok(again);
  assert.equal(gatewayStatus(w, again, 't2'), undefined);
});

test('what a Gateway is served by: owned, labelled, its account its identity', () => {
  const w = world(...up);
  const g = w.gateways.gateways.get('shop/waypoint');
  assert.ok(g);
  const template = { spec: { replicas: 1, template: { spec: { containers: [{ name: 'c' }] } } } };
  const d = planDeployment(g, 'istio.io/mesh-controller', template, settings);
  assert.ok(d);
  for (const o of [d.serviceAccount, d.deployment, d.service]) {
    assert.equal(o.metadata.name, 'waypoint');
    assert.equal(o.metadata.labels?.['gateway.istio.io/managed'], 'istio.io-mesh-controller');
    assert.equal(o.metadata.ownerReferences?.[0]?.uid, 'uid-waypoint');
  }
  assert.equal(planDeployment(g, 'example.org/other', template, settings), undefined);
});

describe('routes', () => {
  const route = (name: string, rules: object[], created: number, more: object = {}): KubeObject =>
    object(
      'HTTPRoute',
      name,
      {
        spec: {
          parentRefs: [{ group: '', kind: 'Service', name: 'web', port: 80 }],
          rules,
          ...more,
        },
      },
      { creationTimestamp: new Date(created * 1000).toISOString() },
    );
  const backendRefs = [{ name: 'web', port: 80 }];
  const table = (...objects: readonly KubeObject[]) => {
    const [config] = serviceConfigs(world(enrolled, service('web'), ...up, ...objects)).filter(
      (c) => c.name.includes('/web.'),
    );
    const routes = config?.config.ports?.[0]?.routes;
    return (routes?.entries ?? []).map((e) => {
      const m = e.match;
      const extra = `${m?.method ? ` ${m.method}` : ''}${m?.headers?.length ? ` h${m.headers.length}` : ''}${m?.query?.length ? ` q${m.query.length}` : ''}`;
      const kind = Object.entries(L7PathKind).find(([, n]) => n === m?.pathKind)?.[0];
      return `${kind} ${m?.path}${extra} → ${routes?.rules?.[e.rule ?? 0]?.route}`;
    });
  };

  test('precedence: exact, longest prefix, method, headers, query, then age (HTTPRouteMatching)', () => {
    const header = [{ name: 'version', value: '2' }];
    const young = route(
      'young',
      [{ matches: [{ path: { type: 'PathPrefix', value: '/a/' } }], backendRefs }],
      20,
    );
    const old = route(
      'old',
      [
        {
          matches: [
            { path: { type: 'PathPrefix', value: '/' } },
            { path: { type: 'RegularExpression', value: '/re.*' } },
            { path: { type: 'PathPrefix', value: '/a' } },
            { path: { type: 'PathPrefix', value: '/a' }, queryParams: header },
            { path: { type: 'PathPrefix', value: '/a' }, headers: header },
            { path: { type: 'PathPrefix', value: '/a' }, method: 'GET' },
            { path: { type: 'Exact', value: '/a' } },
            { path: { type: 'PathPrefix', value: '/a/b' } },
          ],
          backendRefs,
        },
      ],
      10,
    );
    assert.deepEqual(table(young, old), [
      'EXACT /a → shop/old',
      'PREFIX /a/b → shop/old',
      'PREFIX /a GET → shop/old',
      'PREFIX /a h1 → shop/old',
      'PREFIX /a q1 → shop/old',
      'PREFIX /a → shop/old',
      'PREFIX /a → shop/young',
      'PREFIX  → shop/old',
      'REGEX /re.* → shop/old',
    ]);
  });

  test('a port the parentRef does not mean is left alone', () => {
    const other = { parentRefs: [{ group: '', kind: 'Service', name: 'web', port: 81 }] };
    assert.deepEqual(table(route('r', [{ backendRefs }], 1, other)), []);
  });

  test('TLSRoute: all of the service’s own namespace, oldest first, before any TCPRoute; the others are told', () => {
    const made = (
      kind: string,
      name: string,
      age: number,
      more: object = {},
      where = 'shop',
    ): KubeObject => ({
      kind,
      metadata: {
        name,
        namespace: where,
        creationTimestamp: `2026-01-0${age}T00:00:00Z`,
        generation: 1,
      },
      spec: {
        parentRefs: [{ group: '', kind: 'Service', name: 'web', namespace: 'shop' }],
        rules: [{ backendRefs }],
        ...more,
      },
    });
    const tcp = made('TCPRoute', 'tcp', 1);
    const foreign = made('TLSRoute', 'far', 1, { hostnames: ['far.org'] }, 'other');
    const tls = [
      made('TLSRoute', 'young', 3, { hostnames: ['B.example.com', '*.example.org'] }),
      made('TLSRoute', 'old', 2, { hostnames: ['a.example.com'] }),
    ];
    const portOf = (...routes: KubeObject[]) => {
      const all = [enrolled, service('web'), ...up, ...routes];
      const config = serviceConfigs(world(...all)).find((c) => c.name.startsWith('shop/web.'));
      return config?.config.ports?.[0];
    };
    assert.deepEqual(
      portOf(tcp, foreign, ...tls)?.tls?.map((t) => [t.name, t.hostnames]),
      [
        ['shop/old', ['a.example.com']],
        ['shop/young', ['b.example.com', '*.example.org']],
      ],
    );
    assert.equal(portOf(tcp, foreign, ...tls)?.tcp, undefined);
    assert.equal(portOf(tcp, foreign)?.tcp?.name, 'shop/tcp');
    const w = world(enrolled, service('web'), ...up, tcp, foreign, ...tls);
    const accepted = [...w.gateways.routes.values()].map((r) => {
      const status = routeStatus(w, r, 't') as { parents: { conditions: { reason: string }[] }[] };
      return [r.name, status.parents[0]?.conditions[0]?.reason];
    });
    assert.deepEqual(Object.fromEntries(accepted), {
      tcp: 'Conflicted',
      far: 'UnsupportedValue',
      young: 'Accepted',
      old: 'Accepted',
    });
  });

  test('K9 L23 status: a backend that is not there, an expression that cannot be read, a parent that is not there', () => {
    const conditions = (r: KubeObject): Record<string, string> => {
      const w = world(enrolled, service('web'), ...up, r);
      const facts = [...w.gateways.routes.values()][0];
      assert.ok(facts);
      const status = routeStatus(w, facts, 't') as {
        parents: {
          conditions: { type: string; status: string; reason: string; message: string }[];
        }[];
      };
      return Object.fromEntries(
        (status.parents[0]?.conditions ?? []).flatMap((c) => [
          [c.type, `${c.status} ${c.reason}`],
          [`${c.type} says`, c.message],
        ]),
      );
    };
    const told = conditions(route('r', [{ backendRefs: [{ name: 'no', port: 80 }] }], 1));
    assert.equal(told['Accepted'], 'True Accepted');
    assert.equal(told['ResolvedRefs'], 'False BackendNotFound');
    assert.equal(told['ResolvedRefs says'], 'backend(no.shop.svc.cluster.local) not found');
    assert.equal(told['ResolvedWaypoints'], 'True ResolvedWaypoints');
    const portless = conditions(route('r', [{ backendRefs: [{ name: 'web', port: 81 }] }], 1));
    const wanted = 'port 81 of backend(web.shop.svc.cluster.local) not found';
    assert.equal(portless['ResolvedRefs says'], wanted);
    // K9 L23: an expression that cannot be read.
    const path = { type: 'RegularExpression', value: '/re(' };
    const odd = route('r', [{ matches: [{ path }, { method: 'GET' }], backendRefs }], 1);
    assert.equal(conditions(odd)['ResolvedRefs'], 'False UnsupportedValue');
    assert.deepEqual(table(odd), ['PREFIX  GET → shop/r']);
    const lost = { parentRefs: [{ group: '', kind: 'Service', name: 'gone' }] };
    assert.equal(
      conditions(route('r', [{ backendRefs }], 1, lost))['Accepted'],
      'False NoMatchingParent',
    );
  });
});
