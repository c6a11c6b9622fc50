// Strategic merge patch and server-side apply: merging that knows by which key the elements of a list
// are the same. Pure. Lists not named here are replaced as a whole, as in Kubernetes.
import { isDeepStrictEqual } from 'node:util';
import { statusError } from '../store/index.ts';
import { isRecord, type MutableJson } from './json.ts';
import { shapes } from './schema.gen.ts';

/** Shape → field → merge key; '' merges lists of plain values. */
const mergeKeys: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  V1ObjectMeta: { ownerReferences: 'uid', finalizers: '' },
  V1PodSpec: {
    containers: 'name',
    initContainers: 'name',
    ephemeralContainers: 'name',
    volumes: 'name',
    imagePullSecrets: 'name',
    hostAliases: 'ip',
    topologySpreadConstraints: 'topologyKey',
    resourceClaims: 'name',
    schedulingGates: 'name',
  },
  V1Container: {
    env: 'name',
    ports: 'containerPort',
    volumeMounts: 'mountPath',
    volumeDevices: 'devicePath',
  },
  V1ServiceSpec: { ports: 'port' },
  V1ServiceAccount: { secrets: 'name', imagePullSecrets: 'name' },
  V1NodeSpec: { podCIDRs: '' },
  V1NodeStatus: { addresses: 'type', conditions: 'type' },
  V1PodStatus: { conditions: 'type', podIPs: 'ip', hostIPs: 'ip' },
  V1DeploymentStatus: { conditions: 'type' },
  V1ReplicaSetStatus: { conditions: 'type' },
  V1DaemonSetStatus: { conditions: 'type' },
  V1ServiceStatus: { conditions: 'type' },
  V1NamespaceStatus: { conditions: 'type' },
};

/** Server-side apply's list-map keys where they differ: a Service may serve one port over two protocols. */
const applyKeys: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  V1ServiceSpec: { ports: ['port', 'protocol'] },
  V1Container: { ports: ['containerPort', 'protocol'] },
  V1PodSpec: { topologySpreadConstraints: ['topologyKey', 'whenUnsatisfiable'] },
};

const keyDefaults: Readonly<Record<string, unknown>> = { protocol: 'TCP' };

interface Place {
  readonly shape: string | undefined;
  readonly apply: boolean;
}

/** Fields come from clients: only own entries count. */
function lookUp<T>(
  table: Readonly<Record<string, Readonly<Record<string, T>>>>,
  shape: string | undefined,
  field: string,
): T | undefined {
  const fields = shape !== undefined && Object.hasOwn(table, shape) ? table[shape] : undefined;
  return fields && Object.hasOwn(fields, field) ? fields[field] : undefined;
}

function below(
  place: Place,
  field: string,
): Place & { readonly keys: readonly string[] | undefined } {
  const fields = place.shape === undefined ? undefined : shapes[place.shape];
  const type = fields && Object.hasOwn(fields, field) ? fields[field] : undefined;
  const shape = type?.replace(/^!?(\[\]|\{\})*/, '');
  const own = place.shape === 'V1EphemeralContainer' ? 'V1Container' : place.shape;
  const key = lookUp(mergeKeys, own, field);
  const wide = place.apply ? lookUp(applyKeys, own, field) : undefined;
  return {
    apply: place.apply,
    shape: shape !== undefined && shape in shapes ? shape : undefined,
    keys: wide ?? (key === undefined ? undefined : key === '' ? [] : [key]),
  };
}

function refuse(why: string): never {
  throw statusError(400, 'BadRequest', `the patch cannot be applied: ${why}`);
}

const isDirective = (key: string): boolean => key.startsWith('$');

function mergeObject(target: unknown, patch: MutableJson, place: Place): unknown {
  const directive = patch['$patch'];
  if (directive === 'replace') return withoutDirectives(patch);
  if (directive === 'delete') return {};
  const out: MutableJson = isRecord(target) ? { ...target } : {};
  retain(out, patch['$retainKeys']);
  for (const [key, value] of Object.entries(patch)) {
    if (isDirective(key)) continue;
    if (value === null) delete out[key];
    else out[key] = mergeField(out, key, value, place);
  }
  for (const [key, value] of Object.entries(patch)) applyListDirective(out, key, value, place);
  return out;
}

function retain(out: MutableJson, keys: unknown): void {
  if (!Array.isArray(keys)) return;
  for (const key of Object.keys(out)) if (!keys.includes(key)) delete out[key];
}

function mergeField(out: MutableJson, key: string, value: unknown, place: Place): unknown {
  const old = Object.hasOwn(out, key) ? out[key] : undefined;
  const next = below(place, key);
  if (isRecord(value)) return mergeObject(old, value, next);
  if (!Array.isArray(value) || next.keys === undefined) return value;
  return mergeList(Array.isArray(old) ? old : [], value, next, next.keys);
}

function identity(item: MutableJson, keys: readonly string[]): unknown[] {
  return keys.map((k) => (Object.hasOwn(item, k) ? item[k] : keyDefaults[k]));
}

function mergeList(
  old: readonly unknown[],
  patch: readonly unknown[],
  place: Place,
  keys: readonly string[],
): unknown[] {
  if (keys.length === 0) return [...old, ...patch.filter((v) => !old.includes(v))];
  if (patch.some((v) => isRecord(v) && v['$patch'] === 'replace')) {
    return patch.filter((v) => !(isRecord(v) && v['$patch'] === 'replace'));
  }
  const out = [...old];
  for (const item of patch) {
    if (!isRecord(item)) refuse('a list that is merged by key holds objects');
    const id = identity(item, keys);
    if (id.some((v) => v === undefined)) refuse(`an element has no ${keys.join(', ')}`);
    const index = out.findIndex((o) => isRecord(o) && isDeepStrictEqual(identity(o, keys), id));
    if (item['$patch'] === 'delete') {
      if (index >= 0) out.splice(index, 1);
    } else if (index >= 0) out[index] = mergeObject(out[index], item, place);
    else out.push(mergeObject({}, item, place));
  }
  return out;
}

/** `$setElementOrder/x` orders a list, `$deleteFromPrimitiveList/x` takes plain values out. */
function applyListDirective(out: MutableJson, key: string, value: unknown, place: Place): void {
  const slash = key.indexOf('/');
  if (!isDirective(key) || slash < 0 || !Array.isArray(value)) return;
  const field = key.slice(slash + 1);
  const items = out[field];
  if (!Array.isArray(items)) return;
  if (key.startsWith('$deleteFromPrimitiveList/')) {
    out[field] = items.filter((v) => !value.includes(v));
  } else if (key.startsWith('$setElementOrder/')) {
    out[field] = ordered(items, value, below(place, field).keys ?? []);
  }
}

/** Elements named by `order` take its sequence; the others stay behind the neighbour they had. */
function ordered(
  items: readonly unknown[],
  order: readonly unknown[],
  keys: readonly string[],
): unknown[] {
  const rank = (item: unknown): number =>
    order.findIndex((o) =>
      keys.length > 0 && isRecord(o) && isRecord(item)
        ? isDeepStrictEqual(identity(o, keys), identity(item, keys))
        : isDeepStrictEqual(o, item),
    );
  const named = items.filter((i) => rank(i) >= 0).toSorted((a, b) => rank(a) - rank(b));
  const out: unknown[] = [];
  for (const item of items) {
    if (rank(item) < 0) out.push(item);
    else out.push(named.shift());
  }
  return out;
}

function withoutDirectives(patch: MutableJson): MutableJson {
  return Object.fromEntries(Object.entries(patch).filter(([k]) => !isDirective(k)));
}

/** `shape` is a name of schema.gen.ts. Throws 400 on a patch that cannot be applied. */
export function strategicPatch(shape: string, target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return refuse('it is not an object');
  return mergeObject(target, patch, { shape, apply: false });
}

/**
 * Server-side apply without field ownership: what is applied is merged, nothing is taken away.
 * Custom resources have no `shape`: their lists are replaced.
 */
export function applyPatch(shape: string | undefined, target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return refuse('it is not an object');
  return mergeObject(target, patch, { shape: shape ?? 'V1Custom', apply: true });
}
