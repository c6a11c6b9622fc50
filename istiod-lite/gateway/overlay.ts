// Kubernetes' strategic merge of a fragment into an object, as far as pods, Services, autoscalers and budgets need it
// (control-plane.md 6.3): maps are merged, null takes away, lists with a key are merged by it, all others replaced. Pure.

type Json = Record<string, unknown>;

/** Raised for a directive that is not carried out. */
export class OverlayError extends Error {}

/** The key of the items of a list, by the name of the list. */
const mergeKeys: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries({
    containers: ['name'],
    initContainers: ['name'],
    ephemeralContainers: ['name'],
    env: ['name'],
    volumes: ['name'],
    imagePullSecrets: ['name'],
    resourceClaims: ['name'],
    volumeMounts: ['mountPath'],
    volumeDevices: ['devicePath'],
    hostAliases: ['ip'],
    topologySpreadConstraints: ['topologyKey'],
    // Of a container, of a Service.
    ports: ['containerPort', 'port'],
  }),
);

const isMap = (v: unknown): v is Json => typeof v === 'object' && v !== null && !Array.isArray(v);

function directiveOf(patch: Json): string | undefined {
  for (const key of Object.keys(patch)) {
    if (key.startsWith('$') && key !== '$patch')
      throw new OverlayError(`directive "${key}" is not supported`);
  }
  const given = patch['$patch'];
  if (given === undefined || given === 'merge') return undefined;
  if (given === 'replace' || given === 'delete') return given;
  throw new OverlayError(`the value of "$patch" must be merge, replace or delete`);
}

const bare = (patch: Json): Json =>
  Object.fromEntries(Object.entries(patch).filter(([k]) => k !== '$patch'));

/** The key of this list; `undefined` = it has none and is replaced. */
function keyFor(name: string, items: readonly unknown[]): string | undefined {
  return mergeKeys.get(name)?.find((k) => items.every((i) => isMap(i) && i[k] !== undefined));
}

function mergeList(base: readonly unknown[], patch: readonly unknown[], name: string): unknown[] {
  const replaces = patch.some((p) => isMap(p) && directiveOf(p) === 'replace');
  const items = patch.filter((p) => !(isMap(p) && Object.keys(p).join() === '$patch'));
  const key = keyFor(name, [...base, ...items]);
  if (replaces || key === undefined) return items.map((p) => strategicMerge(undefined, p));
  const out = [...base] as Json[];
  for (const item of items as Json[]) {
    const at = out.findIndex((o) => o[key] === item[key]);
    if (directiveOf(item) === 'delete') {
      if (at >= 0) out.splice(at, 1);
    } else if (at >= 0) out[at] = strategicMerge(out[at], item) as Json;
    else out.push(strategicMerge(undefined, item) as Json);
  }
  return out;
}

/** `name` is that of the field the value is in. Throws OverlayError. */
export function strategicMerge(base: unknown, patch: unknown, name = ''): unknown {
  if (Array.isArray(patch)) return mergeList(Array.isArray(base) ? base : [], patch, name);
  if (!isMap(patch)) return patch;
  const directive = directiveOf(patch);
  if (directive === 'delete') return {};
  const out = new Map(Object.entries(isMap(base) && directive !== 'replace' ? base : {}));
  for (const [key, value] of Object.entries(bare(patch))) {
    if (key === '__proto__') throw new OverlayError('key "__proto__" is not allowed');
    if (value === null) out.delete(key);
    else out.set(key, strategicMerge(out.get(key), value, key));
  }
  return Object.fromEntries(out);
}
