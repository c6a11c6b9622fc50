// Policies that nobody should write, through the API, the translation and xDS to a proxy: an error that names the field,
// or a meaning that the reference gives; whatever comes, the control plane lives and the last good version holds
// (reliability-checklist.md P1, P2, P4–P7, K9).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { parseIpBytes, silentLog } from '../../core/base/index.ts';
import { KubeError, type KubeObject, resources } from '../../core/kube/index.ts';
import {
  type PolicyKey,
  printIdentity,
  type Verdict,
  workloadUid,
} from '../../core/model/index.ts';
import type { RpcChannel } from '../../core/rpc/index.ts';
import { MeshFeed, type XdsSource } from '../../core/xds/index.ts';
import type { Istiod } from '../../istiod-lite/index.ts';
import { followMesh, startCluster, type TestCluster } from '../kit/cluster.ts';
import { eventually } from '../kit/eventually.ts';

const objects = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: ztunnel, namespace: istio-system}
---
apiVersion: v1
kind: Pod
metadata: {name: ztunnel-1, namespace: istio-system}
spec: {nodeName: n1, serviceAccountName: ztunnel, containers: [{name: c, image: x}]}
status: {phase: Running, podIP: 127.70.3.3, podIPs: [{ip: 127.70.3.3}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, labels: {app: web}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {nodeName: n1, serviceAccountName: web, containers: [{name: c, image: x}]}
status: {phase: Running, podIP: 127.70.3.5, podIPs: [{ip: 127.70.3.5}], conditions: [{type: Ready, status: "True"}]}
`;

describe('K9 policies that nobody should write', () => {
  let cluster: TestCluster;
  let istiod: Istiod;
  let channel: RpcChannel;
  let source: XdsSource;
  const feed = new MeshFeed(silentLog);

  before(async () => {
    cluster = await startCluster();
    await cluster.apply(objects);
    istiod = await cluster.istiod();
    channel = await cluster.channel(
      istiod,
      await cluster.token('istio-system', 'ztunnel', 'ztunnel-1'),
    );
    source = await followMesh(channel, feed, '127.70.3.3');
  });
  after(async () => {
    source.stop();
    channel.close();
    await istiod.stop();
    await cluster.stop();
  });

  const kind = resources.authorizationPolicies;
  const key = (name: string): PolicyKey => `shop/${name}` as PolicyKey;
  const create = (name: string, spec: unknown): Promise<KubeObject> =>
    cluster.kube.create(kind, {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name, namespace: 'shop' },
      spec,
    } as KubeObject);
  const remove = async (...names: string[]): Promise<void> => {
    for (const name of names) await cluster.kube.remove(kind, 'shop', name);
    await eventually(() => names.every((n) => !feed.view.policy(key(n))), 'policies gone');
  };
  const arrived = (name: string): Promise<unknown> =>
    eventually(() => feed.view.policy(key(name)), `policy ${name}`);

  /** May a caller of that account in namespace `shop` reach web-0? */
  function judge(account: string): Verdict {
    const w = feed.view.workload(workloadUid('Kubernetes//Pod/shop/web-0'));
    assert.ok(w);
    const identity = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: account };
    const ip = parseIpBytes('127.70.3.9');
    assert.ok(ip);
    return feed.view.judge(w, {
      identity,
      principal: printIdentity(identity),
      sourceIp: ip,
      destinationIp: ip,
      destinationPort: 8080,
    });
  }
  const lets = (account: string): boolean => judge(account).allow;
  const principal = (account: string): string => `cluster.local/ns/shop/sa/${account}`;
  const by = (...principals: string[]) => ({ from: [{ source: { principals } }] });

  describe('refused, and the field is named; what was there before holds on', () => {
    const rows: readonly (readonly [string, unknown, RegExp])[] = [
      ['an action that is none', { action: 'MAYBE' }, /spec\.action/],
      ['a number as action', { action: 7 }, /spec\.action/],
      ['rules that are no list', { rules: { from: [] } }, /spec\.rules/],
      ['a rule that is a text', { rules: ['all'] }, /spec\.rules\[0\]/],
      ['from that is no list', { rules: [{ from: {} }] }, /spec\.rules\[0\]\.from/],
      [
        'principals that are a text',
        { rules: [{ from: [{ source: { principals: 'a' } }] }] },
        /principals/,
      ],
      [
        'a principal that is a number',
        { rules: [{ from: [{ source: { principals: [7] } }] }] },
        /principals\[0\]/,
      ],
      [
        'ports that are numbers',
        { rules: [{ to: [{ operation: { ports: [80] } }] }] },
        /ports\[0\]/,
      ],
      ['a selector that is a text', { selector: 'app=web' }, /spec\.selector/],
      ['when without a key', { rules: [{ when: [{ values: ['a'] }] }] }, /key/],
      ['a spec that is a list', [], /spec/],
      ['a spec that is a text', 'deny', /spec/],
    ];
    for (const [what, spec, field] of rows) {
      test(what, async () => {
        const refused = (error: unknown): boolean => {
          assert.ok(error instanceof KubeError, String(error));
          assert.match(error.message, field);
          return true;
        };
        await assert.rejects(create('odd', spec), refused);
        const good = await create('held', { action: 'DENY', rules: [by(principal('bad'))] });
        await arrived('held');
        await assert.rejects(cluster.kube.replace(kind, { ...good, spec }), refused);
        assert.equal(lets('bad'), false);
        assert.equal(lets('good'), true);
        await remove('held');
      });
    }
  });

  describe('P1 P2 P5 P7 accepted, with the meaning that the reference gives', () => {
    /** Which of the accounts `a` and `b` come through. */
    const rows: readonly (readonly [string, object, readonly string[]])[] = [
      ['nothing at all: ALLOW nothing', {}, []],
      ['ALLOW without rules', { rules: [] }, []],
      ['ALLOW with an empty rule', { rules: [{}] }, ['a', 'b']],
      ['DENY without rules', { action: 'DENY' }, ['a', 'b']],
      ['DENY with an empty rule', { action: 'DENY', rules: [{}] }, []],
      ['an unknown field beside a rule', { rules: [by(principal('a'))], colour: 'red' }, ['a']],
      ['the same rule twice', { rules: [by(principal('a')), by(principal('a'))] }, ['a']],
      ['a name with characters of expressions', { rules: [by('cluster.local/ns/shop/sa/.')] }, []],
      ['a star in the middle is a star', { rules: [by('cluster.local/*/sa/a')] }, []],
      ['a star at the end', { rules: [by('cluster.local/ns/shop/*')] }, ['a', 'b']],
      [
        'a block that is none: the ALLOW rule is dropped',
        { rules: [{ from: [{ source: { ipBlocks: ['10.0.0.0/99'] } }] }] },
        [],
      ],
      [
        'a block that is none: the DENY rule denies more',
        { action: 'DENY', rules: [{ from: [{ source: { ipBlocks: ['10.0.0.0/99'] } }] }] },
        [],
      ],
      [
        'a port that is none: the ALLOW rule is dropped',
        { rules: [{ to: [{ operation: { ports: ['70000'] } }] }] },
        [],
      ],
      [
        'M11 HTTP attributes at L4: an ALLOW rule lets nobody in, it is not taken for one without them',
        { rules: [{ ...by(principal('a')), to: [{ operation: { methods: ['GET'] } }] }] },
        [],
      ],
      [
        'M11 HTTP attributes at L4: DENY denies on the rest',
        {
          action: 'DENY',
          rules: [{ ...by(principal('a')), to: [{ operation: { paths: ['/x'] } }] }],
        },
        ['b'],
      ],
      ['names of Object’s own members', { rules: [by('__proto__', 'constructor')] }, []],
    ];
    for (const [what, spec, want] of rows) {
      test(what, async () => {
        await create('odd', spec);
        await arrived('odd');
        assert.deepEqual(['a', 'b'].filter(lets), want);
        await remove('odd');
        assert.deepEqual(['a', 'b'].filter(lets), ['a', 'b']);
      });
    }
  });

  test('policies that overlap: DENY before ALLOW, and one ALLOW that matches is enough', async () => {
    const anybody = principal('*');
    await create('allow-a', { rules: [by(principal('a'))] });
    await create('allow-all', { rules: [by(anybody)] });
    await create('allow-none', {});
    await create('deny-b', { action: 'DENY', rules: [by(principal('b'))] });
    await create('deny-b-too', { action: 'DENY', rules: [by(principal('b'), principal('bb'))] });
    const names = ['allow-a', 'allow-all', 'allow-none', 'deny-b', 'deny-b-too'];
    for (const name of names) await arrived(name);
    assert.deepEqual(['a', 'b', 'bb', 'c'].filter(lets), ['a', 'c']);
    const denied = judge('b');
    assert.equal(denied.by, 'shop/deny-b');
    await remove(...names);
  });

  test('P6 a policy of 1 MB: 25,000 callers, each let in; of four it is refused', async () => {
    const many = Array.from({ length: 25_000 }, (_, i) => principal(`caller-number-${i}`));
    const spec = { rules: [by(...many)] };
    assert.ok(JSON.stringify(spec).length > 1_000_000);
    await create('huge', spec);
    await arrived('huge');
    assert.equal(lets('caller-number-0'), true);
    assert.equal(lets('caller-number-24999'), true);
    assert.equal(lets('caller-number-25000'), false);
    await remove('huge');
    const over = { rules: [by(...many, ...many, ...many, ...many)] };
    await assert.rejects(create('huge', over), (e) => e instanceof KubeError && e.code === 413);
    assert.equal(lets('anybody'), true, 'nothing of it is in force');
  });
});
