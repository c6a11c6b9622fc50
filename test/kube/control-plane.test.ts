// The control plane with its own account's rights, at a real API server and at the sandbox's: it starts before its
// kinds, leads, issues, watches, writes, and lives through what happens to clusters (checklist K*, F46, F47).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { caProfile, makeCert, type TestCert } from '../../certs/testkit.ts';
import { readSource } from '../../cli/index.ts';
import { type KubeObject, type Resource, resources } from '../../core/kube/index.ts';
import { RpcError } from '../../core/rpc/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import { type ApiServer, apiServers, startApiServer } from '../kit/api-server.ts';
import { eventually } from '../kit/eventually.ts';
import {
  applyObjects,
  applyYaml,
  certificate,
  compareRights,
  deleteNamespace,
  type IstiodProcess,
  objectsOf,
  removeNow,
  type Rule,
  startIstiod,
} from './kit.ts';

const pod = (name: string, account: string, ip: string, namespace = 'shop'): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: ${namespace}, labels: {app: ${account}}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {nodeName: n1, serviceAccountName: ${account}, containers: [{name: c, image: x, ports: [{containerPort: 8080}]}]}
status: {phase: Running, podIP: ${ip}, podIPs: [{ip: ${ip}}], conditions: [{type: Ready, status: "True"}]}
---`;

const account = (name: string, namespace = 'shop'): string => `
apiVersion: v1
kind: ServiceAccount
metadata: {name: ${name}, namespace: ${namespace}}
---`;

const world = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
---${account('ztunnel', 'istio-system')}${account('web')}
${pod('ztunnel-1', 'ztunnel', '10.1.0.3', 'istio-system')}${pod('web-0', 'web', '10.1.0.5')}
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
`;

const route = (kind: string, version: string): string => `
apiVersion: gateway.networking.k8s.io/${version}
kind: ${kind}
metadata: {name: ${kind.toLowerCase()}, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web, port: 80}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---`;

const l7 = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---${route('HTTPRoute', 'v1')}${route('GRPCRoute', 'v1')}${route('TCPRoute', 'v1alpha2')}${route('TLSRoute', 'v1alpha2').replace('spec:', 'spec:\n  hostnames: [web.example.com]')}
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec: {hosts: [db.example.com], resolution: STATIC, ports: [{number: 5432, name: pg, protocol: TCP}], endpoints: [{address: 10.9.0.1}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web.shop.svc.cluster.local, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec: {hosts: [nowhere.shop.svc.cluster.local], http: [{route: [{destination: {host: web}}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: tls, namespace: shop}
spec:
  targetRefs: [{kind: Service, group: "", name: web}]
  validation: {hostname: web.example.com, caCertificateRefs: [{group: "", kind: ConfigMap, name: backend-roots}]}
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: budget, namespace: shop}
spec:
  targetRefs: [{kind: Service, group: "", name: web}]
  retryConstraint: {budget: {percent: 10, interval: 5s}}
---
apiVersion: ambientlite.dev/v1alpha1
kind: RateLimitPolicy
metadata: {name: limit, namespace: shop}
spec:
  targetRefs: [{kind: Service, group: "", name: web}]
  limits: [{name: all, requests: 1000, unit: Second}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: waypoint-plugins, namespace: shop}
data:
  plugins.yaml: |
    - {name: mark, targetRefs: [{kind: Service, group: "", name: web}]}
  mark.ts: 'export default { onRequest: () => ({ set: { "x-mark": "1" } }) };'
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}]
  jwtRules: [{issuer: "https://issuer.example", jwks: '{"keys": []}'}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: l4, namespace: shop}
spec: {action: DENY, rules: [{from: [{source: {principals: ["cluster.local/ns/shop/sa/bad"]}}]}]}
`;

/** Whatever it may create. */
const kindsMade = [
  resources.secrets,
  resources.configMaps,
  resources.leases,
  resources.gatewayClasses,
  resources.deployments,
  resources.services,
  resources.serviceAccounts,
  resources.horizontalPodAutoscalers,
  resources.podDisruptionBudgets,
];

const day = 24 * 3600 * 1000;
const b64 = (text: string): string => Buffer.from(text).toString('base64');

const conditionsOf = (o: KubeObject | undefined): string[] => {
  const status = (o?.['status'] ?? {}) as {
    conditions?: { type: string }[];
    parents?: { conditions?: { type: string }[] }[];
    ancestors?: { conditions?: { type: string }[] }[];
  };
  const parents = [...(status.parents ?? []), ...(status.ancestors ?? [])].flatMap(
    (p) => p.conditions ?? [],
  );
  return [...(status.conditions ?? []), ...parents].map((c) => c.type);
};

for (const { kind, skip } of apiServers) {
  describe(`the control plane at ${kind}`, { skip, timeout: 240_000 }, () => {
    let api: ApiServer;
    let ending: TestCert;
    /** Uids of what the story itself has made, of the kinds that the control plane makes. */
    const given = new Set<string>();
    const replicas = new Map<string, IstiodProcess>();
    const one = (): IstiodProcess => {
      const [first] = replicas.values();
      assert.ok(first);
      return first;
    };
    const start = async (name: string): Promise<void> => {
      replicas.set(name, await startIstiod(api, name, api.block(10 + replicas.size)));
    };
    const holder = async (): Promise<string> => {
      const lease = await api.kube.get(resources.leases, 'istio-system', 'istiod-lite-leader');
      return (lease?.['spec'] as { holderIdentity?: string } | undefined)?.holderIdentity ?? '';
    };
    const rootOf = async (namespace: string): Promise<string> => {
      const map = await api.kube.get(resources.configMaps, namespace, 'istio-ca-root-cert');
      return (map?.['data'] as Record<string, string> | undefined)?.['root-cert.pem'] ?? '';
    };
    const knows = (uid: string, istiod = one()): Promise<unknown> =>
      eventually(async () => (await istiod.resources()).has(uid), uid, 30_000);
    const hasStatus = (r: Resource, name: string, type: string): Promise<unknown> =>
      eventually(
        async () => {
          const o = await api.kube.get(r, r.namespaced ? 'shop' : undefined, name);
          if (conditionsOf(o).includes(type)) return true;
          throw new Error(JSON.stringify(o?.['status'] ?? null));
        },
        `${type} of ${r.kind} ${name}`,
        30_000,
      );

    before(async () => {
      api = await startApiServer(kind);
      const base = objectsOf('base/namespace.yaml');
      const rights = objectsOf('base/istiod.yaml').filter((o) =>
        /^(ServiceAccount|(Cluster)?Role(Binding)?)$/.test(o.kind ?? ''),
      );
      await applyObjects(api, [...base, ...rights]);
      ending = await makeCert(undefined, {
        profile: caProfile(),
        subject: 'O=cluster.local',
        notBeforeMs: systemClock.now() - 99 * day,
        notAfterMs: systemClock.now() + day,
      });
      const data = {
        'ca-cert.pem': b64(ending.pem),
        'ca-key.pem': b64(ending.keyPem),
        'cert-chain.pem': '',
        'root-cert.pem': b64(ending.pem),
      };
      const metadata = { name: 'istio-ca-secret', namespace: 'istio-system' };
      await api.kube.create(resources.secrets, { metadata, type: 'istio.io/ca-root', data });
      await applyYaml(api, world);
      for (const r of kindsMade)
        for (const o of (await api.kube.list(r).catch(() => ({ items: [] }))).items)
          given.add(o.metadata.uid ?? '');
    });
    after(async () => {
      for (const r of replicas.values()) await r.kill('SIGKILL');
      await api.stop();
    });

    test('starts before its kinds are there, and leads by the Lease', async () => {
      await start('istiod-a');
      await eventually(async () => (await holder()) === 'istiod-a', 'the first leads', 20_000);
      await knows('Kubernetes//Pod/shop/web-0');
    });

    test('renews a root of its own that is about to end', async () => {
      const pem = await eventually(async () => {
        const secret = await api.kube.get(resources.secrets, 'istio-system', 'istio-ca-secret');
        const text =
          (secret?.['data'] as Record<string, string> | undefined)?.['ca-cert.pem'] ?? '';
        return text !== '' && text !== b64(ending.pem) && text;
      }, 'a new root');
      const now = Buffer.from(pem, 'base64').toString('utf8');
      await eventually(async () => (await rootOf('shop')).includes(now.trim()), 'it is published');
    });

    test('puts the root certificate into every namespace, and again when somebody takes it away', async () => {
      const pem = await eventually(async () => (await rootOf('shop')) || undefined, 'the root');
      await api.kube.remove(resources.configMaps, 'shop', 'istio-ca-root-cert');
      await eventually(async () => (await rootOf('shop')) === pem, 'the root is back');
      const spoilt = { data: { 'root-cert.pem': 'x' } };
      await api.kube.patch(resources.configMaps, 'shop', 'istio-ca-root-cert', spoilt, {
        kind: 'merge',
      });
      await eventually(async () => (await rootOf('shop')) === pem, 'the root is right');
    });

    test('K1 K30 issues by TokenReview of bound tokens, and only for pods of the caller’s node', async () => {
      const node = await api.kube.get(resources.pods, 'istio-system', 'ztunnel-1');
      const bound = { audience: 'istio-ca', ...(node && { pod: node }) };
      const token = await api.token('istio-system', 'ztunnel', bound);
      const web = 'spiffe://cluster.local/ns/shop/sa/web';
      assert.equal((await certificate(api, one(), token, web)).length, 2);
      const denied = (e: unknown): boolean => e instanceof RpcError && e.code === 16;
      const other = 'spiffe://cluster.local/ns/shop/sa/other';
      await assert.rejects(certificate(api, one(), token, other), denied);
      const wrong = await api.token('istio-system', 'ztunnel', { ...bound, audience: 'vault' });
      await assert.rejects(certificate(api, one(), wrong, web), denied);
      await assert.rejects(certificate(api, one(), 'nonsense', web), denied);
    });

    test('takes up kinds that come later, and writes what it has to say of them', async () => {
      await applyObjects(api, readSource().crds);
      await applyYaml(api, l7);
      await hasStatus(resources.authorizationPolicies, 'l4', 'ZtunnelAccepted');
      await hasStatus(resources.rateLimitPolicies, 'limit', 'ambientlite.dev/Accepted');
      await hasStatus(resources.gatewayClasses, 'istio-waypoint', 'Accepted');
      await hasStatus(resources.gateways, 'waypoint', 'Accepted');
      await hasStatus(resources.httpRoutes, 'httproute', 'Accepted');
      await hasStatus(resources.grpcRoutes, 'grpcroute', 'Accepted');
      await hasStatus(resources.tcpRoutes, 'tcproute', 'Accepted');
      await hasStatus(resources.tlsRoutes, 'tlsroute', 'Accepted');
      await hasStatus(resources.backendTlsPolicies, 'tls', 'Accepted');
      await hasStatus(resources.backendTrafficPolicies, 'budget', 'Accepted');
      await hasStatus(resources.services, 'web', 'istio.io/WaypointBound');
      await eventually(
        () => api.kube.get(resources.deployments, 'shop', 'waypoint'),
        'the waypoint is deployed',
        20_000,
      );
      const made = await eventually(
        () => api.kube.get(resources.services, 'shop', 'waypoint'),
        'and has its Service',
      );
      assert.equal(made.metadata.ownerReferences?.[0]?.kind, 'Gateway');
    });

    test('the roots that a BackendTLSPolicy names: told while they are missing, taken up when they come', async () => {
      const accepted = async (): Promise<string | undefined> => {
        const o = await api.kube.get(resources.backendTlsPolicies, 'shop', 'tls');
        const { ancestors } = (o?.['status'] ?? {}) as {
          ancestors?: { conditions: { type: string; reason: string }[] }[];
        };
        return ancestors?.[0]?.conditions.find((c) => c.type === 'Accepted')?.reason;
      };
      const missing = async (): Promise<boolean> => (await accepted()) === 'NoValidCACertificate';
      await eventually(missing, 'it is told that they are missing');
      const metadata = { name: 'backend-roots', namespace: 'shop' };
      const data = { 'ca.crt': ending.pem };
      const made = await api.kube.create(resources.configMaps, { metadata, data });
      given.add(made.metadata.uid ?? '');
      await eventually(async () => (await accepted()) === 'Accepted', 'it is accepted');
      await api.kube.remove(resources.configMaps, 'shop', 'backend-roots');
      await eventually(missing, 'they are missing again');
    });

    test('M28 the class of waypoints is wiped: it is put back, and the service is bound as before', async () => {
      const uid = async (): Promise<string> =>
        (await api.kube.get(resources.gatewayClasses, undefined, 'istio-waypoint'))?.metadata.uid ??
        '';
      const before = await uid();
      await api.kube.remove(resources.gatewayClasses, undefined, 'istio-waypoint');
      await eventually(async () => !['', before].includes(await uid()), 'the class is back');
      await hasStatus(resources.gatewayClasses, 'istio-waypoint', 'Accepted');
      await hasStatus(resources.services, 'web', 'istio.io/WaypointBound');
    });

    test('what a Gateway names as its parameters: an autoscaler and a budget come, follow, and go', async () => {
      const change = async (data: Record<string, string | null>): Promise<unknown> =>
        api.kube.patch(resources.configMaps, 'shop', 'params', { data }, { kind: 'merge' });
      const own = async (): Promise<KubeObject | undefined> =>
        api.kube.get(resources.gateways, 'shop', 'waypoint');
      const condition = async (type: string): Promise<string> => {
        const status = (await own())?.['status'] as
          | { conditions?: { type: string; reason: string; message: string }[] }
          | undefined;
        const found = status?.conditions?.find((c) => c.type === type);
        return `${found?.reason} ${found?.message}`;
      };
      const accepted = (): Promise<string> => condition('Accepted');
      const specs = async (r: Resource): Promise<string> =>
        JSON.stringify((await api.kube.get(r, 'shop', 'waypoint'))?.['spec'] ?? null);
      const { horizontalPodAutoscalers: hpa, podDisruptionBudgets: pdb, deployments } = resources;
      const refer = async (parametersRef: object | null): Promise<unknown> =>
        api.kube.patch(
          resources.gateways,
          'shop',
          'waypoint',
          { spec: { infrastructure: { parametersRef } } },
          { kind: 'merge' },
        );

      await refer({ group: '', kind: 'ConfigMap', name: 'params' });
      await eventually(
        async () => (await accepted()).includes('params does not exist'),
        'it is missed',
      );
      await api.kube.create(resources.configMaps, {
        metadata: { name: 'params', namespace: 'shop' },
        data: {
          horizontalPodAutoscaler: 'spec: {minReplicas: 2, maxReplicas: 5}',
          podDisruptionBudget: 'spec: {minAvailable: 1}',
          deployment: 'spec: {minReadySeconds: 3}',
        },
      });
      await eventually(async () => /"maxReplicas":5/.test(await specs(hpa)), 'an autoscaler');
      await eventually(async () => /"minAvailable":1/.test(await specs(pdb)), 'a budget');
      await eventually(async () => /"minReadySeconds":3/.test(await specs(deployments)), 'both');
      await eventually(async () => (await accepted()).startsWith('Accepted'), 'it is accepted');

      await api.kube.remove(hpa, 'shop', 'waypoint');
      await eventually(async () => /"maxReplicas":5/.test(await specs(hpa)), 'it is put back');
      await change({
        horizontalPodAutoscaler: 'spec: {maxReplicas: 7}',
        podDisruptionBudget: null,
      });
      await eventually(async () => /"maxReplicas":7/.test(await specs(hpa)), 'it follows');
      await eventually(async () => (await specs(pdb)) === 'null', 'the budget is gone');

      await change({ deployment: 'spec: {minReadySeconds: many}' });
      const refusal =
        /^Invalid the API server refuses Deployment shop\/waypoint: .*minReadySeconds/;
      await eventually(async () => refusal.test(await condition('Programmed')), 'it is told why');
      assert.match(await specs(deployments), /"minReadySeconds":3/, 'what there was serves on');
      await change({ deployment: 'spec: {minReadySeconds: 4}' });
      await eventually(
        async () => /"minReadySeconds":4/.test(await specs(deployments)),
        'it is taken',
      );
      await eventually(
        async () => !refusal.test(await condition('Programmed')),
        'and that is told',
      );

      await change({ service: 'kind: Ingress' });
      await eventually(
        async () =>
          (await accepted()) ===
          'InvalidParameters ConfigMap shop/params: key "service" must not change kind',
        'it is told',
      );
      assert.match(await specs(hpa), /"maxReplicas":7/, 'and nothing else has changed');
      await refer(null);
      await api.kube.remove(resources.configMaps, 'shop', 'params');
      await eventually(async () => (await specs(hpa)) === 'null', 'the autoscaler is gone');
      await eventually(async () => (await accepted()).startsWith('Accepted'), 'all is well');
    });

    test('F46 a replica that goes is followed by the other', async () => {
      await start('istiod-b');
      assert.equal(await holder(), 'istiod-a');
      // Killed, it cannot give the Lease back: the other waits until it has run out.
      await replicas.get('istiod-a')?.kill(kind === 'sandbox' ? 'SIGTERM' : 'SIGKILL');
      replicas.delete('istiod-a');
      await eventually(async () => (await holder()) === 'istiod-b', 'the other leads', 40_000);
      await applyYaml(api, l7.slice(l7.lastIndexOf('---') + 4).replace('name: l4', 'name: after'));
      await hasStatus(resources.authorizationPolicies, 'after', 'ZtunnelAccepted');
    });

    test('F47 the API server goes away and comes back with its history forgotten', async () => {
      const before = await one().resources();
      await api.restart(async () => {
        await api.compact();
        assert.deepEqual(await one().resources(), before, 'the last view is served');
      });
      await applyYaml(api, pod('web-1', 'web', '10.1.0.6'));
      await knows('Kubernetes//Pod/shop/web-1');
      await removeNow(api, resources.pods, { metadata: { namespace: 'shop', name: 'web-1' } });
      await eventually(
        async () => !(await one().resources()).has('Kubernetes//Pod/shop/web-1'),
        'the pod is forgotten',
        30_000,
      );
      await eventually(async () => (await holder()) === 'istiod-b', 'it leads again', 40_000);
    });

    test('a namespace deleted with everything in it takes only itself', async () => {
      await applyYaml(
        api,
        `
apiVersion: v1
kind: Namespace
metadata: {name: gone}
---${account('web', 'gone')}${pod('web-0', 'web', '10.1.0.9', 'gone')}
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: gone}
spec: {}`,
      );
      await knows('Kubernetes//Pod/gone/web-0');
      await eventually(async () => (await rootOf('gone')) !== '', 'its root');
      await deleteNamespace(api, 'gone');
      await eventually(
        async () => ![...(await one().resources()).keys()].some((k) => k.includes('gone')),
        'nothing of it is left',
      );
      await knows('Kubernetes//Pod/shop/web-0');
    });

    test('the Secret of the root is deleted: the control plane puts back what it holds', async () => {
      const read = async (): Promise<unknown> =>
        (await api.kube.get(resources.secrets, 'istio-system', 'istio-ca-secret'))?.['data'];
      const data = await read();
      assert.ok(data);
      await api.kube.remove(resources.secrets, 'istio-system', 'istio-ca-secret');
      assert.deepEqual(await eventually(read, 'the Secret is back'), data);
    });

    test('K40 the taint of a node goes when its agent and its proxy are ready, with the right to do so', async () => {
      const taint = { key: 'cni.istio.io/not-ready', effect: 'NoSchedule' };
      const other = { key: 'example.com/kept', effect: 'NoSchedule' };
      const node = { metadata: { name: 'n2' }, spec: { taints: [taint, other] } };
      await api.kube.create(resources.nodes, node);
      const program = (name: string, app: string, ip: string): string =>
        pod(name, 'istiod', ip, 'istio-system')
          .replace('{app: istiod}', `{app: ${app}}`)
          .replace('nodeName: n1', 'nodeName: n2');
      const taints = async (): Promise<(string | undefined)[]> => {
        const spec = (await api.kube.get(resources.nodes, undefined, 'n2'))?.['spec'];
        return ((spec as { taints?: { key?: string }[] }).taints ?? []).map((t) => t.key);
      };
      await applyYaml(api, program('agent-n2', 'node-agent', '10.2.0.1'));
      await knows('Kubernetes//Pod/istio-system/agent-n2');
      assert.ok((await taints()).includes(taint.key), 'the proxy is not there yet');
      await applyYaml(api, program('proxy-n2', 'ztunnel', '10.2.0.2'));
      if (kind === 'kube-apiserver') {
        await eventually(() => one().lines().includes('nodeTaint=true'), 'it says what is missing');
        assert.ok((await taints()).includes(taint.key));
      }
      await applyObjects(api, objectsOf('extras/node-taint/node-taint.yaml'));
      await eventually(async () => !(await taints()).includes(taint.key), 'open', 20_000);
      assert.ok((await taints()).includes(other.key), 'what others put there stays');
    });

    test('a kind that is deleted takes its objects along, is missed in the log, and is taken up when it is back', async () => {
      const name = 'authorizationpolicies.security.istio.io';
      const [crd] = readSource().crds.filter((o) => o.metadata.name === name);
      assert.ok(crd);
      await eventually(
        async () => [...(await one().resources()).keys()].some((k) => k.includes('shop/l4')),
        'a policy is in force',
        20_000,
      );
      await api.kube.remove(resources.customResourceDefinitions, undefined, name);
      await eventually(
        async () => ![...(await one().resources()).keys()].some((k) => k.includes('shop/l4')),
        'and is not any more',
        30_000,
      );
      // The sandbox's API does not end the watches of a kind that goes.
      const missed = /resource is not served here \(yet\).*AuthorizationPolicy/;
      if (kind === 'kube-apiserver')
        await eventually(() => missed.test(one().lines()), 'it is said', 30_000);
      await knows('Kubernetes//Pod/shop/web-0');
      await eventually(
        async () =>
          (await api.kube.get(resources.customResourceDefinitions, undefined, name)) === undefined,
        'the kind is gone',
        30_000,
      );
      await applyObjects(api, [crd]);
      await applyYaml(api, l7.slice(l7.lastIndexOf('---') + 4));
      await hasStatus(resources.authorizationPolicies, 'l4', 'ZtunnelAccepted');
    });

    test('the Lease is deleted under two replicas: one leads again, and goes on writing', async () => {
      await start('istiod-c');
      for (let i = 0; i < 2; i++) {
        await api.kube.remove(resources.leases, 'istio-system', 'istiod-lite-leader');
        await eventually(async () => (await holder()) !== '', 'somebody leads', 30_000);
      }
      const again = `again-${kind}`;
      await applyYaml(
        api,
        l7.slice(l7.lastIndexOf('---') + 4).replace('name: l4', `name: ${again}`),
      );
      await hasStatus(resources.authorizationPolicies, again, 'ZtunnelAccepted');
      const stopped = replicas.get('istiod-c');
      replicas.delete('istiod-c');
      await stopped?.kill('SIGTERM');
      await eventually(async () => (await holder()) === 'istiod-b', 'the other leads', 40_000);
    });

    test('whatever it has made can be found: by its label, or through the owner that it goes with', async () => {
      const made: string[] = [];
      for (const r of kindsMade) {
        for (const o of (await api.kube.list(r)).items) {
          const { labels, ownerReferences, namespace = '', name } = o.metadata;
          const mine = l7.includes(`kind: ${r.kind}\nmetadata: {name: ${name},`);
          if (mine || given.has(o.metadata.uid ?? '')) continue;
          const what = `${r.kind} ${namespace}/${name}`;
          made.push(what);
          const ours = labels?.['app.kubernetes.io/part-of'] === 'ambient-lite';
          const owned = ownerReferences?.some((x) => x.kind === 'Gateway' && x.uid !== '');
          assert.ok(ours || owned, `${what}: ${JSON.stringify(o.metadata)}`);
        }
      }
      for (const what of [
        'ConfigMap shop/istio-ca-root-cert',
        'Secret istio-system/istio-ca-secret',
        'Lease istio-system/istiod-lite-leader',
        'GatewayClass /istio-waypoint',
        'Deployment shop/waypoint',
        'Service shop/waypoint',
        'ServiceAccount shop/waypoint',
      ]) {
        assert.ok(made.includes(what), `${what} was looked at`);
      }
    });

    const real = kind === 'kube-apiserver' ? false : 'the sandbox asks for no rights';
    test('each right of the account was used above, and none was missing', { skip: real }, () => {
      const { missing, unused } = compareRights(api, 'istiod', objectsOf('base/istiod.yaml'));
      assert.deepEqual(missing, [], 'requests without a right');
      const why = 'rights without a request: take them away, or tell a story that needs them';
      assert.deepEqual(unused, [], why);
    });

    test('without the right to review tokens nobody gets a certificate', {
      skip: real,
    }, async () => {
      const [role] = objectsOf('base/istiod.yaml').filter((o) => o.kind === 'ClusterRole');
      assert.ok(role);
      const rules = (role['rules'] as Rule[]).filter((r) => !r.resources.includes('tokenreviews'));
      await applyObjects(api, [{ ...role, rules }]);
      const token = await api.token('istio-system', 'ztunnel', { audience: 'istio-ca' });
      await eventually(
        () =>
          certificate(api, one(), token).then(
            () => false,
            (e: unknown) => e instanceof RpcError,
          ),
        'refused',
      );
    });
  });
}
