// One decision among 10,000 policies of 10 rules of which none matches, and what their arrival costs
// (performance.md section 3, row `rbac`; the promise is 1 ms a decision and no pause over 20 ms).
import { parseIpBytes } from '../core/base/index.ts';
import {
  authorize,
  emptyMatch,
  MeshState,
  type Policy,
  policyKey,
  printIdentity,
  type RbacConnection,
  type Rule,
  type Workload,
  workloadUid,
} from '../core/model/index.ts';
import type { Result } from './data-path.ts';
import { longest, median } from './sampling.ts';

const policies = 10_000;
const rulesEach = 10;

const target: Workload = {
  uid: workloadUid('Kubernetes//Pod/shop/web-0'),
  name: 'web-0',
  namespace: 'shop',
  addresses: [],
  hostname: '',
  network: '',
  protocol: 'HBONE',
  trustDomain: 'cluster.local',
  serviceAccount: 'web',
  node: 'n1',
  canonicalName: 'web',
  canonicalRevision: 'v1',
  workloadType: 'pod',
  workloadName: 'web',
  nativeTunnel: false,
  authorizationPolicies: [],
  status: 'Healthy',
  clusterId: 'Kubernetes',
  services: new Map(),
  locality: { region: '', zone: '', subzone: '' },
  networkMode: 'Standard',
  capacity: 1,
};

const none = { any: [], none: [] } as const;

/** Rules as people write them: a caller and a port; every other one by namespace. */
function rule(i: number): Rule {
  const id = `cluster.local/ns/team-${i % 977}/sa/app-${i}`;
  const from =
    i % 2 === 0
      ? { ...emptyMatch, principals: { ...none, any: [{ kind: 'exact' as const, text: id }] } }
      : {
          ...emptyMatch,
          namespaces: { ...none, any: [{ kind: 'exact' as const, text: `n-${i}` }] },
        };
  return [[from], [{ ...emptyMatch, destinationPorts: { ...none, any: [8080, 8443] } }]];
}

const policy = (i: number): Policy => ({
  key: policyKey('shop', `p${i}`),
  name: `p${i}`,
  namespace: 'shop',
  scope: 'Namespace',
  action: i % 2 === 0 ? 'Deny' : 'Allow',
  dryRun: false,
  rules: Array.from({ length: rulesEach }, (_, r) => rule(i * rulesEach + r)),
});

const address = (text: string): Uint8Array => parseIpBytes(text) ?? new Uint8Array(4);
const plaintext: RbacConnection = {
  sourceIp: address('10.1.0.1'),
  destinationIp: address('10.1.0.2'),
  destinationPort: 8080,
};
const who = { trustDomain: 'cluster.local', namespace: 'stranger', serviceAccount: 'x' };
const identified = { ...plaintext, identity: who, principal: printIdentity(who) };

/** Milliseconds of each of `n` runs. */
function times(n: number, work: (i: number) => void): number[] {
  return Array.from({ length: n }, (_, i) => {
    const began = performance.now();
    work(i);
    return performance.now() - began;
  });
}

export function* cases(filter = ''): IterableIterator<Result> {
  if (!'rbac'.includes(filter) && !filter.startsWith('rbac')) return;
  const all = Array.from({ length: policies }, (_, i) => policy(i));
  const mesh = new MeshState();
  mesh.apply({ workloads: [target] });
  const staged = mesh.stage();
  const prepared = times(policies / 40, (i) => {
    for (const p of all.slice(i * 40, i * 40 + 40)) mesh.prepare(staged, { policy: p });
  });
  const [arrival = 0] = times(1, () => mesh.apply({ staged }));
  const [first = 0] = times(1, () => mesh.judge(target, plaintext));
  yield {
    name: 'rbac/arrival',
    unit: 'ms',
    value: arrival,
    more: { slice: median(prepared), longestSlice: longest(prepared), firstDecision: first },
  };
  for (const [name, c] of [
    ['plaintext', plaintext],
    ['identity', identified],
  ] as const) {
    const naive = times(5, () => authorize(mesh.policiesFor(target), c));
    const indexed = times(2_000, () => mesh.judge(target, c));
    yield {
      name: `rbac/${name}`,
      unit: 'ms',
      value: median(indexed),
      more: { longest: longest(indexed), everyRule: median(naive) },
    };
  }
  // As a proxy does between two changes.
  while (mesh.tidy(1_000));
  const [change = 0] = times(1, () => {
    mesh.apply({ policies: [policy(1)] });
    mesh.judge(target, identified);
  });
  yield { name: 'rbac/one-change', unit: 'ms', value: change };
}
