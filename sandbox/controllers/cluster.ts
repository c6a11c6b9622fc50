// What a cluster has by itself: the node, the first namespaces, each namespace's account and root
// certificate, the API's own service; and the end of namespaces and of objects without owner.
import type { KubeObject, Store } from '../contract.ts';
import type { AddressPlan, NodePlace } from '../addresses.ts';
import { apiPort } from '../loopback/index.ts';
import { isDeleting, keys, timeText } from '../objects.ts';
import type { Controller } from './loop.ts';
import { put } from './services.ts';

/** All stored resources, as the store's registry lists them. */
export interface Resources {
  stored(): readonly { readonly key: string; readonly namespaced: boolean }[];
}

export function ensureBasics(
  store: Store,
  facts: {
    readonly addresses: AddressPlan;
    readonly nodeVersion: string;
    readonly nowMs: number;
  },
): void {
  for (const name of ['default', 'kube-system', 'kube-public', 'kube-node-lease']) {
    ensureNamespace(store, name);
  }
  const { addresses } = facts;
  for (const node of addresses.nodes) ensureNode(store, node, facts);
  const known = new Set(addresses.nodes.map((n) => n.name));
  for (const { metadata } of store.list(keys.nodes).items) {
    if (!known.has(metadata.name)) store.remove(keys.nodes, undefined, metadata.name);
  }
  ensureApiService(store, addresses);
}

export function ensureNamespace(store: Store, name: string): void {
  if (store.get(keys.namespaces, undefined, name)) return;
  store.create(keys.namespaces, {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels: { 'kubernetes.io/metadata.name': name } },
    spec: { finalizers: ['kubernetes'] },
    status: { phase: 'Active' },
  });
}

function ensureNode(
  store: Store,
  { name: nodeName, ip }: NodePlace,
  facts: {
    readonly addresses: AddressPlan;
    readonly nodeVersion: string;
    readonly nowMs: number;
  },
): void {
  const time = timeText(facts.nowMs);
  const six = facts.addresses.six(ip);
  const arch = process.arch === 'x64' ? 'amd64' : process.arch;
  const labels = {
    'kubernetes.io/hostname': nodeName,
    'kubernetes.io/os': 'linux',
    'kubernetes.io/arch': arch,
    'node-role.kubernetes.io/control-plane': '',
  };
  if (!store.get(keys.nodes, undefined, nodeName)) {
    const object: KubeObject = {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: nodeName, labels },
      spec: {},
    };
    store.create(keys.nodes, object);
  }
  const ready = {
    type: 'Ready',
    status: 'True',
    reason: 'SandboxReady',
    message: 'pods run as processes of this machine',
    lastHeartbeatTime: time,
    lastTransitionTime: time,
  };
  const capacity = { cpu: '8', memory: '8Gi', pods: '500' };
  store.modify(
    keys.nodes,
    undefined,
    nodeName,
    (node) => {
      node['status'] = {
        addresses: [
          { type: 'InternalIP', address: ip },
          ...(six === undefined ? [] : [{ type: 'InternalIP', address: six }]),
          { type: 'Hostname', address: nodeName },
        ],
        capacity,
        allocatable: capacity,
        conditions: [ready],
        nodeInfo: {
          kubeletVersion: 'v1.33.0+sandbox',
          kubeProxyVersion: 'v1.33.0+sandbox',
          containerRuntimeVersion: 'process://1',
          operatingSystem: 'linux',
          architecture: arch,
          osImage: `Node.js ${facts.nodeVersion}`,
          kernelVersion: '',
          bootID: '',
          machineID: '',
          systemUUID: '',
        },
      };
    },
    { status: true },
  );
}

/** `kubernetes` in `default`, as clients expect: the API by service name. */
function ensureApiService(store: Store, addresses: AddressPlan): void {
  const ip = addresses.clusterIp(1);
  const ports = [{ name: 'https', port: 443, protocol: 'TCP', targetPort: apiPort }];
  const metadata = {
    name: 'kubernetes',
    namespace: 'default',
    labels: { component: 'apiserver', provider: 'kubernetes' },
  };
  put(store, keys.services, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata,
    spec: { type: 'ClusterIP', clusterIP: ip, clusterIPs: [ip], ports },
  });
  put(store, keys.endpointSlices, {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: 'kubernetes',
      namespace: 'default',
      labels: { 'kubernetes.io/service-name': 'kubernetes' },
    },
    addressType: 'IPv4',
    endpoints: [{ addresses: [addresses.api], conditions: { ready: true } }],
    ports: [{ name: 'https', port: apiPort, protocol: 'TCP' }],
  });
}

/** Each namespace's `default` account and root certificate; the emptying of those that end. */
export function namespaceController(
  store: Store,
  resources: Resources,
  rootPem: string,
): Controller {
  const ofNamespace = (o: KubeObject): string[] => [o.metadata.namespace ?? ''];
  return {
    name: 'namespace',
    watches: {
      [keys.namespaces]: (o) => [o.metadata.name],
      [keys.serviceAccounts]: ofNamespace,
      [keys.configMaps]: ofNamespace,
    },
    reconcile(name) {
      const namespace = store.get(keys.namespaces, undefined, name);
      if (!namespace) return undefined;
      if (isDeleting(namespace)) return empty(store, resources, name);
      if (!store.get(keys.serviceAccounts, name, 'default')) {
        store.create(keys.serviceAccounts, {
          apiVersion: 'v1',
          kind: 'ServiceAccount',
          metadata: { name: 'default', namespace: name },
        });
      }
      put(store, keys.configMaps, {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'kube-root-ca.crt', namespace: name },
        data: { 'ca.crt': rootPem },
      });
      return undefined;
    },
  };
}

const lookAgainMs = 100;

/** Removes everything in the namespace, workloads before pods; then the namespace itself. */
function empty(store: Store, resources: Resources, name: string): number | undefined {
  let left = 0;
  for (const { key, namespaced } of resources.stored()) {
    if (!namespaced) continue;
    for (const object of store.list(key, { namespace: name }).items) {
      if (!isDeleting(object)) store.remove(key, name, object.metadata.name);
      if (store.get(key, name, object.metadata.name)) left++;
    }
  }
  if (left > 0) return lookAgainMs;
  store.remove(keys.namespaces, undefined, name, { graceSeconds: 0 });
  return undefined;
}
