// What may be set at install: one table for `ambientctl install --set`, for the chart's values.yaml, and for the
// documents. A default is not written here but read from manifests/, where it stands in its place.
import type { KubeObject } from '../../core/kube/index.ts';
import { CliError } from '../errors.ts';

export type Scalar = string | number | boolean;
export type Values = ReadonlyMap<string, Scalar>;

/** Where a value stands: objects by kind and name (`*` = any), and a path with elements of lists by name. */
interface Place {
  readonly kind: string;
  readonly name: string;
  readonly path: string;
}

export interface ValueRow {
  readonly help: string;
  /** Empty = it turns a folder of manifests/extras on. */
  readonly places: readonly Place[];
  readonly extra?: string;
}

const container = (kind: string, name: string, inner: string): Place => ({
  kind,
  name,
  path: `spec.template.spec.containers[*].${inner}`,
});
const istiod = (inner: string): Place => container('Deployment', 'istiod', inner);
const ztunnel = (inner: string): Place => container('DaemonSet', 'ztunnel', inner);
const nodeAgent = (inner: string): Place => container('DaemonSet', 'node-agent', inner);
const env = (name: string): string => `env[${name}].value`;
const requests = (what: string): string => `resources.requests.${what}`;

export const valueTable: Readonly<Record<string, ValueRow>> = {
  image: {
    help: 'Image of every program; waypoints are made from it too.',
    places: [istiod('image'), ztunnel('image'), nodeAgent('image'), istiod(env('WAYPOINT_IMAGE'))],
  },
  imagePullPolicy: {
    help: 'When nodes fetch the image: Always, IfNotPresent or Never.',
    places: [istiod('imagePullPolicy'), ztunnel('imagePullPolicy'), nodeAgent('imagePullPolicy')],
  },
  clusterId: {
    help: 'Name of this cluster.',
    places: [istiod(env('CLUSTER_ID')), ztunnel(env('CLUSTER_ID'))],
  },
  network: {
    help: 'Network of this cluster’s pods; empty where there is one alone.',
    places: [istiod(env('NETWORK')), ztunnel(env('NETWORK'))],
  },
  trustDomain: {
    help: 'Trust domain of every identity.',
    places: [istiod(env('TRUST_DOMAIN')), ztunnel(env('TRUST_DOMAIN'))],
  },
  clusterDomain: {
    help: 'DNS domain of services.',
    places: [istiod(env('CLUSTER_DOMAIN')), ztunnel(env('CLUSTER_DOMAIN'))],
  },
  revision: {
    help: 'Revision that the control plane answers for.',
    places: [istiod(env('REVISION'))],
  },
  logLevel: {
    help: 'Log level of every program, or scope=level list.',
    places: [istiod(env('LOG_LEVEL')), ztunnel(env('RUST_LOG')), nodeAgent(env('LOG_LEVEL'))],
  },
  logFormat: {
    help: 'Form of log lines: plain or json.',
    places: [istiod(env('LOG_FORMAT')), ztunnel(env('LOG_FORMAT')), nodeAgent(env('LOG_FORMAT'))],
  },
  'istiod.replicas': {
    help: 'Replicas of the control plane.',
    places: [{ kind: 'Deployment', name: 'istiod', path: 'spec.replicas' }],
  },
  'istiod.discoverySelector': {
    help: 'Label selector of the namespaces that the mesh looks at; empty = all of them.',
    places: [istiod(env('DISCOVERY_SELECTOR'))],
  },
  'istiod.cpu': { help: 'CPU asked for a replica.', places: [istiod(requests('cpu'))] },
  'istiod.memory': { help: 'Memory asked for a replica.', places: [istiod(requests('memory'))] },
  'ztunnel.cpu': { help: 'CPU asked on each node.', places: [ztunnel(requests('cpu'))] },
  'ztunnel.memory': { help: 'Memory asked on each node.', places: [ztunnel(requests('memory'))] },
  'nodeAgent.cpu': { help: 'CPU asked on each node.', places: [nodeAgent(requests('cpu'))] },
  'nodeAgent.memory': {
    help: 'Memory asked on each node.',
    places: [nodeAgent(requests('memory'))],
  },
  'nodeAgent.dnsCapture': {
    help: 'DNS of pods goes through ztunnel: "true" or "false".',
    places: [nodeAgent(env('AMBIENT_DNS_CAPTURE'))],
  },
  networkPolicies: {
    help: 'NetworkPolicies for the mesh’s own pods.',
    places: [],
    extra: 'network-policies',
  },
  nodeTaint: {
    help: 'The control plane may take the taint cni.istio.io/not-ready off nodes whose mesh programs are ready.',
    places: [],
    extra: 'node-taint',
  },
  monitoring: {
    help: 'Alerts for Prometheus and a dashboard for Grafana, as ConfigMaps.',
    places: [],
    extra: 'monitoring',
  },
};

export interface Slot {
  get(): unknown;
  set(value: unknown): void;
}

type Json = Record<string, unknown>;

function step(at: unknown, part: string): unknown[] {
  const [, key = '', element] = /^([^[]+)(?:\[(.+)\])?$/.exec(part) ?? [];
  const inner = (at as Json | undefined)?.[key];
  if (element === undefined) return [inner];
  const list = Array.isArray(inner) ? (inner as Json[]) : [];
  return list.filter((e) => element === '*' || e['name'] === element);
}

function slotsIn(object: KubeObject, path: string): Slot[] {
  const parts = path.split('.');
  const last = parts.pop() ?? '';
  let holders: unknown[] = [object];
  for (const part of parts) holders = holders.flatMap((h) => step(h, part));
  return holders
    .filter((h): h is Json => typeof h === 'object' && h !== null && last in h)
    .map((h) => ({
      get: () => h[last],
      set: (value) => {
        h[last] = value;
      },
    }));
}

/** The places of a value in these objects; each row of the table has at least one. */
export function slotsOf(name: string, objects: readonly KubeObject[]): Slot[] {
  const { places = [] } = valueTable[name] ?? {};
  return places.flatMap((p) =>
    objects
      .filter((o) => o.kind === p.kind && o.metadata.name === p.name)
      .flatMap((o) => slotsIn(o, p.path)),
  );
}

/** Every value as the manifests have it. */
export function defaultsOf(objects: readonly KubeObject[]): Map<string, Scalar> {
  const out = new Map<string, Scalar>();
  for (const [name, row] of Object.entries(valueTable)) {
    if (row.extra !== undefined) out.set(name, false);
    else out.set(name, slotsOf(name, objects)[0]?.get() as Scalar);
  }
  return out;
}

const known = (): string => Object.keys(valueTable).join(', ');

function readAs(name: string, like: Scalar, value: unknown): Scalar {
  const text = String(value);
  if (typeof like === 'number') {
    const n = Number(text);
    if (!Number.isInteger(n) || n < 0 || text.trim() === '')
      throw new CliError(`${name}: "${text}" is no whole number`);
    return n;
  }
  if (typeof like === 'boolean') {
    if (text !== 'true' && text !== 'false')
      throw new CliError(`${name}: "${text}" is neither true nor false`);
    return text === 'true';
  }
  return text;
}

function put(out: Map<string, Scalar>, name: string, value: unknown): void {
  // What people type from habit: this is the only profile, and Helm's values have this prefix in Istio.
  const short = name.replace(/^values\./, '');
  if (short === 'profile' && value === 'ambient') return;
  const like = out.get(short);
  if (like === undefined) throw new CliError(`unknown value "${name}"; known are ${known()}`);
  out.set(short, readAs(short, like, value));
}

function flatten(value: Json, prefix = ''): [string, unknown][] {
  return Object.entries(value).flatMap(([key, v]) =>
    typeof v === 'object' && v !== null && !Array.isArray(v)
      ? flatten(v as Json, `${prefix}${key}.`)
      : ([[`${prefix}${key}`, v]] as [string, unknown][]),
  );
}

/** Defaults, then files in their order, then `name=value` texts. Throws CliError for what nobody reads. */
export function readValues(
  defaults: Values,
  files: readonly unknown[],
  texts: readonly string[],
): Map<string, Scalar> {
  const out = new Map(defaults);
  for (const file of files) {
    if (file === null || file === undefined) continue;
    if (typeof file !== 'object' || Array.isArray(file))
      throw new CliError('a file of values must be a YAML mapping');
    for (const [name, value] of flatten(file as Json)) put(out, name, value);
  }
  for (const text of texts) {
    const at = text.indexOf('=');
    if (at < 1) throw new CliError(`--set wants name=value, not "${text}"`);
    put(out, text.slice(0, at), text.slice(at + 1));
  }
  return out;
}
