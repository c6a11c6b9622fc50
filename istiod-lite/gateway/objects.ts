// The few fields the control plane reads of Gateways, their classes and routes. Parsed once, here; every
// reader takes half-filled and hostile objects.
import type { KubeObject } from '../../core/kube/index.ts';
import {
  type Condition,
  type Dict,
  dict,
  field,
  list,
  type Meta,
  readConditions,
  readMeta,
  text,
  texts,
} from '../cluster/index.ts';

export type RouteKind = 'HTTPRoute' | 'GRPCRoute' | 'TCPRoute' | 'TLSRoute';

export interface ParentRef {
  readonly group: string;
  readonly kind: string;
  readonly name: string;
  /** Empty = the route's own. */
  readonly namespace: string;
  /** 0 = every port. */
  readonly port: number;
  readonly sectionName: string;
  /** As written, for status. */
  readonly raw: unknown;
}

export interface ListenerFacts {
  readonly name: string;
  readonly hostname: string;
  readonly port: number;
  readonly protocol: string;
  readonly from: string;
  /** Only with `from: Selector`. */
  readonly selector: Dict;
}

export interface GatewayFacts extends Meta {
  readonly className: string;
  readonly listeners: readonly ListenerFacts[];
  /** `spec.addresses`: an existing Service is meant. */
  readonly addresses: readonly { readonly type: string; readonly value: string }[];
  /** Absent = labels and annotations of the Gateway itself are copied. */
  readonly infrastructure?: { readonly labels: Dict; readonly annotations: Dict } | undefined;
  readonly parametersRef?:
    | { readonly group: string; readonly kind: string; readonly name: string }
    | undefined;
  readonly deleting: boolean;
  readonly status: {
    readonly addresses: readonly { readonly type: string; readonly value: string }[];
    readonly conditions: readonly Condition[];
    readonly listeners: readonly {
      readonly name: string;
      readonly conditions: readonly Condition[];
    }[];
  };
}

export interface ClassFacts extends Meta {
  readonly controllerName: string;
  readonly conditions: readonly Condition[];
}

export interface RouteFacts extends Meta {
  readonly kind: RouteKind;
  readonly parents: readonly ParentRef[];
  readonly hostnames: readonly string[];
  /** Read where it is translated. */
  readonly rules: readonly unknown[];
  /** `status.parents` as it is now. */
  readonly statusParents: readonly unknown[];
}

export const number = (v: unknown): number => (typeof v === 'number' && Number.isFinite(v) ? v : 0);

function conditionsOf(o: unknown): Condition[] {
  return readConditions({ metadata: { name: '' }, status: o });
}

function addressesOf(v: unknown): { type: string; value: string }[] {
  return list(v).map((a) => ({
    type: text(field(a, 'type')) || 'IPAddress',
    value: text(field(a, 'value')),
  }));
}

function readListener(l: unknown): ListenerFacts {
  const namespaces = field(l, 'allowedRoutes', 'namespaces');
  return {
    name: text(field(l, 'name')),
    hostname: text(field(l, 'hostname')),
    port: number(field(l, 'port')),
    protocol: text(field(l, 'protocol')),
    from: text(field(namespaces, 'from')) || 'Same',
    selector: dict(field(namespaces, 'selector', 'matchLabels')),
  };
}

export function readGateway(o: KubeObject): GatewayFacts {
  const { spec, status } = o;
  const infrastructure = field(spec, 'infrastructure');
  const parameters = field(infrastructure, 'parametersRef');
  return {
    ...readMeta(o.metadata),
    className: text(field(spec, 'gatewayClassName')),
    listeners: list(field(spec, 'listeners')).map(readListener),
    addresses: addressesOf(field(spec, 'addresses')),
    infrastructure:
      infrastructure === undefined
        ? undefined
        : {
            labels: dict(field(infrastructure, 'labels')),
            annotations: dict(field(infrastructure, 'annotations')),
          },
    parametersRef:
      parameters === undefined
        ? undefined
        : {
            group: text(field(parameters, 'group')),
            kind: text(field(parameters, 'kind')),
            name: text(field(parameters, 'name')),
          },
    deleting: o.metadata.deletionTimestamp !== undefined,
    status: {
      addresses: addressesOf(field(status, 'addresses')),
      conditions: conditionsOf(status),
      listeners: list(field(status, 'listeners')).map((l) => ({
        name: text(field(l, 'name')),
        conditions: conditionsOf(l),
      })),
    },
  };
}

export function readClass(o: KubeObject): ClassFacts {
  return {
    ...readMeta(o.metadata),
    controllerName: text(field(o['spec'], 'controllerName')),
    conditions: readConditions(o),
  };
}

function readParent(p: unknown): ParentRef {
  const group = field(p, 'group');
  return {
    group: typeof group === 'string' ? group : 'gateway.networking.k8s.io',
    kind: text(field(p, 'kind')) || 'Gateway',
    name: text(field(p, 'name')),
    namespace: text(field(p, 'namespace')),
    port: number(field(p, 'port')),
    sectionName: text(field(p, 'sectionName')),
    raw: p,
  };
}

export function readRoute(kind: RouteKind, o: KubeObject): RouteFacts {
  const spec = o['spec'];
  const given = list(field(spec, 'rules'));
  // HTTPRoute has a rule that matches everything where none is written.
  const rules = given.length === 0 && kind === 'HTTPRoute' ? [{}] : given;
  return {
    ...readMeta(o.metadata),
    kind,
    parents: list(field(spec, 'parentRefs')).map(readParent),
    hostnames: texts(field(spec, 'hostnames')),
    rules,
    statusParents: list(field(o['status'], 'parents')),
  };
}

/** A DestinationRule or VirtualService: read where it is translated. */
export interface RuleFacts extends Meta {
  readonly spec: unknown;
  readonly conditions: readonly Condition[];
}

export const readRule = (o: KubeObject): RuleFacts => ({
  ...readMeta(o.metadata),
  spec: o['spec'],
  conditions: readConditions(o),
});
