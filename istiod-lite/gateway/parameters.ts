// ConfigMaps that change what a Gateway is served by: the defaults of its class, then its own `parametersRef`
// (control-plane.md 6.3). What cannot be read changes nothing and is told in the Gateway's status. Pure.
import { parse } from 'yaml';
import { printable } from '../../core/base/index.ts';
import type { KubeObject } from '../../core/kube/index.ts';
import { dict, type Meta, type ObjectKey, readMeta } from '../cluster/index.ts';
import type { Desired } from './deploy-plan.ts';
import { gatewayNameLabel } from './names.ts';
import type { GatewayFacts } from './objects.ts';
import { OverlayError, strategicMerge } from './overlay.ts';

/** On a ConfigMap of the mesh's own namespace: it holds for all Gateways of that class. */
export const classDefaultsLabel = 'gateway.istio.io/defaults-for-class';

const parts = [
  'serviceAccount',
  'deployment',
  'service',
  'horizontalPodAutoscaler',
  'podDisruptionBudget',
] as const satisfies readonly (keyof Desired)[];
export type Part = (typeof parts)[number];

export interface ParametersFacts extends Meta {
  readonly overlays: ReadonlyMap<Part, Record<string, unknown>>;
  /** Why nothing of it holds. */
  readonly fault: string | undefined;
}

const isPart = (key: string): key is Part => (parts as readonly string[]).includes(key);

/** `text` → an object, or what is wrong with it. */
function readOverlay(text: string): Record<string, unknown> | string {
  try {
    const value: unknown = parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : 'is no map';
  } catch (error) {
    const [line = ''] = (error instanceof Error ? error.message : '').split('\n');
    return `is no YAML: ${printable(line, 120)}`;
  }
}

export function readParameters(o: KubeObject): ParametersFacts {
  const meta = readMeta(o.metadata);
  const overlays = new Map<Part, Record<string, unknown>>();
  let fault: string | undefined;
  for (const [key, text] of dict(o['data'])) {
    if (!isPart(key)) {
      fault ??= `unknown key "${printable(key, 60)}", known are ${parts.join(', ')}`;
      continue;
    }
    const read = readOverlay(text);
    if (typeof read === 'string') fault ??= `key "${key}" ${read}`;
    else overlays.set(key, read);
  }
  return { ...meta, overlays, fault };
}

// --- which hold for a Gateway

export interface KnownParameters {
  /** Of Gateways, by `namespace/name`; `undefined` in it = there is none. A key that is missing = not known yet. */
  readonly parameters: ReadonlyMap<ObjectKey, ParametersFacts | undefined>;
  readonly classDefaults: ReadonlyMap<ObjectKey, ParametersFacts>;
}

export type ParametersOf =
  | { readonly state: 'known'; readonly all: readonly ParametersFacts[] }
  | { readonly state: 'pending' }
  | { readonly state: 'bad'; readonly message: string };

/** `namespace/name` of the ConfigMap that a Gateway names. */
export function parametersKey(g: GatewayFacts): ObjectKey | undefined {
  const p = g.parametersRef;
  const isMap = p && (p.group === '' || p.group === 'core') && p.kind === 'ConfigMap';
  return isMap ? `${g.namespace}/${p.name}` : undefined;
}

const told = (m: ParametersFacts, what: string): ParametersOf => ({
  state: 'bad',
  message: `ConfigMap ${m.namespace}/${m.name}: ${what}`,
});

/** The defaults of the class first; of several the oldest. */
export function parametersOf(
  known: KnownParameters,
  g: GatewayFacts,
  rootNamespace: string,
): ParametersOf {
  const all: ParametersFacts[] = [];
  const [defaults] = [...known.classDefaults.values()]
    .filter((m) => m.namespace === rootNamespace)
    .filter((m) => m.labels.get(classDefaultsLabel) === g.className)
    .toSorted((a, b) => a.created - b.created || (a.name < b.name ? -1 : 1));
  if (defaults) all.push(defaults);
  if (g.parametersRef) {
    const { group, kind } = g.parametersRef;
    const key = parametersKey(g);
    if (!key) {
      const message = `Unsupported parametersRef group/kind ${group}/${kind}, only ConfigMap is supported`;
      return { state: 'bad', message };
    }
    if (!known.parameters.has(key)) return { state: 'pending' };
    const own = known.parameters.get(key);
    if (!own) return { state: 'bad', message: `parametersRef ConfigMap ${key} does not exist` };
    all.push(own);
  }
  const broken = all.find((m) => m.fault !== undefined);
  return broken ? told(broken, broken.fault ?? '') : { state: 'known', all };
}

// --- what they make of it

/** Only where a ConfigMap asks for them. */
function extra(desired: Desired, part: Part): KubeObject | undefined {
  const { metadata } = desired.deployment;
  if (part === 'horizontalPodAutoscaler') {
    const scaleTargetRef = { apiVersion: 'apps/v1', kind: 'Deployment', name: metadata.name };
    return {
      apiVersion: 'autoscaling/v2',
      kind: 'HorizontalPodAutoscaler',
      metadata,
      spec: { scaleTargetRef, maxReplicas: 1 },
    };
  }
  if (part === 'podDisruptionBudget') {
    const name = metadata.labels?.[gatewayNameLabel] ?? '';
    return {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata,
      spec: { selector: { matchLabels: { [gatewayNameLabel]: name } } },
    };
  }
  return undefined;
}

/** What makes an object the one that is served: never changed by an overlay. */
const fixed: readonly (readonly string[])[] = [
  ['apiVersion'],
  ['kind'],
  ['metadata', 'name'],
  ['metadata', 'namespace'],
  ['metadata', 'ownerReferences'],
  ['spec', 'selector'],
  ['spec', 'scaleTargetRef'],
];

const at = (o: unknown, path: readonly string[]): string =>
  JSON.stringify(
    path.reduce<unknown>((v, k) => (v as Record<string, unknown> | undefined)?.[k], o) ?? null,
  );

/** Labels by which it is found again. */
const ownLabels = (o: KubeObject): [string, string][] =>
  Object.entries(o.metadata.labels ?? {}).filter(([k]) => k.startsWith('gateway.'));

function overlaid(base: KubeObject, overlay: Record<string, unknown>): KubeObject {
  const made = strategicMerge(base, overlay) as KubeObject;
  const changed = fixed.find((path) => at(made, path) !== at(base, path));
  if (changed) throw new OverlayError(`must not change ${changed.join('.')}`);
  const labels = made.metadata.labels ?? {};
  const lost = ownLabels(base).find(([k, v]) => labels[k] !== v);
  if (lost) throw new OverlayError(`must not change the label ${lost[0]}`);
  return made;
}

/** An autoscaler alone says how many there are. */
function withoutReplicas(d: KubeObject): KubeObject {
  const { replicas: _, ...spec } = d['spec'] as Record<string, unknown>;
  return { ...d, spec };
}

export function customise(
  desired: Desired,
  all: readonly ParametersFacts[],
): { readonly desired: Desired } | { readonly fault: string } {
  let out = desired;
  for (const m of all) {
    for (const [part, overlay] of m.overlays) {
      const base = out[part] ?? extra(desired, part);
      if (!base) continue;
      try {
        out = { ...out, [part]: overlaid(base, overlay) };
      } catch (error) {
        if (!(error instanceof OverlayError)) throw error;
        return { fault: `ConfigMap ${m.namespace}/${m.name}: key "${part}" ${error.message}` };
      }
    }
  }
  const scaled = out.horizontalPodAutoscaler !== undefined;
  return { desired: scaled ? { ...out, deployment: withoutReplicas(out.deployment) } : out };
}
