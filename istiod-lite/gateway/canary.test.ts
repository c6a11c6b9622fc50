// M21: canary waypoints by weight; and waypoints for workloads and of other namespaces (control-plane.md 1, 2.7).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { KubeObject } from '../../core/kube/index.ts';
import type { Service, Workload } from '../../core/model/index.ts';
import type { World } from './binding.ts';
import { withWaypoints } from './references.ts';
import { serviceConfigs } from './service-config.ts';
import { serviceStatus } from './status-plan.ts';
import { testSettings as settings, shopObject as object, worldOf } from './testkit.ts';

type Labels = Record<string, string>;

const namespace = (name: string, labels: Labels = {}, annotations: Labels = {}): KubeObject => ({
  kind: 'Namespace',
  metadata: { name, labels, annotations },
});
const service = (name: string, labels: Labels = {}, annotations: Labels = {}, ns = 'shop') =>
  object(
    'Service',
    name,
    { spec: { clusterIP: '10.0.0.9', ports: [{ name: 'http', port: 80 }] } },
    { labels, annotations, namespace: ns },
  );
const pod = (labels: Labels = {}): KubeObject =>
  object('Pod', 'web-1', { spec: {}, status: { podIP: '10.1.0.9' } }, { labels });

/** A waypoint with its Service and, if it is up, a ready endpoint. */
function waypoint(
  name: string,
  o: { up?: boolean; for?: string; from?: string; namespace?: string } = {},
): KubeObject[] {
  const ns = o.namespace ?? 'shop';
  const host = `${name}.${ns}.svc.cluster.local`;
  const allowedRoutes = { namespaces: { from: o.from ?? 'Same' } };
  const spec = {
    gatewayClassName: 'istio-waypoint',
    listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE', allowedRoutes }],
  };
  const status = { addresses: [{ type: 'Hostname', value: host }] };
  return [
    object(
      'Gateway',
      name,
      { spec, status },
      { namespace: ns, labels: o.for === undefined ? {} : { 'istio.io/waypoint-for': o.for } },
    ),
    service(name, { 'gateway.istio.io/managed': 'istio.io-mesh-controller' }, {}, ns),
    object(
      'EndpointSlice',
      `${name}-1`,
      {
        endpoints: [{ addresses: ['10.1.0.1'], conditions: { ready: o.up !== false } }],
        ports: [],
      },
      { namespace: ns, labels: { 'kubernetes.io/service-name': name } },
    ),
  ];
}
const klass: KubeObject = {
  kind: 'GatewayClass',
  metadata: { name: 'istio-waypoint' },
  spec: { controllerName: 'istio.io/mesh-controller' },
};

function world(...objects: readonly KubeObject[]): World {
  return worldOf(settings, [klass, ...objects]);
}

const hostname = 'web.shop.svc.cluster.local';
const named = { name: 'web', namespace: 'shop', hostname } as Service;
const podded = { name: 'web-1', namespace: 'shop' } as Workload;
const sent = (w: World) => withWaypoints(w, { services: [named], workloads: [podded] });
const nameOf = (a: Service['waypoint']): string =>
  a?.kind === 'host' ? (a.hostname.split('.', 2).join('.') ?? '') : '';
const weights = (w: World): [string, number][] =>
  (sent(w).services[0]?.weightedWaypoints ?? []).map((x) => [nameOf(x.destination), x.weight]);
function message(w: World): string {
  const facts = w.cluster.services.get('shop', 'web');
  assert.ok(facts);
  const status = serviceStatus(w, facts, '2026-01-01T00:00:00Z') as
    | { conditions: { message: string }[] }
    | undefined;
  return status?.conditions[0]?.message ?? '';
}

const use = 'istio.io/use-waypoint';
const canary = `${use}-canary`;
const weight = `${canary}-weight`;
const both = (text: string | undefined, more: Labels = {}): KubeObject =>
  service(
    'web',
    { [use]: 'wp', [canary]: 'next', ...more },
    text === undefined ? {} : { [weight]: text },
  );
const up = [namespace('shop'), namespace('other'), ...waypoint('wp'), ...waypoint('next')];

describe('M21 a canary waypoint', () => {
  const rows: readonly (readonly [string, readonly KubeObject[], [string, number][], RegExp])[] = [
    ['weight 0', [...up, both('0')], [], /wp$/],
    [
      'weight 50',
      [...up, both('50')],
      [
        ['wp.shop', 50],
        ['next.shop', 50],
      ],
      /wp$/,
    ],
    [
      'weight 100',
      [...up, both('100')],
      [
        ['wp.shop', 0],
        ['next.shop', 100],
      ],
      /wp$/,
    ],
    ['no weight', [...up, both(undefined)], [], /wp$/],
    ['label removed', [...up, service('web', { [use]: 'wp' }, { [weight]: '50' })], [], /wp$/],
    ['none', [...up, both('50', { [canary]: 'none' })], [], /wp$/],
    ['no number', [...up, both('half')], [], /not used: .* must be 0 to 100, is "half"/],
    ['over 100', [...up, both('101')], [], /must be 0 to 100/],
    ['itself', [...up, both('50', { [canary]: 'wp' })], [], /is the waypoint itself/],
    ['missing', [...up, both('50', { [canary]: 'gone' })], [], /"shop\/gone" is not ready/],
    [
      'not ready',
      [namespace('shop'), ...waypoint('wp'), ...waypoint('next', { up: false }), both('50')],
      [],
      /it is not ready/,
    ],
    [
      'of another namespace that allows it',
      [
        ...up,
        ...waypoint('far', { namespace: 'other', from: 'All' }),
        both('30', { [canary]: 'far', [`${canary}-namespace`]: 'other' }),
      ],
      [
        ['wp.shop', 70],
        ['far.other', 30],
      ],
      /wp$/,
    ],
    [
      'the namespace speaks where the service has no waypoint of its own',
      [
        ...up.slice(1),
        namespace('shop', { [use]: 'wp', [canary]: 'next' }, { [weight]: '20' }),
        service('web'),
      ],
      [
        ['wp.shop', 80],
        ['next.shop', 20],
      ],
      /wp$/,
    ],
    [
      'and is silent where it has',
      [
        ...up.slice(1),
        namespace('shop', { [use]: 'wp', [canary]: 'next' }, { [weight]: '20' }),
        service('web', { [use]: 'wp' }),
      ],
      [],
      /wp$/,
    ],
  ];
  for (const [name, objects, wanted, text] of rows) {
    test(`M21 ${name}`, () => {
      const w = world(...objects);
      assert.deepEqual(weights(w), wanted);
      assert.equal(nameOf(sent(w).services[0]?.waypoint), 'wp.shop');
      assert.match(message(w), text);
    });
  }

  test('M21 both are told the service before the weight moves', () => {
    const told = serviceConfigs(world(...up, both('0'))).map((c) => [c.gateway, c.name]);
    assert.deepEqual(told, [
      ['shop/wp', 'shop/web.shop.svc.cluster.local'],
      ['shop/next', 'shop/web.shop.svc.cluster.local#canary'],
    ]);
  });
});

describe('a waypoint for workloads', () => {
  const policy = (name: string): KubeObject =>
    object('AuthorizationPolicy', 'p', {
      spec: {
        targetRefs: [{ kind: 'Gateway', group: 'gateway.networking.k8s.io', name }],
        rules: [{}],
      },
    });
  const rows: readonly (readonly [string, readonly KubeObject[], string, string])[] = [
    [
      'all, by the namespace',
      [namespace('shop', { [use]: 'wp' }), ...waypoint('wp', { for: 'all' }), pod()],
      'wp.shop',
      'wp.shop',
    ],
    [
      'workload, by the namespace: services are not for it',
      [namespace('shop', { [use]: 'wp' }), ...waypoint('wp', { for: 'workload' }), pod()],
      'wp.shop',
      '',
    ],
    [
      'service: pods are not for it, without a word',
      [namespace('shop', { [use]: 'wp' }), ...waypoint('wp'), pod(), policy('wp')],
      '',
      'wp.shop',
    ],
    [
      'by the pod’s own label',
      [namespace('shop'), ...waypoint('wp', { for: 'workload' }), pod({ [use]: 'wp' })],
      'wp.shop',
      '',
    ],
    [
      'none opts out',
      [
        namespace('shop', { [use]: 'wp' }),
        ...waypoint('wp', { for: 'all' }),
        pod({ [use]: 'none' }),
      ],
      '',
      'wp.shop',
    ],
    [
      'another namespace’s, allowed',
      [
        namespace('shop', { [use]: 'wp', [`${use}-namespace`]: 'other' }),
        namespace('other'),
        ...waypoint('wp', { for: 'all', from: 'All', namespace: 'other' }),
        pod(),
      ],
      'wp.other',
      'wp.other',
    ],
    [
      'another namespace’s, not allowed',
      [
        namespace('shop', { [use]: 'wp', [`${use}-namespace`]: 'other' }),
        namespace('other'),
        ...waypoint('wp', { for: 'all', namespace: 'other' }),
        pod(),
      ],
      '',
      '',
    ],
    [
      'not ready, nothing at stake: direct',
      [namespace('shop', { [use]: 'wp' }), ...waypoint('wp', { for: 'all', up: false }), pod()],
      '',
      '',
    ],
    [
      'not ready, a policy on the gateway: closed',
      [
        namespace('shop', { [use]: 'wp' }),
        ...waypoint('wp', { for: 'all', up: false }),
        pod(),
        policy('wp'),
      ],
      'wp.shop',
      'wp.shop',
    ],
  ];
  for (const [name, objects, workload, onService] of rows) {
    test(name, () => {
      const { workloads, services } = sent(world(...objects, service('web')));
      assert.equal(nameOf(workloads[0]?.waypoint), workload);
      assert.equal(nameOf(services[0]?.waypoint), onService);
    });
  }

  test('is told what holds for calls to pods, with the policies of the gateway', () => {
    const w = world(namespace('shop'), ...waypoint('wp', { for: 'workload' }), policy('wp'));
    const [told] = serviceConfigs(w);
    assert.deepEqual(
      [told?.gateway, told?.config.workloads, told?.config.policies?.map((p) => p.key)],
      ['shop/wp', true, ['shop/p']],
    );
  });
});
