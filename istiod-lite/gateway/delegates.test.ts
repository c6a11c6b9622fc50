// VirtualServices that delegate: what the delegate's rules become, and what both authors read (waypoint-l7.md 5.5).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { KubeObject } from '../../core/kube/index.ts';
import { L7PathKind } from '../../core/proto/index.ts';
import { virtualServiceStatus } from './rule-status.ts';
import { serviceConfigs } from './service-config.ts';
import { testSettings as settings, worldOf } from './testkit.ts';

const object = (kind: string, name: string, more: object, namespace = 'shop'): KubeObject => ({
  kind,
  metadata: { name, namespace, uid: `uid-${name}`, generation: 1 },
  ...more,
});
const service = (name: string, namespace = 'shop'): KubeObject => {
  const ports = [{ name: 'http', port: 80 }];
  return object('Service', name, { spec: { clusterIP: '10.0.0.9', ports } }, namespace);
};
const base: readonly KubeObject[] = [
  {
    kind: 'GatewayClass',
    metadata: { name: 'istio-waypoint' },
    spec: { controllerName: 'istio.io/mesh-controller' },
  },
  {
    kind: 'Namespace',
    metadata: { name: 'shop', labels: { 'istio.io/use-waypoint': 'waypoint' } },
  },
  object('Gateway', 'waypoint', {
    spec: {
      gatewayClassName: 'istio-waypoint',
      listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
    },
  }),
  service('web'),
  service('reviews'),
  service('reviews', 'team'),
];
const to = (host: string): object => ({ destination: { host } });
const root = (http: readonly object[]): KubeObject =>
  object('VirtualService', 'root', { spec: { hosts: ['web'], http } });
const leaf = (http: readonly object[], more: object = {}, namespace = 'team'): KubeObject =>
  object('VirtualService', 'leaf', { spec: { http, ...more } }, namespace);
const delegate = { name: 'leaf', namespace: 'team' };

function routed(...objects: readonly KubeObject[]) {
  const world = worldOf(settings, [...base, ...objects]);
  const config = serviceConfigs(world).find((c) => c.name.startsWith('shop/web.'))?.config;
  const table = config?.ports?.[0]?.routes;
  return (table?.entries ?? []).map(({ match, rule }) => ({
    match,
    rule: table?.rules?.[rule ?? 0],
  }));
}
const paths = (...objects: readonly KubeObject[]): string[] =>
  routed(...objects).map(({ match: m, rule }) => {
    const kind = m?.pathKind === L7PathKind.STRING_PREFIX ? '*' : '';
    return `${m?.path}${kind} ${rule?.broken ? 500 : (rule?.backends?.[0]?.hostname ?? '-')}`;
  });
function told(name: 'root' | 'leaf', ...objects: readonly KubeObject[]): string[] {
  const world = worldOf(settings, [...base, ...objects]);
  const v = [...world.gateways.virtualServices.values()].find((x) => x.name === name);
  assert.ok(v);
  const status = virtualServiceStatus(world, v, 'now') as {
    conditions: { type: string; status: string; reason: string; message: string }[];
  };
  return status.conditions.map((c) => `${c.type} ${c.status} ${c.reason}: ${c.message}`);
}

describe('delegate', () => {
  test('the delegate’s rules stand in its place, with names of its own namespace', () => {
    const all = [
      root([{ match: [{ uri: { prefix: '/reviews' } }], delegate }, { route: [to('web')] }]),
      leaf([
        { match: [{ uri: { prefix: '/reviews/v2' } }], route: [to('reviews')] },
        { route: [to('reviews.shop.svc.cluster.local')] },
      ]),
    ];
    assert.deepEqual(paths(...all), [
      '/reviews/v2* reviews.team.svc.cluster.local',
      '/reviews* reviews.shop.svc.cluster.local',
      ' web.shop.svc.cluster.local',
    ]);
    assert.deepEqual(told('root', ...all), ['Accepted True Accepted: Route was valid']);
    assert.deepEqual(told('leaf', ...all), ['Accepted True Accepted: delegate of shop/root']);
  });

  const within = (a: object, b: object): string[] =>
    paths(root([{ match: [a], delegate }]), leaf([{ match: [b], route: [to('reviews')] }]));
  const rows: readonly (readonly [string, object, object, string])[] = [
    ['a longer prefix', { uri: { prefix: '/a' } }, { uri: { prefix: '/a/b' } }, '/a/b*'],
    ['a shorter prefix', { uri: { prefix: '/a/b' } }, { uri: { prefix: '/a' } }, ''],
    ['exact under a prefix', { uri: { prefix: '/a' } }, { uri: { exact: '/ab' } }, '/ab'],
    ['a prefix under exact', { uri: { exact: '/a' } }, { uri: { prefix: '/a' } }, ''],
    ['the same exact', { uri: { exact: '/a' } }, { uri: { exact: '/a' } }, '/a'],
    ['an expression under a prefix', { uri: { prefix: '/a' } }, { uri: { regex: '/a.*' } }, ''],
    [
      'an expression under nothing',
      { method: { exact: 'GET' } },
      { uri: { regex: '/a.*' } },
      '/a.*',
    ],
    ['another port', { port: 80 }, { port: 81, uri: { exact: '/a' } }, ''],
    ['another method', { method: { exact: 'GET' } }, { method: { exact: 'POST' } }, ''],
    [
      'another header',
      { headers: { a: { exact: '1' } } },
      { headers: { b: { exact: '2' } }, uri: { exact: '/a' } },
      '/a',
    ],
    ['the same header, any value', { headers: { a: { exact: '1' } } }, { headers: { a: {} } }, ''],
    ['labels that differ', { sourceLabels: { a: 'b' } }, { sourceLabels: { a: 'c' } }, ''],
    [
      'case is told apart by one of them',
      { uri: { prefix: '/a' }, ignoreUriCase: true },
      { uri: { prefix: '/a' } },
      '',
    ],
    ['gateways are the root’s to say', { gateways: ['x/edge'] }, { gateways: ['mesh'] }, ''],
  ];
  for (const [name, a, b, wanted] of rows) {
    test(`${name}: ${wanted === '' ? 'left out' : wanted}`, () =>
      assert.deepEqual(
        within(a, b),
        wanted === '' ? [] : [`${wanted} reviews.team.svc.cluster.local`],
      ));
  }

  test('conditions of both hold together, for each that fits', () => {
    const [first, second, ...none] = routed(
      root([
        {
          match: [
            { headers: { a: { exact: '1' } }, uri: { prefix: '/x' } },
            { queryParams: { q: {} } },
          ],
          delegate,
        },
      ]),
      leaf([{ match: [{ headers: { B: { exact: '2' } } }], route: [to('reviews')] }]),
    );
    assert.equal(none.length, 0);
    assert.deepEqual(
      first?.match?.headers?.map((h) => h.name),
      ['a', 'b'],
    );
    assert.equal(first?.match?.path, '/x');
    assert.deepEqual(
      second?.match?.query?.map((q) => q.name),
      ['q'],
    );
  });

  test('what the delegate does not say is the root’s, with the root’s names', () => {
    const [one, two] = routed(
      root([
        {
          name: 'r',
          delegate,
          timeout: '3s',
          rewrite: { uri: '/' },
          mirror: { host: 'reviews' },
          retries: { attempts: 1 },
        },
      ]),
      leaf([
        { name: 'l', timeout: '1s', route: [to('reviews')] },
        { route: [to('reviews')], retries: { attempts: 4 }, mirror: { host: 'reviews' } },
      ]),
    ).map((e) => e.rule);
    assert.equal(one?.name, 'r-l');
    assert.equal(one?.requestTimeoutMs, 1_000);
    assert.equal(one?.retry?.attempts, 1);
    assert.deepEqual(one?.filters?.rewrite?.path, { full: '/' });
    const mirrored = (r: typeof one): string =>
      r?.filters?.mirrors?.[0]?.backend?.hostname ?? 'none';
    assert.equal(mirrored(one), 'reviews.shop.svc.cluster.local');
    assert.equal(two?.requestTimeoutMs, 3_000);
    assert.equal(two?.retry?.attempts, 4);
    assert.equal(mirrored(two), 'reviews.team.svc.cluster.local');
  });

  const rule = [{ route: [to('reviews')] }];
  const lost: readonly (readonly [string, readonly KubeObject[], RegExp])[] = [
    ['not there', [], /delegate team\/leaf, which is not there, .*answers 500/],
    ['with hosts of its own', [leaf(rule, { hosts: ['x'] })], /which has hosts of its own/],
    ['K11 not exported', [leaf(rule, { exportTo: ['.'] })], /which is not exported to shop/],
  ];
  for (const [name, objects, message] of lost) {
    test(`${name}: what the root matches answers 500, nothing falls through`, () => {
      const all = [
        root([{ match: [{ uri: { exact: '/a' } }], delegate }, { route: [to('web')] }]),
        ...objects,
      ];
      assert.deepEqual(paths(...all), ['/a 500', ' web.shop.svc.cluster.local']);
      assert.match(told('root', ...all)[1] ?? '', message);
    });
  }

  test('a delegate of a delegate, and a destination beside it: 500', () => {
    const chain = [root([{ delegate }]), leaf([{ delegate: { name: 'leaf' } }])];
    assert.deepEqual(paths(...chain), [' 500']);
    assert.match(told('leaf', ...chain)[1] ?? '', /delegate of a delegate is not supported/);
    assert.deepEqual(paths(root([{ delegate, route: [to('web')] }]), leaf(rule)), [' 500']);
  });

  test('K9 matches that would multiply without end: 500', () => {
    const many = Array.from({ length: 40 }, (_, i) => ({ uri: { prefix: `/${i}` } }));
    const made = routed(
      root([{ match: many, delegate }]),
      leaf([{ match: many, route: [to('reviews')] }]),
    );
    assert.ok(made.length <= 40 && made.every((e) => e.rule?.broken));
  });

  test('left out: told to both; of nobody: told to itself', () => {
    const all = [
      root([{ match: [{ uri: { exact: '/a' } }], delegate }]),
      leaf([{ match: [{ uri: { exact: '/b' } }], route: [to('nobody')] }]),
    ];
    const message = /http\[0\] of delegate team\/leaf matches nothing that http\[0\] of shop\/root/;
    assert.match(told('root', ...all)[1] ?? '', message);
    assert.match(told('leaf', ...all)[1] ?? '', message);
    assert.match(told('leaf', leaf(rule))[0] ?? '', /Accepted False NoMatchingParent/);
  });

  test('references of the delegate that lead nowhere are told to the delegate alone', () => {
    const all = [root([{ delegate }]), leaf([{ route: [to('nobody')] }])];
    assert.equal(told('root', ...all).length, 1);
    assert.match(told('leaf', ...all)[1] ?? '', /nobody\.team\.svc\.cluster\.local not found/);
  });
});
