// The checks by what they are told: every finding here is one that somebody has lost a day to.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject } from '../../core/kube/index.ts';
import { afterInstall, beforeInstall, runChecks } from './checks.ts';
import type { Facts } from './facts.ts';

const ours = { 'app.kubernetes.io/part-of': 'ambient-lite' };
const object = (name: string, more: object = {}, meta: object = {}): KubeObject => ({
  metadata: { name, ...meta },
  ...more,
});
const node = (name: string, info: object, spec: object = {}): KubeObject =>
  object(name, { spec, status: { nodeInfo: info } });

const fine: Facts = {
  namespace: 'istio-system',
  version: { major: '1', minor: '33', gitVersion: 'v1.33.6' },
  namespaces: [],
  nodes: [
    node('n1', { kernelVersion: '6.1.0-18', operatingSystem: 'linux', architecture: 'amd64' }),
  ],
  crds: [],
  ownKinds: [],
  deployments: [],
  daemonSets: [],
  pods: [],
  networkPolicies: [],
  rootMaps: [],
  ciliumConfig: undefined,
  quotas: [],
  denied: [],
  unread: [],
};
const before = (more: Partial<Facts>): string[] =>
  runChecks(beforeInstall, { ...fine, ...more })
    .filter((f) => f.level !== 'ok')
    .map((f) => `${f.level} ${f.check}: ${f.message}`);

test('a plain cluster passes every check, each with a line', () => {
  assert.deepEqual(before({}), []);
  assert.ok(runChecks(beforeInstall, fine).length >= 6);
});

const policy = (rules: object[], types?: string[]): KubeObject =>
  object(
    'deny',
    { spec: { ingress: rules, ...(types && { policyTypes: types }) } },
    { namespace: 'a' },
  );

const rows: [string, Partial<Facts>, string[]][] = [
  [
    'old server',
    { version: { major: '1', minor: '27+', gitVersion: 'v1.27.3' } },
    ['error version: Kubernetes is v1.27.3'],
  ],
  [
    'few rights',
    { denied: ['patch clusterroles.rbac.authorization.k8s.io'] },
    ['error rights: you may not: patch clusterroles.rbac.authorization.k8s.io'],
  ],
  ['no nodes', { nodes: [] }, ['warning nodes: there are no nodes']],
  [
    'old kernel',
    { nodes: [node('n1', { kernelVersion: '4.18.0-el8', operatingSystem: 'linux' })] },
    ['error kernel: older than 5.4: n1 (4.18.0-el8)'],
  ],
  [
    'other machine',
    { nodes: [node('n1', { kernelVersion: '6.1.0', architecture: 's390x' })] },
    ['error architecture: neither amd64 nor arm64: n1'],
  ],
  [
    'windows',
    { nodes: [...fine.nodes, node('w', { operatingSystem: 'windows' })] },
    ['warning nodes: not Linux: w'],
  ],
  [
    'old Gateway API',
    {
      crds: [
        object('gateways.gateway.networking.k8s.io', {
          spec: { versions: [{ name: 'v1beta1', served: true }] },
        }),
      ],
    },
    ['error kinds: no version that istiod reads: gateways.gateway.networking.k8s.io'],
  ],
  [
    'Istio',
    { deployments: [object('istiod')] },
    ['error other mesh: Istio’s istiod is in namespace istio-system'],
  ],
  [
    'Istio’s node agent',
    { daemonSets: [object('istio-cni-node')] },
    ['error other mesh: the DaemonSet istio-cni-node runs'],
  ],
  [
    'sidecars',
    { namespaces: [object('a', {}, { labels: { 'istio-injection': 'enabled' } })] },
    ['warning other mesh: namespaces with sidecars: a'],
  ],
  [
    'masquerade',
    { ciliumConfig: { 'enable-bpf-masquerade': 'true' } },
    ['error cilium: enable-bpf-masquerade is on'],
  ],
  [
    'socket balancing',
    { ciliumConfig: { 'bpf-lb-sock': 'true' } },
    ['error cilium: socket load balancing reaches into pods'],
  ],
  [
    'closed policy',
    { networkPolicies: [policy([{ ports: [{ port: 8080 }] }])] },
    ['warning network policies: without TCP 15008: a/deny'],
  ],
  [
    'policy with a range',
    { networkPolicies: [policy([{ ports: [{ port: 15000, endPort: 15100 }] }])] },
    [],
  ],
  ['policy of what goes out', { networkPolicies: [policy([], ['Egress'])] }, []],
  [
    'GKE',
    { nodes: [node('n1', { kernelVersion: '6.1.0' }, { providerID: 'gce://p/z/n1' })] },
    ['warning platform: this is GKE'],
  ],
  [
    'pod security',
    {
      namespaces: [
        object(
          'istio-system',
          {},
          { labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
        ),
      ],
    },
    ['error pod security: namespace istio-system enforces restricted'],
  ],
  ['what may not be read', { unread: ['nodes: forbidden'] }, ['warning reading: nodes: forbidden']],
];
for (const [name, facts, expected] of rows) {
  test(`before: ${name}`, () => assert.deepEqual(before(facts), expected));
}

test('after: what is missing, what is not ready and why, and what waits', () => {
  const meta = { namespace: 'istio-system', labels: ours };
  const ready = { status: { updatedReplicas: 2, availableReplicas: 2 }, spec: { replicas: 2 } };
  const half = {
    status: { desiredNumberScheduled: 2, updatedNumberScheduled: 2, numberAvailable: 1 },
  };
  const findings = runChecks(afterInstall, {
    ...fine,
    deployments: [object('istiod', ready, meta)],
    daemonSets: [object('ztunnel', half, meta)],
    namespaces: [object('shop', {}, { labels: { 'istio.io/dataplane-mode': 'ambient' } })],
    pods: [
      object(
        'ztunnel-x',
        {
          status: {
            containerStatuses: [
              {
                name: 'c',
                state: { waiting: { reason: 'CrashLoopBackOff' } },
                lastState: { terminated: { exitCode: 1 } },
              },
            ],
          },
        },
        { namespace: 'istio-system', labels: { app: 'ztunnel' } },
      ),
      object(
        'web',
        {},
        { namespace: 'shop', annotations: { 'ambient.istio.io/redirection': 'pending' } },
      ),
    ],
  }).filter((f) => f.level !== 'ok');
  assert.deepEqual(
    findings.map((f) => `${f.check}: ${f.message} → ${f.hint}`),
    [
      'ztunnel: 1 of 2 pods are ready → pod ztunnel-x: CrashLoopBackOff (container c): exit code 1',
      'node-agent: is not installed → ambientctl install',
      'root certificate: missing in: shop → istiod writes ConfigMap istio-ca-root-cert: look at its log',
      'pods: wait for their proxy: shop/web → look at the logs of node-agent and ztunnel on their nodes',
    ],
  );
});

test('a sandbox without namespaces has no node-agent, and needs none', () => {
  const said = (annotations: Record<string, string>): string | undefined =>
    runChecks(afterInstall, {
      ...fine,
      daemonSets: [object('ztunnel', {}, { namespace: 'istio-system', labels: ours, annotations })],
    }).find((f) => f.check === 'node-agent')?.level;
  assert.equal(said({}), 'error');
  assert.equal(said({ 'sandbox.ambientlite.dev/driver': 'loopback' }), 'ok');
});

test('a kind that was deleted, or is being deleted, is named', () => {
  const crd = (name: string, deletionTimestamp?: string): KubeObject =>
    object(name, {}, deletionTimestamp === undefined ? {} : { deletionTimestamp });
  const ownKinds = ['a.example.com', 'b.example.com', 'c.example.com'];
  const said = (crds: KubeObject[]): string | undefined => {
    const found = runChecks(afterInstall, { ...fine, ownKinds, crds });
    const line = found.find((f) => f.check === 'kinds');
    return line && `${line.level} ${line.message}`;
  };
  assert.match(
    said([crd('a.example.com'), crd('b.example.com', '2026-01-01T00:00:00Z')]) ?? '',
    /^error not there, .*b\.example\.com, c\.example\.com/,
  );
  assert.equal(said(ownKinds.map((name) => crd(name))), 'ok all 3 are there');
});
