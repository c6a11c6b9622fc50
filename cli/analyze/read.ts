// YAML texts → objects that know the lines of their fields. Pure; reading files is the command's.
import { isMap, isNode, isPair, isSeq, LineCounter, type Node, parseAllDocuments } from 'yaml';
import type { KubeObject } from '../../core/kube/index.ts';
import type { Loaded, Path } from './snapshot.ts';

/** What could not be read, with the line where reading stopped. */
export interface Unreadable {
  readonly file: string;
  readonly message: string;
}

/** Kinds that live in no namespace. */
const clusterScoped: ReadonlySet<string> = new Set([
  'Namespace',
  'Node',
  'GatewayClass',
  'CustomResourceDefinition',
  'ClusterRole',
  'ClusterRoleBinding',
  'PersistentVolume',
  'PriorityClass',
  'StorageClass',
  'ValidatingWebhookConfiguration',
  'MutatingWebhookConfiguration',
]);

function lineOf(root: unknown, counter: LineCounter, path: Path): number | undefined {
  let at: unknown = root;
  let offset = isNode(at) ? at.range?.[0] : undefined;
  for (const p of path) {
    if (isMap(at)) {
      const pair = at.items.find(
        (x) => String((x.key as Node & { value?: unknown }).value) === String(p),
      );
      if (!isPair(pair)) break;
      if (isNode(pair.key) && pair.key.range) [offset] = pair.key.range;
      at = pair.value;
    } else if (isSeq(at)) {
      at = at.items[Number(p)];
      if (isNode(at) && at.range) [offset] = at.range;
    } else break;
  }
  return offset === undefined ? undefined : counter.linePos(offset).line;
}

/** Objects of one text; those without a namespace get `namespace`. */
export function readObjects(
  text: string,
  file: string,
  namespace: string,
): { readonly loaded: Loaded[]; readonly bad: Unreadable[] } {
  const counter = new LineCounter();
  const loaded: Loaded[] = [];
  const bad: Unreadable[] = [];
  for (const document of parseAllDocuments(text, { lineCounter: counter })) {
    const [error] = document.errors;
    if (error) {
      bad.push({ file, message: error.message });
      continue;
    }
    const value = document.toJS() as KubeObject | null;
    if (value === null) continue;
    const { contents } = document;
    const line = (path: Path): number | undefined => lineOf(contents, counter, path);
    if (!value.apiVersion || !value.kind || !value.metadata?.name) {
      const where = line([]);
      const at = where === undefined ? '' : ` (line ${where})`;
      bad.push({ file, message: `an object needs apiVersion, kind and metadata.name${at}` });
      continue;
    }
    const object: KubeObject = clusterScoped.has(value.kind)
      ? value
      : { ...value, metadata: { namespace, ...value.metadata } };
    loaded.push({ object, file, line });
  }
  return { loaded, bad };
}
