// Who may have which identity (control-plane.md 5.3; checklist K2, K3, K30, K31).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { KubeObject } from '../../core/kube/index.ts';
import { ClusterState, nothingTouched } from '../cluster/index.ts';
import type { CallerIdentity } from '../kube/token-review.ts';
import { type CaRules, decideIdentity } from './policy.ts';

const rules: CaRules = {
  trustDomain: 'cluster.local',
  trustDomainAliases: ['old.example'],
  trustedNodeAccounts: ['istio-system/ztunnel'],
};
const pod = (key: string, account: string, node: string, phase = 'Running'): KubeObject => {
  const [namespace = '', name = ''] = key.split('/');
  return {
    metadata: { name, namespace, uid: `uid-${name}` },
    spec: { nodeName: node, serviceAccountName: account },
    status: { phase },
  };
};

const cluster = new ClusterState('istio-system');
for (const o of [
  pod('istio-system/ztunnel-1', 'ztunnel', 'n1'),
  pod('istio-system/ztunnel-x', 'other', 'n1'),
  pod('shop/web-0', 'web', 'n1'),
  pod('shop/pending', 'pending', 'n1', 'Pending'),
  pod('shop/failed', 'failed', 'n1', 'Failed'),
  pod('shop/done', 'done', 'n1', 'Succeeded'),
  pod('shop/far-0', 'far', 'n2'),
]) {
  cluster.apply('Pod', 'ADDED', o, nothingTouched());
}

const proxy: CallerIdentity = {
  namespace: 'istio-system',
  serviceAccount: 'ztunnel',
  podName: 'ztunnel-1',
  podUid: 'uid-ztunnel-1',
};
const id = (account: string, domain = 'cluster.local') =>
  `spiffe://${domain}/ns/shop/sa/${account}`;
const web: CallerIdentity = {
  namespace: 'shop',
  serviceAccount: 'web',
  podName: 'web-0',
  podUid: 'uid-web-0',
};

describe('certificates', () => {
  const rows: readonly [string, CallerIdentity, string | undefined, string | undefined][] = [
    ['K30 its own identity', web, undefined, id('web')],
    [
      'K30 the node proxy’s own',
      proxy,
      undefined,
      'spiffe://cluster.local/ns/istio-system/sa/ztunnel',
    ],
    ['K30 a pod on its node', proxy, id('web'), id('web')],
    ['K30 a pending pod on its node', proxy, id('pending'), id('pending')],
    ['K30 a pod elsewhere', proxy, id('far'), undefined],
    ['K2 no such pod', proxy, id('nobody'), undefined],
    ['K31 a failed pod does not justify an identity', proxy, id('failed'), undefined],
    ['K31 nor does a finished one', proxy, id('done'), undefined],
    ['K2 another trust domain', proxy, id('web', 'evil.example'), undefined],
    ['an alias of the trust domain', proxy, id('web', 'old.example'), id('web', 'old.example')],
    ['K2 malformed: not SPIFFE', proxy, 'web', undefined],
    ['K2 malformed: not the mesh’s form', proxy, 'spiffe://cluster.local/web', undefined],
    ['K2 malformed: empty', proxy, '', undefined],
    ['K2 malformed: upper case', proxy, 'spiffe://Cluster.local/ns/shop/sa/web', undefined],
    ['K3 an ordinary workload for another', web, id('far'), undefined],
    ['K3 an ordinary workload for itself by name', web, id('web'), undefined],
    [
      'K30 an account of that name elsewhere',
      { ...proxy, namespace: 'shop' },
      id('web'),
      undefined,
    ],
    ['K2 the calling pod is unknown', { ...proxy, podName: 'ztunnel-9' }, id('web'), undefined],
    ['K2 a token without a pod', { ...proxy, podName: '', podUid: '' }, id('web'), undefined],
    [
      'K2 the UID is that of an earlier pod of the name',
      { ...proxy, podUid: 'old' },
      id('web'),
      undefined,
    ],
    [
      'K30 the calling pod has another account',
      { ...proxy, podName: 'ztunnel-x', podUid: 'uid-ztunnel-x' },
      id('web'),
      undefined,
    ],
  ];
  for (const [what, caller, wanted, want] of rows) {
    test(`${what}: ${want === undefined ? 'no' : 'yes'}`, () => {
      const d = decideIdentity(cluster, caller, wanted, rules);
      assert.equal(d.allow ? d.identity : undefined, want);
      if (!d.allow) assert.ok(d.why.length > 10, 'the log hears why');
    });
  }
});
