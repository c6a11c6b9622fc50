// A Kubernetes API of the sandbox in this process, with the mesh's CRDs, and istiod-lite against it: the
// real HTTPS, client-node, TokenReview and gRPC; no pods run.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { type Log, silentLog } from '../../core/base/index.ts';
import { connectKube, type KubeClient, type KubeObject, resources } from '../../core/kube/index.ts';
import { openChannel, type RpcChannel } from '../../core/rpc/index.ts';
import { systemClock, systemRandom } from '../../core/runtime/index.ts';
import { type MeshFeed, XdsSource } from '../../core/xds/index.ts';
import { type Istiod, readConfig, startIstiodLite } from '../../istiod-lite/index.ts';
import {
  createTokens,
  makeServingCertificate,
  startApi,
  writeKubeconfig,
} from '../../sandbox/api/index.ts';
import { openStore } from '../../sandbox/store/index.ts';

const root = join(import.meta.dirname, '../..');

const noRuntime = {
  logs(): never {
    throw new Error('no pods run here');
  },
  exec: () => Promise.reject(new Error('no pods run here')),
  dial: () => Promise.reject(new Error('no pods run here')),
};

export interface TestCluster {
  readonly kube: KubeClient;
  /** Applies every document of a YAML text; names a namespace for those without. */
  apply(yaml: string): Promise<void>;
  /** A bound token of a pod, with the mesh's audience unless told otherwise. */
  token(namespace: string, serviceAccount: string, pod: string, audience?: string): Promise<string>;
  istiod(more?: { env?: Record<string, string>; log?: Log; kube?: KubeClient }): Promise<Istiod>;
  /** A gRPC channel to istiod's 15012 as a pod with that token would open it. */
  channel(istiod: Istiod, token: string): Promise<RpcChannel>;
  stop(): Promise<void>;
}

const plurals: Record<string, [string, string, string, boolean]> = {
  Namespace: ['', 'v1', 'namespaces', false],
  Node: ['', 'v1', 'nodes', false],
  CustomResourceDefinition: ['apiextensions.k8s.io', 'v1', 'customresourcedefinitions', false],
  ServiceAccount: ['', 'v1', 'serviceaccounts', true],
  Pod: ['', 'v1', 'pods', true],
  Service: ['', 'v1', 'services', true],
  Secret: ['', 'v1', 'secrets', true],
  ConfigMap: ['', 'v1', 'configmaps', true],
  EndpointSlice: ['discovery.k8s.io', 'v1', 'endpointslices', true],
  AuthorizationPolicy: ['security.istio.io', 'v1', 'authorizationpolicies', true],
  ServiceEntry: ['networking.istio.io', 'v1', 'serviceentries', true],
  WorkloadEntry: ['networking.istio.io', 'v1', 'workloadentries', true],
  RequestAuthentication: ['security.istio.io', 'v1', 'requestauthentications', true],
  PeerAuthentication: ['security.istio.io', 'v1', 'peerauthentications', true],
  BackendTLSPolicy: ['gateway.networking.k8s.io', 'v1', 'backendtlspolicies', true],
};

async function applyAll(kube: KubeClient, yaml: string): Promise<void> {
  for (const document of parseAllDocuments(yaml)) {
    const object = document.toJS({ maxAliasCount: 1000 }) as KubeObject | null;
    if (!object) continue;
    const [group, version, plural, namespaced] = plurals[object.kind ?? ''] ?? ['', 'v1', '', true];
    const resource = { group, version, plural, kind: object.kind ?? '', namespaced };
    const status = object['status'];
    if (namespaced) object.metadata.namespace ??= 'default';
    const made = await kube.create(resource, object);
    if (status !== undefined && plural === 'pods')
      await kube.replace(resource, { ...made, status }, 'status');
  }
}

export async function startCluster(): Promise<TestCluster> {
  const dir = mkdtempSync(join(tmpdir(), 'ambient-cluster-'));
  const store = openStore({ dir: ':memory:', log: silentLog });
  const tokens = createTokens({ dir });
  const tls = await makeServingCertificate({ dir, clock: systemClock });
  const api = await startApi({ store, tokens, runtime: noRuntime, port: 0, tls, log: silentLog });
  const kubeconfig = join(dir, 'kubeconfig');
  writeKubeconfig(kubeconfig, { url: api.url, caPem: tls.caPem, token: tokens.adminToken });
  const kube = await connectKube({
    kubeconfig,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
  });
  for (const name of ['default', 'istio-system', 'shop']) {
    if (!(await kube.get(resources.namespaces, undefined, name))) {
      await kube.create(resources.namespaces, { metadata: { name } });
    }
  }
  await applyAll(kube, readFileSync(join(root, 'manifests/crds/security.istio.io.yaml'), 'utf8'));
  return {
    kube,
    apply: (yaml) => applyAll(kube, yaml),
    async token(namespace, serviceAccount, pod, audience = 'istio-ca') {
      const account = await kube.get(resources.serviceAccounts, namespace, serviceAccount);
      const object = await kube.get(resources.pods, namespace, pod);
      const { token } = await tokens.issue({
        namespace,
        serviceAccount,
        serviceAccountUid: account?.metadata.uid ?? '',
        audiences: [audience],
        expirationSeconds: 3600,
        ...(object && { pod: { name: pod, uid: object.metadata.uid ?? '' } }),
      });
      return token;
    },
    async istiod({ env = {}, log = silentLog, kube: other = kube } = {}) {
      const config = readConfig({
        KUBECONFIG: kubeconfig,
        BIND_ADDRESS: '127.0.0.1',
        XDS_PORT: '0',
        HTTP_PORT: '0',
        MONITORING_PORT: '0',
        PILOT_DEBOUNCE_AFTER: '10ms',
        ...env,
      });
      if (!config.ok) throw new Error('configuration');
      return startIstiodLite(config.value, { kube: other, clock: systemClock, log });
    },
    async channel(istiod, token) {
      const secret =
        (await kube.get(resources.secrets, 'istio-system', 'cacerts')) ??
        (await kube.get(resources.secrets, 'istio-system', 'istio-ca-secret'));
      const data = secret?.['data'] as Record<string, string>;
      const pem = Buffer.from(data['root-cert.pem'] ?? '', 'base64').toString('utf8');
      return openChannel({
        address: `127.0.0.1:${istiod.addresses.xds}`,
        roots: () => pem,
        serverName: 'istiod.istio-system.svc',
        token: () => token,
        headers: { clusterid: 'Kubernetes' },
      });
    },
    async stop() {
      await api.stop();
      store.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Fills `feed` as pod `ztunnel-1` of `istio-system` at `ip` does; resolves when it has the mesh. The channel stays the caller's. */
export async function followMesh(
  channel: RpcChannel,
  feed: MeshFeed,
  ip: string,
): Promise<XdsSource> {
  const source = new XdsSource({
    open: () => channel,
    node: {
      id: `ztunnel~${ip}~ztunnel-1.istio-system~istio-system.svc.cluster.local`,
      metadata: { fields: { NAMESPACE: { stringValue: 'istio-system' } } },
    },
    feed,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
  });
  source.start();
  await feed.synced;
  return source;
}
