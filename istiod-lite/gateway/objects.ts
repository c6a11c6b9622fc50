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
  /** `group/Kind` of routes; none = what the protocol carries. */
  readonly kinds: readonly string[];
  readonly tls?:
    | {
        readonly mode: string;
        readonly certificates: readonly ObjectRef[];
        /** Anything beyond: nothing that is understood here. */
        readonly more: readonly string[];
      }
    | undefined;
}

export interface ObjectRef {
  readonly group: string;
  readonly kind: string;
  readonly name: string;
  /** Empty = of the object that refers. */
  readonly namespace: string;
}

/** A ReferenceGrant: it lies in the namespace that is referred to. */
export interface GrantFacts extends Meta {
  readonly from: readonly ObjectRef[];
  /** An empty name = all of them. */
  readonly to: readonly ObjectRef[];
}

/** A Secret of type kubernetes.io/tls, PEM. */
export interface SecretFacts extends Meta {
  readonly certificates: string;
  readonly privateKey: string;
  /** `ca.crt`, empty if there is none. */
  readonly roots: string;
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
      readonly attachedRoutes: number;
      readonly kinds: readonly string[];
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

function readRef(r: unknown): ObjectRef {
  return {
    group: text(field(r, 'group')),
    kind: text(field(r, 'kind')),
    name: text(field(r, 'name')),
    namespace: text(field(r, 'namespace')),
  };
}

const kindsOf = (v: unknown): string[] =>
  list(v).map((k) => {
    const group = field(k, 'group');
    return `${typeof group === 'string' ? group : 'gateway.networking.k8s.io'}/${text(field(k, 'kind'))}`;
  });

function readTls(v: unknown): ListenerFacts['tls'] {
  if (typeof v !== 'object' || v === null) return undefined;
  const options = [...dict(field(v, 'options')).keys()].map((k) => `options.${k}`);
  const others = Object.keys(v).filter((k) => !['mode', 'certificateRefs', 'options'].includes(k));
  const certificates = list(field(v, 'certificateRefs')).map(readRef);
  return {
    mode: text(field(v, 'mode')) || 'Terminate',
    certificates: certificates.map((c) => ({ ...c, kind: c.kind || 'Secret' })),
    more: [...options, ...others],
  };
}

function readListener(l: unknown): ListenerFacts {
  const namespaces = field(l, 'allowedRoutes', 'namespaces');
  return {
    name: text(field(l, 'name')),
    hostname: text(field(l, 'hostname')).toLowerCase(),
    port: number(field(l, 'port')),
    protocol: text(field(l, 'protocol')),
    from: text(field(namespaces, 'from')) || 'Same',
    selector: dict(field(namespaces, 'selector', 'matchLabels')),
    kinds: kindsOf(field(l, 'allowedRoutes', 'kinds')),
    tls: readTls(field(l, 'tls')),
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
        attachedRoutes: number(field(l, 'attachedRoutes')),
        kinds: kindsOf(field(l, 'supportedKinds')),
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

export function readGrant(o: KubeObject): GrantFacts {
  const refs = (name: string): ObjectRef[] => list(field(o['spec'], name)).map(readRef);
  return { ...readMeta(o.metadata), from: refs('from'), to: refs('to') };
}

export function readSecret(o: KubeObject): SecretFacts {
  const pem = (name: string): string => {
    const given = text(field(o['data'], name));
    return Buffer.from(given, 'base64').toString('utf8');
  };
  return {
    ...readMeta(o.metadata),
    certificates: pem('tls.crt'),
    privateKey: pem('tls.key'),
    roots: pem('ca.crt'),
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
    hostnames: texts(field(spec, 'hostnames')).map((h) => h.toLowerCase()),
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
