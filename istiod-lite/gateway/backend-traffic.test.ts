// XBackendTrafficPolicy: which holds, what comes of it, what its author reads (waypoint-l7.md 5.1, 5.3).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { KubeObject } from '../../core/kube/index.ts';
import { backendTrafficStatus } from './backend-traffic.ts';
import { clusterFor } from './destination-rules.ts';
import { sendersIn } from './policy-ancestors.ts';
import { serviceConfigs } from './service-config.ts';
import { testSettings as settings, worldOf } from './testkit.ts';

const object = (kind: string, name: string, spec: object, meta: object = {}): KubeObject => ({
  kind,
  metadata: { name, namespace: 'shop', uid: `uid-${name}`, generation: 1, ...meta },
  spec,
});
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
    gatewayClassName: 'istio-waypoint',
    listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
  }),
  object('Service', 'web', { clusterIP: '10.0.0.9', ports: [{ name: 'http', port: 80 }] }),
];
const service = { group: '', kind: 'Service', name: 'web' };
const policy = (name: string, retryConstraint?: object, more: object = {}, meta: object = {}) =>
  object(
    'XBackendTrafficPolicy',
    name,
    { targetRefs: [service], ...(retryConstraint && { retryConstraint }), ...more },
    meta,
  );
const at = (second: number): object => ({
  creationTimestamp: new Date(second * 1000).toISOString(),
});
const rule = (trafficPolicy: object): KubeObject =>
  object('DestinationRule', 'web', { host: 'web', trafficPolicy });
const world = (...objects: readonly KubeObject[]) => worldOf(settings, [...base, ...objects]);
const web = { namespace: 'shop', hostname: 'web.shop.svc.cluster.local', port: 80, subset: '' };

describe('retryConstraint', () => {
  const budget = { budget: { percent: 50, interval: '3s' }, minRetryRate: { count: 2 } };
  const [defaults, given, own] = [
    { share: 2_000, minConcurrency: 10, intervalMs: 10_000 },
    { share: 5_000, minConcurrency: 2, intervalMs: 3_000 },
    { share: 700, minConcurrency: 3, intervalMs: 0 },
  ];
  const rows: readonly (readonly [string, readonly KubeObject[], object | undefined])[] = [
    ['nothing', [], undefined],
    ['an empty one: its defaults', [policy('a', {})], defaults],
    ['as given', [policy('a', budget)], given],
    ['beside a DestinationRule', [policy('a', budget), rule({ outlierDetection: {} })], given],
    [
      'a DestinationRule’s own stands before it',
      [policy('a', budget), rule({ retryBudget: { percent: 7 } })],
      own,
    ],
    ['the oldest', [policy('a', {}, {}, at(9)), policy('b', budget, {}, at(3))], given],
    [
      'the oldest that says something of it',
      [policy('a', undefined, {}, at(3)), policy('b', budget, {}, at(9))],
      given,
    ],
    ['K11 of another namespace', [policy('a', budget, {}, { namespace: 'other' })], undefined],
    [
      'of another Service',
      [policy('a', budget, { targetRefs: [{ ...service, name: 'x' }] })],
      undefined,
    ],
    ['K9 that cannot be read', [policy('a', { budget: { percent: -1 } })], undefined],
  ];
  for (const [name, objects, wanted] of rows) {
    test(`${name}: ${wanted ? JSON.stringify(wanted) : 'none'}`, () =>
      assert.deepEqual(clusterFor(world(...objects), web, 'shop')?.traffic?.retryBudget, wanted));
  }
});

describe('status', () => {
  const told = (name: string, ...objects: readonly KubeObject[]) => {
    const w = world(...objects);
    const p = w.gateways.backendTraffic.get(`shop/${name}`);
    assert.ok(p);
    const senders = sendersIn(serviceConfigs(w));
    const { ancestors } = backendTrafficStatus(w, p, senders, 'now') as {
      ancestors: {
        ancestorRef: { kind: string; name: string };
        conditions: { type: string; status: string; reason: string; message: string }[];
      }[];
    };
    return ancestors.map(
      ({ ancestorRef: r, conditions: [c] }) =>
        `${r.kind} ${r.name}: ${c?.type} ${c?.status} ${c?.reason}: ${c?.message}`,
    );
  };
  const rows: readonly (readonly [string, readonly KubeObject[], RegExp])[] = [
    ['holds', [policy('a', {})], /^Gateway waypoint: Accepted True Accepted: Policy was valid$/],
    [
      'with a part that does nothing',
      [policy('a', {}, { sessionPersistence: {} })],
      /True Accepted: Policy was valid, but sessionPersistence is not supported$/,
    ],
    [
      'for nothing that is there',
      [policy('a', {}, { targetRefs: [{ ...service, name: 'x' }] })],
      /^Service x: Accepted False TargetNotFound: Service shop\/x was not found$/,
    ],
    [
      'younger than another',
      [policy('a', {}, {}, at(9)), policy('b', {}, {}, at(3))],
      /False Conflicted: XBackendTrafficPolicy shop\/b holds for Service shop\/web$/,
    ],
    [
      'K9 values that are none',
      [
        policy('a', {
          budget: { percent: 1e9, interval: 'soon' },
          minRetryRate: { count: 0.5 },
        }),
      ],
      /False Invalid: .*percent .*; .*interval .*; .*count /,
    ],
  ];
  for (const [name, objects, message] of rows) {
    test(name, () => {
      const [first, ...more] = told('a', ...objects);
      assert.match(first ?? '', message);
      assert.equal(more.length, 0);
    });
  }
});
