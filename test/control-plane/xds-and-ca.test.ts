// istiod-lite against a real API: objects become workloads, services and policies at a real delta-xDS
// client; certificates go only to whom they may.
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { createCsr } from '../../certs/index.ts';
import { silentLog } from '../../core/base/index.ts';
import { resources } from '../../core/kube/index.ts';
import {
  parseSpiffeId,
  type PolicyKey,
  type SpiffeId,
  workloadUid,
} from '../../core/model/index.ts';
import { decode, type RpcChannel, RpcError } from '../../core/rpc/index.ts';
import { addressType, MeshFeed, serviceConfigType, type XdsSource } from '../../core/xds/index.ts';
import type { Istiod } from '../../istiod-lite/index.ts';
import { followMesh, startCluster, type TestCluster } from '../kit/cluster.ts';
import { eventually } from '../kit/eventually.ts';

const objects = `
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: eu1, topology.kubernetes.io/zone: eu1-a}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: ztunnel, namespace: istio-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: ztunnel-1, namespace: istio-system, labels: {app: ztunnel}}
spec: {nodeName: n1, serviceAccountName: ztunnel, containers: [{name: c, image: x}]}
status: {phase: Running, podIP: 127.70.0.3, podIPs: [{ip: 127.70.0.3}], conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, labels: {app: web, version: v1}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {nodeName: n1, serviceAccountName: web, containers: [{name: c, image: x, ports: [{name: http, containerPort: 8080}]}]}
status: {phase: Running, podIP: 127.70.0.5, podIPs: [{ip: 127.70.0.5}], conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 127.70.128.9, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
`;

const resourceMessage = 'envoy.service.discovery.v3.Resource';
const web = workloadUid('Kubernetes//Pod/shop/web-0');

describe('control plane over a real API', () => {
  let cluster: TestCluster;
  let istiod: Istiod;
  let channels: RpcChannel[] = [];
  let source: XdsSource;
  const feed = new MeshFeed(silentLog);
  const channel = async (token: string): Promise<RpcChannel> => {
    const c = await cluster.channel(istiod, token);
    channels.push(c);
    return c;
  };

  before(async () => {
    cluster = await startCluster();
    await cluster.apply(objects);
    istiod = await cluster.istiod();
    const xds = await channel(await cluster.token('istio-system', 'ztunnel', 'ztunnel-1'));
    source = await followMesh(xds, feed, '127.70.0.3');
  });

  after(async () => {
    source.stop();
    for (const c of channels) c.close();
    channels = [];
    await istiod.stop();
    await cluster.stop();
  });

  test('a pod becomes a workload with its service, locality and tunnel', () => {
    const w = feed.view.workload(web);
    assert.equal(w?.protocol, 'HBONE');
    assert.equal(w.serviceAccount, 'web');
    assert.deepEqual(w.locality, { region: 'eu1', zone: 'eu1-a', subzone: '' });
    assert.deepEqual([...(w.services.values().next().value ?? [])], [[80, 8080]]);
    const s = feed.view.serviceByHost('web.shop.svc.cluster.local', 'shop');
    assert.equal(s?.vips[0]?.ip, '127.70.128.9');
  });

  test('a discovery selector: a namespace comes in and goes with its labels', async () => {
    const choosy = await cluster.istiod({ env: { DISCOVERY_SELECTOR: 'mesh=on' } });
    const knows = async (): Promise<boolean> =>
      (
        await (await fetch(`http://127.0.0.1:${choosy.addresses.http}/debug/resources`)).text()
      ).includes(web);
    const label = (mesh: string | null): Promise<unknown> => {
      const patch = { metadata: { labels: { mesh } } };
      return cluster.kube.patch(resources.namespaces, undefined, 'shop', patch, { kind: 'merge' });
    };
    try {
      assert.equal(await knows(), false);
      await label('on');
      await eventually(knows, 'the pod comes in');
      await label(null);
      await eventually(async () => !(await knows()), 'the pod goes');
    } finally {
      await choosy.stop();
    }
  });

  test('K36 STRICT becomes a deny that the workload lists, in that order', async () => {
    await cluster.apply(`
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}`);
    const key = 'istio-system/istio_converted_static_strict' as PolicyKey;
    await eventually(
      () => feed.view.workload(web)?.authorizationPolicies.includes(key),
      'STRICT listed',
    );
    assert.ok(feed.view.policy(key));
  });

  test('K35 a policy gets its status, and goes when it is deleted', async () => {
    await cluster.apply(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-get, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}`);
    const key = 'shop/only-get' as PolicyKey;
    const policy = await eventually(() => feed.view.policy(key), 'policy at the client');
    assert.deepEqual(policy.rules, [[]], 'P7: what is left of the rule denies everything');
    const condition = await eventually(async () => {
      const o = await cluster.kube.get(resources.authorizationPolicies, 'shop', 'only-get');
      const status = o?.['status'] as {
        conditions?: { type: string; reason: string; message: string }[];
      };
      return status?.conditions?.find((c) => c.type === 'ZtunnelAccepted');
    }, 'status condition');
    assert.equal(condition.reason, 'UnsupportedValue');
    assert.match(condition.message, /methods/);
    await cluster.kube.remove(resources.authorizationPolicies, 'shop', 'only-get');
    await eventually(() => feed.view.policy(key) === undefined, 'policy gone');
    assert.ok(!feed.view.workload(web)?.authorizationPolicies.includes(key));
  });

  test('the root bundle is in every namespace, and comes back when deleted', async () => {
    const get = () => cluster.kube.get(resources.configMaps, 'shop', 'istio-ca-root-cert');
    await eventually(get, 'root bundle');
    await cluster.kube.remove(resources.configMaps, 'shop', 'istio-ca-root-cert');
    await eventually(get, 'root bundle restored');
  });

  async function certificate(token: string, identity: string | undefined): Promise<string[]> {
    const c = await channel(token);
    const { csr } = await createCsr(parseSpiffeId('spiffe://cluster.local/ns/a/sa/b') as SpiffeId);
    const metadata = identity && { fields: { ImpersonatedIdentity: { stringValue: identity } } };
    const answer = await c.unary(
      'createCertificate',
      { csr, validityDuration: 3600, ...(metadata && { metadata }) },
      5_000,
    );
    return answer.certChain;
  }

  const refused = (code: number) => (error: unknown) =>
    error instanceof RpcError && error.code === code;

  test('K30 the node proxy gets a certificate for a pod on its node', async () => {
    const token = await cluster.token('istio-system', 'ztunnel', 'ztunnel-1');
    const chain = await certificate(token, 'spiffe://cluster.local/ns/shop/sa/web');
    assert.equal(chain.length, 2, 'S34 leaf, then the whole root bundle');
  });

  test('K2 no certificate for an identity without a pod on the node, or another trust domain', async () => {
    const token = await cluster.token('istio-system', 'ztunnel', 'ztunnel-1');
    for (const id of [
      'spiffe://cluster.local/ns/shop/sa/other',
      'spiffe://other/ns/shop/sa/web',
      'nonsense',
    ]) {
      await assert.rejects(certificate(token, id), refused(16), id);
    }
  });

  test('K3 an ordinary workload cannot ask for another identity, only for its own', async () => {
    const token = await cluster.token('shop', 'web', 'web-0');
    await assert.rejects(certificate(token, 'spiffe://cluster.local/ns/shop/sa/web'), refused(16));
    assert.equal((await certificate(token, undefined)).length, 2);
  });

  describe('K7 a client sees what its token allows, whatever it says of itself', () => {
    const first = (id: string, fields: Record<string, string>, typeUrl: string) => ({
      node: {
        id,
        metadata: {
          fields: Object.fromEntries(
            Object.entries(fields).map(([k, stringValue]) => [k, { stringValue }]),
          ),
        },
      },
      typeUrl,
    });
    type First = ReturnType<typeof first>;
    /** The names it is sent in answer, or the gRPC code it is refused with. */
    async function ask(token: string, request: First): Promise<string[] | number> {
      const c = await channel(token);
      return new Promise((resolve) => {
        const call = c.bidi('deltaAggregatedResources', {
          message: (m) => {
            resolve(m.resources.map((r) => decode(resourceMessage, r).name));
            call.cancel();
          },
          end: (error) => resolve(error?.code ?? 0),
        });
        call.send(request);
      });
    }
    const id = (kind: string, namespace: string): string =>
      `${kind}~127.70.0.5~web-0.${namespace}~${namespace}.svc.cluster.local`;
    const shop = { NAMESPACE: 'shop' };
    const rows: readonly (readonly [string, First, string[] | number])[] = [
      [
        'another namespace',
        first(id('ztunnel', 'istio-system'), { NAMESPACE: 'istio-system' }, addressType),
        7,
      ],
      [
        'another namespace in its id alone',
        first(id('ztunnel', 'istio-system'), {}, addressType),
        7,
      ],
      ['to be a node proxy', first(id('ztunnel', 'shop'), shop, addressType), 7],
      ['no node id', first('web', shop, addressType), 3],
      [
        'a waypoint of its namespace, which it is not',
        first(
          id('waypoint', 'shop'),
          { ...shop, NODE_NAME: 'n1', GATEWAY: 'shop/waypoint' },
          serviceConfigType,
        ),
        7,
      ],
    ];
    for (const [what, request, want] of rows) {
      test(`it claims ${what}`, async () => {
        assert.deepEqual(await ask(await cluster.token('shop', 'web', 'web-0'), request), want);
      });
    }
    test('a node proxy claims another node', async () => {
      const token = await cluster.token('istio-system', 'ztunnel', 'ztunnel-1');
      const claim = { NAMESPACE: 'istio-system', NODE_NAME: 'n2' };
      const node = 'ztunnel~127.70.0.5~ztunnel-1.istio-system~istio-system.svc.cluster.local';
      assert.equal(await ask(token, first(node, claim, addressType)), 7);
      const own = await ask(token, first(node, { ...claim, NODE_NAME: 'n1' }, addressType));
      assert.ok(Array.isArray(own) && own.length > 0);
    });
  });

  test('K8 debug pages tell names to this machine alone; what a node needs, to all', async () => {
    // A page that was led here by its DNS is as good as another machine.
    const elsewhere = { host: 'istiod.istio-system.svc:15014' };
    for (const port of [istiod.addresses.http, istiod.addresses.monitoring]) {
      const get = (path: string, headers = {}): Promise<[number, string]> =>
        new Promise((resolve, reject) => {
          const options = { host: '127.0.0.1', port, path, headers, agent: false };
          request(options, (r) => {
            let text = '';
            r.on('data', (c: Buffer) => (text += c.toString()));
            r.on('end', () => resolve([r.statusCode ?? 0, text]));
          })
            .on('error', reject)
            .end();
        });
      assert.match((await get('/debug/resources'))[1], /web-0/);
      assert.match((await get('/debug/syncz'))[1], /ztunnel-1/);
      assert.deepEqual(await get('/debug/resources', elsewhere), [
        403,
        'only served to local peers\n',
      ]);
      const [status, text] = await get('/debug/syncz', elsewhere);
      assert.deepEqual(
        [status, Object.keys(JSON.parse(text) as object)],
        [200, ['revision', 'synced']],
      );
      assert.equal((await get('/metrics', elsewhere))[0], 200);
    }
  });

  test('K1 no token, a wrong audience, garbage: Unauthenticated with one text', async () => {
    const wrong = await cluster.token('istio-system', 'ztunnel', 'ztunnel-1', 'somebody-else');
    const texts = new Set<string>();
    for (const token of ['', wrong, 'garbage']) {
      await assert.rejects(certificate(token, undefined), (e) => {
        texts.add((e as Error).message);
        return refused(16)(e);
      });
    }
    assert.equal(texts.size, 1);
  });
});
