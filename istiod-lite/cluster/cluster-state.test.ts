// What an event touches: enough, so that nothing is stale, and no more, so that a pod costs a pod.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { KubeObject } from '../../core/kube/index.ts';
import { ClusterState, type EventType, type Kind, nothingTouched, type Touched } from './index.ts';

const object = (namespace: string, name: string, more: object = {}): KubeObject => {
  const { metadata, ...rest } = more as { metadata?: object };
  return { metadata: { name, namespace, ...metadata }, ...rest };
};
const pod = (name: string, node = 'n1') =>
  object('shop', name, { spec: { nodeName: node }, status: { podIP: '10.0.0.1' } });
const slice = (...pods: string[]) =>
  object('shop', 's-1', {
    endpoints: pods.map((name) => ({ addresses: [], targetRef: { kind: 'Pod', name, uid: 'u' } })),
  });

type Event = readonly [Kind, EventType, KubeObject];

function touch(before: readonly Event[], ...now: Event): string {
  const cluster = new ClusterState('istio-system');
  for (const e of before) cluster.apply(...e, nothingTouched());
  const t: Touched = nothingTouched();
  cluster.apply(...now, t);
  return [
    ...[...t.pods].map((k) => `pod ${k}`),
    ...[...t.services].map((k) => `service ${k}`),
    ...[...t.slices].map((k) => `slice ${k}`),
    ...[...t.namespaces].map((k) => `namespace ${k}`),
    t.everything ? 'everything' : '',
    t.policies ? 'policies' : '',
  ]
    .filter((x) => x !== '')
    .join(', ');
}

const add = (kind: Kind, o: KubeObject): Event => [kind, 'ADDED', o];

describe('touched keys', () => {
  const rows: readonly [string, readonly Event[], Event, string][] = [
    ['a pod touches itself', [], add('Pod', pod('a')), 'pod shop/a'],
    ['… also when it goes', [add('Pod', pod('a'))], ['Pod', 'DELETED', pod('a')], 'pod shop/a'],
    [
      'a node touches its pods',
      [add('Pod', pod('a')), add('Pod', pod('b', 'n2'))],
      ['Node', 'MODIFIED', object('', 'n1')],
      'pod shop/a',
    ],
    [
      '… and not those that left it',
      [add('Pod', pod('a')), ['Pod', 'MODIFIED', pod('a', 'n2')]],
      ['Node', 'MODIFIED', object('', 'n1')],
      '',
    ],
    [
      'a service touches itself and the pods of its namespace',
      [],
      add('Service', object('shop', 'web')),
      'service shop/web, namespace shop',
    ],
    [
      'a slice touches itself and the pods it names',
      [],
      add('EndpointSlice', slice('a')),
      'pod shop/a, slice shop/s-1',
    ],
    [
      '… and the pods it named before',
      [add('EndpointSlice', slice('a'))],
      ['EndpointSlice', 'MODIFIED', slice('b')],
      'pod shop/a, pod shop/b, slice shop/s-1',
    ],
    [
      'a namespace touches what is in it',
      [],
      ['Namespace', 'MODIFIED', object('', 'shop')],
      'namespace shop',
    ],
    [
      'a policy touches its namespace',
      [],
      add('AuthorizationPolicy', object('shop', 'p')),
      'namespace shop, policies',
    ],
    [
      'a policy of the root namespace touches everything',
      [],
      add('AuthorizationPolicy', object('istio-system', 'p')),
      'everything, policies',
    ],
    [
      'so does mutual TLS',
      [],
      add('PeerAuthentication', object('istio-system', 'p')),
      'everything, policies',
    ],
    [
      'mutual TLS of one namespace',
      [],
      ['PeerAuthentication', 'DELETED', object('shop', 'p')],
      'namespace shop, policies',
    ],
  ];
  for (const [what, before, now, want] of rows) {
    test(what, () => assert.equal(touch(before, ...now), want));
  }
});

describe('cluster state', () => {
  test('pods by node follow them', () => {
    const cluster = new ClusterState('istio-system');
    const apply = (type: EventType, o: KubeObject): void =>
      cluster.apply('Pod', type, o, nothingTouched());
    apply('ADDED', pod('a'));
    apply('MODIFIED', pod('a', 'n2'));
    assert.deepEqual(cluster.podsOnNode('n1'), []);
    assert.deepEqual(
      cluster.podsOnNode('n2').map((p) => p.name),
      ['a'],
    );
    apply('DELETED', pod('a', 'n2'));
    assert.deepEqual(cluster.podsOnNode('n2'), []);
  });

  test('an object relabelled to another revision is as good as deleted', () => {
    const cluster = new ClusterState('istio-system', 'r1');
    const policy = (rev: string) =>
      object('shop', 'p', {
        metadata: { name: 'p', namespace: 'shop', labels: { 'istio.io/rev': rev } },
      });
    cluster.apply('AuthorizationPolicy', 'ADDED', policy('r1'), nothingTouched());
    assert.ok(cluster.authorizationPolicies.get('shop', 'p'));
    cluster.apply('AuthorizationPolicy', 'MODIFIED', policy('r2'), nothingTouched());
    assert.equal(cluster.authorizationPolicies.get('shop', 'p'), undefined);
  });
});
