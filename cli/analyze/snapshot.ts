// The objects that an analysis looks at, with what the checks ask of them: by kind and name, workloads with
// their labels, services by host. Decisions about policies and waypoints are the control plane's own. Pure.
import type { KubeObject } from '../../core/kube/index.ts';
import { type EnrolmentFacts, wantsMesh } from '../../core/model/index.ts';
import {
  type Binding,
  bindLabels,
  ClusterState,
  dict,
  type Dict,
  field,
  GatewayState,
  list,
  type MeshSettings,
  nothingTouched,
  selects,
  text,
  texts,
} from '../../istiod-lite/index.ts';
import type { Code } from './codes.ts';

/** Where in an object: `['spec', 'rules', 0]`. */
export type Path = readonly (string | number)[];

/** How a check reports. */
export type Say = (code: Code, object: KubeObject, path: Path, text: string) => void;

/** One object and where it was read. */
export interface Loaded {
  readonly object: KubeObject;
  /** Absent = from the cluster. */
  readonly file?: string;
  /** Line of a field, or of the nearest one around it that is written; counted from 1. */
  readonly line?: (path: Path) => number | undefined;
}

/** A pod, or what makes pods. */
export interface WorkloadView {
  readonly object: KubeObject;
  readonly namespace: string;
  readonly labels: Dict;
  readonly account: string;
  /** To be captured, by labels and standing exclusions. */
  readonly meshed: boolean;
  readonly spec: unknown;
  /** The path of `spec` in the object. */
  readonly at: Path;
  /** A running pod, no template. */
  readonly pod: boolean;
  /** A pod that something else of the snapshot, or outside of it, has made. */
  readonly owned: boolean;
}

export interface HostTarget {
  readonly object: KubeObject;
  readonly namespace: string;
  readonly ports: readonly number[];
  /** Absent = has none. */
  readonly selector: Dict | undefined;
}

const templates: ReadonlySet<string> = new Set([
  'Deployment',
  'StatefulSet',
  'DaemonSet',
  'ReplicaSet',
  'Job',
  'ReplicationController',
]);
const clusterKinds = [
  'Namespace',
  'Node',
  'Pod',
  'Service',
  'EndpointSlice',
  'AuthorizationPolicy',
  'PeerAuthentication',
  'ServiceEntry',
  'WorkloadEntry',
] as const;
const gatewayKinds = [
  'Gateway',
  'GatewayClass',
  'HTTPRoute',
  'GRPCRoute',
  'TCPRoute',
  'TLSRoute',
] as const;

export const namespaceOf = (o: KubeObject): string => o.metadata.namespace ?? '';

/** Kind as the checks call it: Istio's own Gateway is another thing than Gateway API's. */
function kindOf(o: KubeObject): string {
  const kind = o.kind ?? '';
  return kind === 'Gateway' && (o.apiVersion ?? '').startsWith('networking.istio.io/')
    ? 'IstioGateway'
    : kind;
}

/** Namespaces that are the platform's own. */
const platform = (namespace: string): boolean =>
  namespace.startsWith('kube-') || namespace === 'local-path-storage';

const enrolment = (
  namespace: string,
  labels: unknown,
  annotations: unknown,
  spec: unknown,
  ended: boolean,
): EnrolmentFacts => ({
  namespace,
  labels: Object.fromEntries(dict(labels)),
  annotations: Object.fromEntries(dict(annotations)),
  hostNetwork: field(spec, 'hostNetwork') === true,
  ended,
});

export class Snapshot {
  readonly settings: MeshSettings;
  readonly cluster: ClusterState;
  readonly gateways = new GatewayState();
  readonly workloads: readonly WorkloadView[];
  readonly #byKind = new Map<string, Map<string, KubeObject>>();
  readonly #loaded = new Map<KubeObject, Loaded>();

  /** Of two objects with one name the later wins. */
  constructor(all: readonly Loaded[], settings: MeshSettings) {
    this.settings = settings;
    this.cluster = new ClusterState(settings.rootNamespace);
    for (const l of all) {
      const kind = kindOf(l.object);
      const here = this.#byKind.get(kind) ?? new Map<string, KubeObject>();
      this.#byKind.set(
        kind,
        here.set(`${namespaceOf(l.object)}/${l.object.metadata.name}`, l.object),
      );
      this.#loaded.set(l.object, l);
    }
    const touched = nothingTouched();
    for (const kind of clusterKinds)
      for (const o of this.of(kind)) this.cluster.apply(kind, 'ADDED', o, touched);
    for (const kind of gatewayKinds)
      for (const o of this.of(kind)) this.gateways.apply(kind, 'ADDED', o);
    this.workloads = this.#readWorkloads();
  }

  *of(kind: string): IterableIterator<KubeObject> {
    yield* this.#byKind.get(kind)?.values() ?? [];
  }

  *all(): IterableIterator<KubeObject> {
    for (const here of this.#byKind.values()) yield* here.values();
  }

  get(kind: string, namespace: string, name: string): KubeObject | undefined {
    return this.#byKind.get(kind)?.get(`${namespace}/${name}`);
  }

  loaded(o: KubeObject): Loaded {
    return this.#loaded.get(o) ?? { object: o };
  }

  labelsOf(namespace: string): Dict {
    return dict(this.get('Namespace', '', namespace)?.metadata.labels);
  }

  /** The mesh's own and the platform's namespaces are left in peace. */
  isSystem(namespace: string): boolean {
    return namespace === this.settings.rootNamespace || platform(namespace);
  }

  isMeshed(namespace: string): boolean {
    return this.labelsOf(namespace).get('istio.io/dataplane-mode') === 'ambient';
  }

  /** Workloads that a selector in `namespace` picks; in the root namespace those of every namespace. */
  selected(namespace: string, selector: Dict): WorkloadView[] {
    const everywhere = namespace === this.settings.rootNamespace;
    return this.workloads.filter(
      (w) => (everywhere || w.namespace === namespace) && selects(selector, w.labels),
    );
  }

  /** A short name, a full one, or a host of a ServiceEntry. */
  host(name: string, from: string): HostTarget | undefined {
    const domain = `.svc.${this.settings.clusterDomain}`;
    const short = name.endsWith(domain) ? name.slice(0, -domain.length) : name;
    const [service = '', namespace = from, ...more] = short.split('.');
    const kube = more.length === 0 ? this.get('Service', namespace, service) : undefined;
    if (kube) return this.serviceTarget(kube);
    for (const e of this.of('ServiceEntry')) {
      const hit = texts(field(e['spec'], 'hosts')).some(
        (h) => h === name || (h.startsWith('*.') && name.endsWith(h.slice(1))),
      );
      if (!hit) continue;
      const labels = field(e['spec'], 'workloadSelector', 'labels');
      return {
        object: e,
        namespace: namespaceOf(e),
        ports: list(field(e['spec'], 'ports')).map((p) => Number(field(p, 'number'))),
        selector: labels === undefined ? undefined : dict(labels),
      };
    }
    return undefined;
  }

  serviceTarget(o: KubeObject): HostTarget {
    const selector = dict(field(o['spec'], 'selector'));
    return {
      object: o,
      namespace: namespaceOf(o),
      ports: list(field(o['spec'], 'ports')).map((p) => Number(field(p, 'port'))),
      selector: selector.size > 0 ? selector : undefined,
    };
  }

  /** What the labels of an object, or of its namespace, ask for. */
  binding(o: KubeObject, traffic: 'service' | 'workload'): Binding {
    const { cluster, gateways, settings } = this;
    const world = { cluster, gateways, settings };
    return bindLabels(world, dict(o.metadata.labels), namespaceOf(o), traffic);
  }

  /** Whether somebody has asked that a waypoint stand before the service, ready or not. */
  wantsWaypoint(target: HostTarget): boolean {
    const b = this.binding(target.object, 'service');
    return b.kind === 'bound' || (b.kind === 'unbound' && b.gateway !== undefined);
  }

  #readWorkloads(): WorkloadView[] {
    const out: WorkloadView[] = [];
    for (const o of this.all()) {
      const namespace = namespaceOf(o);
      const labels = Object.fromEntries(this.labelsOf(namespace));
      if (o.kind === 'Pod') {
        const phase = text(field(o['status'], 'phase'));
        const ended = phase === 'Succeeded' || phase === 'Failed';
        if (ended) continue;
        const { metadata } = o;
        out.push({
          object: o,
          namespace,
          labels: dict(metadata.labels),
          account: text(field(o['spec'], 'serviceAccountName')) || 'default',
          meshed: wantsMesh(
            enrolment(namespace, metadata.labels, metadata.annotations, o['spec'], false),
            labels,
          ),
          spec: o['spec'],
          at: ['spec'],
          pod: true,
          owned: (metadata.ownerReferences ?? []).length > 0,
        });
      } else if (templates.has(o.kind ?? '')) {
        const template = field(o['spec'], 'template');
        const spec = field(template, 'spec');
        const meta = field(template, 'metadata');
        const facts = enrolment(
          namespace,
          field(meta, 'labels'),
          field(meta, 'annotations'),
          spec,
          false,
        );
        out.push({
          object: o,
          namespace,
          labels: dict(field(meta, 'labels')),
          account: text(field(spec, 'serviceAccountName')) || 'default',
          meshed: wantsMesh(facts, labels),
          spec,
          at: ['spec', 'template', 'spec'],
          pod: false,
          owned: (o.metadata.ownerReferences ?? []).length > 0,
        });
      }
    }
    return out;
  }
}
