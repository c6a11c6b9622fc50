import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parse } from 'yaml';
import type { KubeObject } from '../../core/kube/index.ts';
import { planGateway } from './deploy-plans.ts';
import { GatewayState } from './gateway-state.ts';
import { OverlayError, strategicMerge } from './overlay.ts';
import { classDefaultsLabel, readParameters } from './parameters.ts';

describe('strategic merge', () => {
  const rows: readonly (readonly [string, string, string, string])[] = [
    ['maps are merged', '{a: {b: 1, c: 2}}', '{a: {c: 3, d: 4}}', '{a: {b: 1, c: 3, d: 4}}'],
    ['null takes away', '{a: {b: 1, c: 2}}', '{a: {b: null}}', '{a: {c: 2}}'],
    ['other lists are replaced', '{args: [a, b]}', '{args: [c]}', '{args: [c]}'],
    [
      'containers by name, their env too',
      '{containers: [{name: a, image: x, env: [{name: E, value: 1}]}, {name: b}]}',
      '{containers: [{name: a, env: [{name: E, value: 2}, {name: F, value: 3}]}]}',
      '{containers: [{name: a, image: x, env: [{name: E, value: 2}, {name: F, value: 3}]}, {name: b}]}',
    ],
    [
      'a new container',
      '{containers: [{name: a}]}',
      '{containers: [{name: b}]}',
      '{containers: [{name: a}, {name: b}]}',
    ],
    [
      'ports of a container by containerPort, of a Service by port',
      '{a: {ports: [{containerPort: 1, name: x}]}, b: {ports: [{port: 1, name: x}, {port: 2}]}}',
      '{a: {ports: [{containerPort: 1, name: y}]}, b: {ports: [{port: 2, nodePort: 30000}]}}',
      '{a: {ports: [{containerPort: 1, name: y}]}, b: {ports: [{port: 1, name: x}, {port: 2, nodePort: 30000}]}}',
    ],
    [
      'tolerations have no key: replaced',
      '{tolerations: [{key: a}]}',
      '{tolerations: [{key: b}]}',
      '{tolerations: [{key: b}]}',
    ],
    ['$patch: replace, of a map', '{a: {b: 1}}', '{a: {$patch: replace, c: 2}}', '{a: {c: 2}}'],
    ['$patch: delete, of a map', '{a: {b: 1}}', '{a: {$patch: delete}}', '{a: {}}'],
    [
      '$patch: delete, of an item',
      '{volumes: [{name: a}, {name: b}]}',
      '{volumes: [{name: a, $patch: delete}, {name: none, $patch: delete}]}',
      '{volumes: [{name: b}]}',
    ],
    [
      'R3 names that every object has',
      '{a: 1}',
      '{constructor: [1], toString: {valueOf: [{name: x}]}}',
      '{a: 1, constructor: [1], toString: {valueOf: [{name: x}]}}',
    ],
    [
      '$patch: replace, of a list',
      '{volumes: [{name: a}, {name: b}]}',
      '{volumes: [{$patch: replace}, {name: c}]}',
      '{volumes: [{name: c}]}',
    ],
  ];
  for (const [name, base, patch, wanted] of rows) {
    test(name, () => assert.deepEqual(strategicMerge(parse(base), parse(patch)), parse(wanted)));
  }

  for (const patch of [
    '{$retainKeys: [a]}',
    '{a: {$setElementOrder/b: [c]}}',
    '{$patch: drop}',
    '{a: {__proto__: {b: 1}}}',
  ]) {
    test(`${patch} is not passed over in silence`, () =>
      assert.throws(() => strategicMerge({}, parse(patch)), OverlayError));
  }

  test('nothing changes nothing; twice is once; the base is left as it is', () => {
    const key = fc.constantFrom('a', 'containers', 'env', 'args', 'ports');
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { maxDepth: 3 },
        fc.constantFrom<unknown>(1, 'x', true),
        fc.dictionary(key, tie('tree'), { maxKeys: 3, noNullPrototype: true }),
        fc.array(
          fc.record(
            { name: fc.constantFrom('a', 'b'), value: fc.nat(3) },
            { noNullPrototype: true },
          ),
          {
            maxLength: 1,
          },
        ),
      ),
    }));
    const map = fc.dictionary(key, tree, { maxKeys: 3, noNullPrototype: true });
    fc.assert(
      fc.property(map, map, (base, patch) => {
        const before = structuredClone(base);
        assert.deepEqual(strategicMerge(base, {}), base);
        const once = strategicMerge(base, patch);
        assert.deepEqual(strategicMerge(once, patch), once);
        assert.deepEqual(base, before);
      }),
      { numRuns: 300 },
    );
  });
});

const settings = {
  clusterId: 'Kubernetes',
  trustDomain: 'cluster.local',
  clusterDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  network: '',
};
const template = {
  spec: {
    replicas: 1,
    template: { spec: { containers: [{ name: 'istio-proxy', image: 'mesh' }] } },
  },
};
const configMap = (
  data: Readonly<Record<string, string>>,
  meta: Partial<KubeObject['metadata']> = {},
): KubeObject => ({ metadata: { name: 'params', namespace: 'shop', ...meta }, data });
const gateway = (ref: object | undefined): KubeObject => ({
  metadata: { name: 'waypoint', namespace: 'shop', uid: 'u', generation: 1 },
  spec: {
    gatewayClassName: 'istio-waypoint',
    listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
    ...(ref && { infrastructure: { parametersRef: ref } }),
  },
});
const named = { group: '', kind: 'ConfigMap', name: 'params' };

/** What is made for a Gateway with these parameters; absent ones are known to be absent. */
function plan(
  own: KubeObject | undefined | 'unknown',
  o: { ref?: object | undefined; defaults?: readonly KubeObject[] } = {},
) {
  const state = new GatewayState();
  state.apply('GatewayClass', 'ADDED', {
    metadata: { name: 'istio-waypoint' },
    spec: { controllerName: 'istio.io/mesh-controller' },
  });
  state.apply('Gateway', 'ADDED', gateway('ref' in o ? o.ref : named));
  for (const d of o.defaults ?? []) state.apply('ClassDefaults', 'ADDED', d);
  if (own !== 'unknown') state.parameters.set('shop/params', own && readParameters(own));
  const g = state.gateways.get('shop/waypoint');
  assert.ok(g);
  return planGateway(state, g, template, settings);
}
function desired(...given: Parameters<typeof plan>) {
  const made = plan(...given);
  assert.ok(made !== undefined && made !== 'pending');
  assert.equal(made.fault, undefined);
  return made.fault === undefined ? made.desired : assert.fail();
}
const spec = (o: KubeObject | undefined) => o?.['spec'] as Record<string, unknown> | undefined;

describe('parameters of a Gateway', () => {
  test('each part is changed by its key, and the two extra ones are made', () => {
    const made = desired(
      configMap({
        deployment:
          'spec: {replicas: 3, template: {spec: {containers: [{name: istio-proxy, resources: {requests: {cpu: 1}}}]}}}',
        service: 'metadata: {annotations: {a: b}}\nspec: {type: NodePort}',
        serviceAccount: 'metadata: {annotations: {role: arn}}',
        podDisruptionBudget: 'spec: {minAvailable: 1}',
      }),
    );
    assert.equal(spec(made.deployment)?.['replicas'], 3);
    const text = JSON.stringify(made.deployment);
    assert.match(text, /"image":"mesh"/);
    assert.match(text, /"requests":\{"cpu":1\}/);
    assert.equal(spec(made.service)?.['type'], 'NodePort');
    assert.equal(made.serviceAccount.metadata.annotations?.['role'], 'arn');
    assert.deepEqual(spec(made.podDisruptionBudget), {
      selector: { matchLabels: { 'gateway.networking.k8s.io/gateway-name': 'waypoint' } },
      minAvailable: 1,
    });
    assert.equal(made.podDisruptionBudget?.metadata.ownerReferences?.[0]?.uid, 'u');
    assert.equal(made.horizontalPodAutoscaler, undefined);
  });

  test('with an autoscaler the Deployment says nothing of replicas', () => {
    const made = desired(
      configMap({ horizontalPodAutoscaler: 'spec: {minReplicas: 2, maxReplicas: 5}' }),
    );
    assert.deepEqual(spec(made.horizontalPodAutoscaler), {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'waypoint' },
      minReplicas: 2,
      maxReplicas: 5,
    });
    assert.equal('replicas' in (spec(made.deployment) ?? {}), false);
  });

  const defaults = (name: string, replicas: number, more: Partial<KubeObject['metadata']> = {}) =>
    configMap(
      { deployment: `spec: {replicas: ${replicas}, paused: true}` },
      {
        name,
        namespace: 'istio-system',
        labels: { [classDefaultsLabel]: 'istio-waypoint' },
        ...more,
      },
    );
  test('template, then the defaults of the class (of several the oldest), then its own', () => {
    const all = [
      defaults('young', 7, { creationTimestamp: '2026-02-01T00:00:00Z' }),
      defaults('old', 5, { creationTimestamp: '2026-01-01T00:00:00Z' }),
      defaults('other-class', 9, { labels: { [classDefaultsLabel]: 'istio' } }),
      defaults('elsewhere', 9, { namespace: 'shop' }),
    ];
    const inherited = desired('unknown', { ref: undefined, defaults: all });
    assert.equal(spec(inherited.deployment)?.['replicas'], 5);
    const own = desired(configMap({ deployment: 'spec: {replicas: 2}' }), { defaults: all });
    assert.equal(spec(own.deployment)?.['replicas'], 2);
    assert.equal(spec(own.deployment)?.['paused'], true);
  });

  test('a ConfigMap that is not known yet changes nothing yet', () =>
    assert.equal(plan('unknown'), 'pending'));

  const bad: readonly (readonly [string, () => ReturnType<typeof plan>, string])[] = [
    ['missing', () => plan(undefined), 'parametersRef ConfigMap shop/params does not exist'],
    [
      'another kind',
      () => plan('unknown', { ref: { group: 'x', kind: 'Thing', name: 'params' } }),
      'Unsupported parametersRef group/kind x/Thing, only ConfigMap is supported',
    ],
    [
      'an unknown key',
      () => plan(configMap({ daemonSet: '{}' })),
      'ConfigMap shop/params: unknown key "daemonSet", known are serviceAccount, deployment, service, horizontalPodAutoscaler, podDisruptionBudget',
    ],
    [
      'no map',
      () => plan(configMap({ service: '[]' })),
      'ConfigMap shop/params: key "service" is no map',
    ],
    [
      'an unknown directive',
      () => plan(configMap({ service: 'spec: {$retainKeys: [a]}' })),
      'ConfigMap shop/params: key "service" directive "$retainKeys" is not supported',
    ],
    ...(
      [
        ['metadata.name', 'metadata: {name: x}'],
        ['metadata.namespace', 'metadata: {namespace: x}'],
        ['kind', 'kind: DaemonSet'],
        ['spec.selector', 'spec: {selector: {matchLabels: {a: b}}}'],
        ['metadata.ownerReferences', 'metadata: {ownerReferences: []}'],
      ] as const
    ).map(
      ([what, text]) =>
        [
          what,
          () => plan(configMap({ deployment: text })),
          `ConfigMap shop/params: key "deployment" must not change ${what}`,
        ] as const,
    ),
    [
      'the label it is known by',
      () => plan(configMap({ service: 'metadata: {labels: {gateway.istio.io/managed: null}}' })),
      'ConfigMap shop/params: key "service" must not change the label gateway.istio.io/managed',
    ],
  ];
  for (const [name, make, fault] of bad) {
    test(`${name}: nothing is made of it, and it is told`, () =>
      assert.deepEqual(make(), { fault }));
  }

  test('no YAML: told with a reason', () => {
    const made = plan(configMap({ service: 'a: [b' }));
    assert.ok(made !== undefined && made !== 'pending');
    assert.match(made.fault ?? '', /^ConfigMap shop\/params: key "service" is no YAML: /);
  });
});
