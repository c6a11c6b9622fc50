// Services: a cluster IP for each, and their EndpointSlices (and Endpoints) from ready pods.
import type { KubeObject, Store } from '../contract.ts';
import type { AddressPlan } from '../addresses.ts';
import { nextFree } from '../loopback/index.ts';
import {
  as,
  type EndpointSlice,
  isDeleting,
  keys,
  type Pod,
  type Service,
  selects,
} from '../objects.ts';
import { planEndpoints, planSlices } from './endpoints-plan.ts';
import { type Controller, keyOf, splitKey } from './loop.ts';
import { stable } from './workload-plan.ts';

const firstClusterIp = 16;

/** Gives services their addresses; those of another block (an earlier run's) are replaced. */
export function clusterIpController(store: Store, addresses: AddressPlan): Controller {
  let last = firstClusterIp - 1;
  return {
    name: 'cluster-ip',
    watches: { [keys.services]: (o) => [keyOf(o)] },
    reconcile(key) {
      const { namespace, name } = splitKey(key);
      const found = store.get(keys.services, namespace, name);
      if (!found) return undefined;
      const { spec } = as<Service>(found);
      if (spec.type === 'ExternalName') return undefined;
      const services = store.list(keys.services).items.map(as<Service>);
      const taken = new Set(
        services
          .filter((s) => s.metadata.uid !== found.metadata.uid)
          .map((s) => s.spec.clusterIP ?? ''),
      );
      const current = spec.clusterIP;
      const settled =
        current === 'None' ||
        (current !== undefined && addresses.isClusterIp(current) && !taken.has(current));
      if (!settled) {
        const at = (n: number): string => addresses.clusterIp(n);
        last = nextFree(last, firstClusterIp, at, taken) ?? last;
      }
      const ip = settled ? current : addresses.clusterIp(last);
      store.modify(keys.services, namespace, name, (o) =>
        complete(as<Service>(o), ip, addresses.six(ip === 'None' ? addresses.api : ip)),
      );
      // A service that was of this type and is another now has no such address any more.
      store.modify(
        keys.services,
        namespace,
        name,
        (o) => {
          const ingress = spec.type === 'LoadBalancer' ? { ingress: [{ ip }] } : {};
          o['status'] = { ...(o['status'] as object | undefined), loadBalancer: ingress };
        },
        { status: true },
      );
      return undefined;
    },
  };
}

/** What the API server fills in. IPv4 comes first; a service is of both families if it asks to be, as anywhere. */
function complete(service: Service, ip: string, six: string | undefined): void {
  const { spec } = service;
  const headless = ip === 'None';
  const policy = spec['ipFamilyPolicy'];
  const dual = policy === 'PreferDualStack' || policy === 'RequireDualStack';
  const other = dual ? six : undefined;
  spec.clusterIP = ip;
  spec.clusterIPs = other === undefined || headless ? [ip] : [ip, other];
  spec.type ??= 'ClusterIP';
  spec['ipFamilies'] = other === undefined ? ['IPv4'] : ['IPv4', 'IPv6'];
  spec['ipFamilyPolicy'] ??= 'SingleStack';
  spec['internalTrafficPolicy'] ??= 'Cluster';
  spec['sessionAffinity'] ??= 'None';
  for (const port of spec.ports ?? []) {
    port.protocol ??= 'TCP';
    port.targetPort ??= port.port;
  }
}

export function endpointsController(store: Store): Controller {
  return {
    name: 'endpoints',
    watches: {
      [keys.services]: (o) => [keyOf(o)],
      [keys.pods]: (o) => servicesOf(store, o),
      [keys.endpointSlices]: (o) => {
        const name = o.metadata.labels?.['kubernetes.io/service-name'];
        return name && managed(o) ? [`${o.metadata.namespace ?? ''}/${name}`] : [];
      },
    },
    reconcile(key) {
      const { namespace, name } = splitKey(key);
      const found = store.get(keys.services, namespace, name);
      const old = store
        .list(keys.endpointSlices, {
          namespace,
          labelSelector: `kubernetes.io/service-name=${name}`,
        })
        .items.filter(managed);
      const service = found && !isDeleting(found) ? as<Service>(found) : undefined;
      const selector = Object.keys(service?.spec.selector ?? {}).length > 0;
      if (!service || !selector || service.spec.type === 'ExternalName') {
        for (const slice of old) store.remove(keys.endpointSlices, namespace, slice.metadata.name);
        if (!service) store.remove(keys.endpoints, namespace, name);
        return undefined;
      }
      const pods = store.list(keys.pods, { namespace }).items.map(as<Pod>);
      const wanted = planSlices(service, pods);
      for (const slice of wanted) put(store, keys.endpointSlices, slice);
      const names = new Set(wanted.map((s) => s.metadata.name));
      for (const slice of old) {
        if (names.has(slice.metadata.name)) continue;
        store.remove(keys.endpointSlices, namespace, slice.metadata.name);
      }
      put(store, keys.endpoints, planEndpoints(service, wanted));
      return undefined;
    },
  };
}

const managed = (o: KubeObject): boolean =>
  o.metadata.labels?.['endpointslice.kubernetes.io/managed-by'] ===
  'endpointslice-controller.k8s.io';

/** Services that select the pod now, or list it still. */
function servicesOf(store: Store, pod: KubeObject): string[] {
  const { namespace = '' } = pod.metadata;
  const out = new Set<string>();
  for (const service of store.list(keys.services, { namespace }).items) {
    if (selects(as<Service>(service).spec.selector, pod.metadata.labels)) out.add(keyOf(service));
  }
  for (const slice of store.list(keys.endpointSlices, { namespace }).items) {
    const name = slice.metadata.labels?.['kubernetes.io/service-name'];
    const listed = as<EndpointSlice>(slice).endpoints.some(
      (e) => e.targetRef?.uid === pod.metadata.uid,
    );
    if (name && listed) out.add(`${namespace}/${name}`);
  }
  return [...out];
}

/** Creates, or replaces what differs. */
export function put(store: Store, resource: string, object: KubeObject): void {
  const { namespace, name } = object.metadata;
  const existing = store.get(resource, namespace, name);
  if (!existing) {
    store.create(resource, object);
    return;
  }
  const { metadata, ...rest } = object;
  const { metadata: _old, ...oldRest } = existing;
  const { labels, ownerReferences } = existing.metadata;
  const same =
    stable(rest) === stable(oldRest) &&
    stable(metadata.labels ?? {}) === stable(labels ?? {}) &&
    (metadata.ownerReferences === undefined ||
      stable(metadata.ownerReferences) === stable(ownerReferences));
  if (same) return;
  const merged = { ...existing.metadata, ...metadata };
  store.update(resource, { ...object, metadata: merged });
}
