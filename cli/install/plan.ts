// What an installation does, in order, from the objects to be and those that are. Pure.
import type { KubeObject } from '../../core/kube/index.ts';
import { partName, partOf } from './render.ts';

export interface Phase {
  readonly title: string;
  readonly objects: readonly KubeObject[];
}

const nameOf = (o: KubeObject): string => `${o.kind}/${o.metadata.name}`;
export const describeObject = (o: KubeObject): string =>
  o.metadata.namespace === undefined
    ? nameOf(o)
    : `${o.kind}/${o.metadata.name} in ${o.metadata.namespace}`;

export const isOurs = (o: KubeObject): boolean => o.metadata.labels?.[partOf] === partName;

const workload = (o: KubeObject, name: string): boolean =>
  (o.kind === 'Deployment' || o.kind === 'DaemonSet') && o.metadata.name === name;

/** Each phase is waited for before the next begins. */
export function planInstall(objects: readonly KubeObject[]): Phase[] {
  const phases: [string, (o: KubeObject) => boolean][] = [
    ['kinds', (o) => o.kind === 'CustomResourceDefinition'],
    ['accounts and rights', (o) => o.kind !== 'Deployment' && o.kind !== 'DaemonSet'],
    ['control plane', (o) => workload(o, 'istiod')],
    ['node proxy', (o) => workload(o, 'ztunnel')],
    ['node agent', (o) => workload(o, 'node-agent')],
  ];
  let left = [...objects];
  return phases.map(([title, fits]) => {
    const here = left.filter(fits);
    left = left.filter((o) => !fits(o));
    return { title, objects: here };
  });
}

export type Verdict =
  | { readonly kind: 'apply' }
  /** Somebody else's object of the same name. */
  | { readonly kind: 'keep'; readonly why: string }
  | { readonly kind: 'refuse'; readonly why: string };

/** Kinds whose objects others may have made for everybody. */
const shared = new Set(['CustomResourceDefinition', 'Namespace', 'GatewayClass']);

/** What to do where an object of that name exists already. */
export function judgeExisting(wanted: KubeObject, existing: KubeObject | undefined): Verdict {
  if (!existing || isOurs(existing)) return { kind: 'apply' };
  const what = describeObject(wanted);
  // Left out of an uninstall, too: without our label nothing removes it.
  if (shared.has(wanted.kind ?? ''))
    return { kind: 'keep', why: `${what} is somebody else’s and stays as it is` };
  return {
    kind: 'refuse',
    why: `${what} exists and is not ambient-lite’s: another mesh is installed there; remove it first or use --force`,
  };
}
