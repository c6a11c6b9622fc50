// manifests/ and values → the objects of an installation, in the order in which they are applied.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KubeObject } from '../../core/kube/index.ts';
import { readManifests } from '../apply.ts';
import { defaultsOf, slotsOf, valueTable, type Values } from './values.ts';

export const partOf = 'app.kubernetes.io/part-of';
export const partName = 'ambient-lite';
/** The namespace that the files name. */
export const writtenNamespace = 'istio-system';

const folder = join(import.meta.dirname, '../../manifests');

function read(inner: string): KubeObject[] {
  const files = readdirSync(join(folder, inner)).filter(
    (f) => f.endsWith('.yaml') && f !== 'kustomization.yaml',
  );
  return files
    .toSorted()
    .flatMap((f) => readManifests(readFileSync(join(folder, inner, f), 'utf8'), `${inner}/${f}`));
}

export interface Source {
  readonly crds: readonly KubeObject[];
  readonly base: readonly KubeObject[];
  /** By the name of the value that turns them on. */
  readonly extras: ReadonlyMap<string, readonly KubeObject[]>;
}

export function readSource(): Source {
  const extras = Object.entries(valueTable).flatMap(([name, { extra }]) =>
    extra === undefined ? [] : [[name, read(`extras/${extra}`)] as const],
  );
  return { crds: read('crds'), base: read('base'), extras: new Map(extras) };
}

export const defaultValues = (source: Source): Values => defaultsOf(source.base);

/** Every text in a value, keys left alone. */
export function mapTexts(value: unknown, f: (text: string) => string): unknown {
  if (typeof value === 'string') return f(value);
  if (Array.isArray(value)) return value.map((v) => mapTexts(v, f));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, mapTexts(v, f)]));
}

/** Kinds that others need come first; programs last, the control plane before the nodes'. */
const order = [
  'CustomResourceDefinition',
  'Namespace',
  'ServiceAccount',
  'ClusterRole',
  'ClusterRoleBinding',
  'Role',
  'RoleBinding',
  'ConfigMap',
  'NetworkPolicy',
  'GatewayClass',
  'Service',
  'PodDisruptionBudget',
  'Deployment',
  'DaemonSet',
];

const rank = (o: KubeObject): number => {
  const at = order.indexOf(o.kind ?? '');
  // node-agent tells ztunnel of pods: it comes when ztunnel is there.
  return (at < 0 ? order.length : at) + (o.metadata.name === 'node-agent' ? 0.5 : 0);
};

export function renderObjects(source: Source, values: Values, namespace: string): KubeObject[] {
  const extras = [...source.extras].filter(([name]) => values.get(name) === true);
  const all = [...source.crds, ...source.base, ...extras.flatMap(([, objects]) => objects)];
  const objects = structuredClone(all);
  for (const [name, value] of values) for (const slot of slotsOf(name, objects)) slot.set(value);
  const placed =
    namespace === writtenNamespace
      ? objects
      : objects.map((o) =>
          o.kind === 'CustomResourceDefinition'
            ? o
            : (mapTexts(o, (t) => t.replaceAll(writtenNamespace, namespace)) as KubeObject),
        );
  return placed.toSorted((a, b) => rank(a) - rank(b));
}
