// Which endpoints a service has, from its pods. Pure.
import type { KubeObject } from '../contract.ts';
import {
  type EndpointSlice,
  isDeleting,
  isReady,
  isTerminal,
  nodeName as firstNode,
  type Pod,
  type Service,
  type ServicePort,
  type SliceEndpoint,
  selects,
} from '../objects.ts';

/** The port a pod serves a service port on; `undefined` if it names a port the pod has not. */
export function targetPort(pod: Pod, port: ServicePort): number | undefined {
  const target = port.targetPort ?? port.port;
  if (typeof target === 'number') return target;
  for (const container of pod.spec.containers) {
    for (const p of container.ports ?? []) {
      if (p.name === target && (p.protocol ?? 'TCP') === (port.protocol ?? 'TCP')) {
        return p.containerPort;
      }
    }
  }
  const number = Number(target);
  return Number.isInteger(number) && number > 0 ? number : undefined;
}

type SlicePort = EndpointSlice['ports'][number];

function portsOf(service: Service, pod: Pod): SlicePort[] {
  return (service.spec.ports ?? []).flatMap((port): SlicePort[] => {
    const number = targetPort(pod, port);
    if (number === undefined) return [];
    return [
      {
        name: port.name ?? '',
        port: number,
        protocol: port.protocol ?? 'TCP',
        ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
      },
    ];
  });
}

function endpointOf(service: Service, pod: Pod, ip: string): SliceEndpoint {
  const ready = isReady(pod);
  const terminating = isDeleting(pod);
  const published = service.spec.publishNotReadyAddresses === true;
  return {
    addresses: [ip],
    conditions: { ready: published || (ready && !terminating), serving: ready, terminating },
    nodeName: pod.spec.nodeName ?? firstNode,
    targetRef: {
      kind: 'Pod',
      name: pod.metadata.name,
      namespace: pod.metadata.namespace ?? 'default',
      uid: pod.metadata.uid ?? '',
    },
  };
}

/** The pods a service selects that have an address and may serve. */
export function podsOf(service: Service, pods: readonly Pod[]): Pod[] {
  return pods.filter(
    (p) =>
      p.metadata.namespace === service.metadata.namespace &&
      selects(service.spec.selector, p.metadata.labels) &&
      p.status?.podIP !== undefined &&
      !isTerminal(p),
  );
}

/** The slices a service should have, for each family of its addresses. */
export function planSlices(service: Service, pods: readonly Pod[]): EndpointSlice[] {
  const families = service.spec['ipFamilies'];
  const dual = Array.isArray(families) && families.includes('IPv6');
  return [...slicesOf(service, pods, 'IPv4'), ...(dual ? slicesOf(service, pods, 'IPv6') : [])];
}

function addressOf(pod: Pod, family: 'IPv4' | 'IPv6'): string | undefined {
  const all = pod.status?.podIPs?.map(({ ip }) => ip) ?? [pod.status?.podIP ?? ''];
  return all.find((ip) => ip.includes(':') === (family === 'IPv6'));
}

/** Pods that resolve named ports differently get their own. */
function slicesOf(
  service: Service,
  pods: readonly Pod[],
  addressType: 'IPv4' | 'IPv6',
): EndpointSlice[] {
  const first = `${service.metadata.name}-sandbox${addressType === 'IPv6' ? '-ipv6' : ''}`;
  const groups = new Map<string, { ports: SlicePort[]; endpoints: SliceEndpoint[] }>();
  for (const pod of podsOf(service, pods)) {
    const ip = addressOf(pod, addressType);
    if (ip === undefined) continue;
    const ports = portsOf(service, pod);
    const key = JSON.stringify(ports.map((p) => [p.name, p.port]));
    const group = groups.get(key) ?? { ports, endpoints: [] };
    groups.set(key, group);
    group.endpoints.push(endpointOf(service, pod, ip));
  }
  if (groups.size === 0) groups.set('', { ports: [], endpoints: [] });
  const { name, namespace = 'default', uid = '', labels } = service.metadata;
  return [...groups.values()].map((group, i) => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: i === 0 ? first : `${first}-${i + 1}`,
      namespace,
      labels: {
        ...labels,
        'kubernetes.io/service-name': name,
        'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
        ...(service.spec.clusterIP === 'None' ? { 'service.kubernetes.io/headless': '' } : {}),
      },
      ownerReferences: [
        {
          apiVersion: 'v1',
          kind: 'Service',
          name,
          uid,
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    },
    addressType,
    endpoints: group.endpoints.toSorted((a, b) =>
      (a.addresses[0] ?? '').localeCompare(b.addresses[0] ?? ''),
    ),
    ports: group.ports,
  }));
}

/** The older form of the same, for clients that still ask for it. */
export function planEndpoints(service: Service, slices: readonly EndpointSlice[]): KubeObject {
  const { name, namespace = 'default', labels } = service.metadata;
  const addresses = (list: readonly SliceEndpoint[]) =>
    list.map((e) => ({ ip: e.addresses[0], nodeName: e.nodeName, targetRef: e.targetRef }));
  const subsets = slices.flatMap((slice) => {
    if (slice.addressType !== 'IPv4') return [];
    const ready = slice.endpoints.filter((e) => e.conditions?.ready !== false);
    const not = slice.endpoints.filter(
      (e) => e.conditions?.ready === false && e.conditions.terminating !== true,
    );
    if (ready.length + not.length === 0) return [];
    return [
      {
        ...(ready.length > 0 ? { addresses: addresses(ready) } : {}),
        ...(not.length > 0 ? { notReadyAddresses: addresses(not) } : {}),
        ports: slice.ports.map((p) => ({
          ...(p.name ? { name: p.name } : {}),
          port: p.port,
          protocol: p.protocol,
        })),
      },
    ];
  });
  return {
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: { name, namespace, ...(labels ? { labels } : {}) },
    ...(subsets.length > 0 ? { subsets } : {}),
  };
}
