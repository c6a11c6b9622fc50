// What a list or watch selects: predicates over stored rows and over objects, and the version a text is
// handed out in.
import { type LabelRequirement, matchesLabels } from '../../core/kube/index.ts';
import type { KubeObject, ListQuery, ResourceKey } from '../contract.ts';
import type { ObjectRow } from './database.ts';
import {
  type FieldRequirement,
  matchesFields,
  parseFieldSelector,
  parseLabelSelector,
} from './selectors.ts';

/** The same text with the apiVersion of `resource`: CRDs may serve several versions of one object. */
export function inVersion(text: string, resource: ResourceKey): string {
  const slash = resource.lastIndexOf('/');
  const head = `{"apiVersion":"${resource.slice(0, slash)}"`;
  if (text.startsWith(head)) return text;
  return head + text.slice(text.indexOf('"', 15) + 1);
}

interface Selected {
  readonly labels: string | null;
  readonly json: string;
}

/** A predicate over rows; parses an object only where columns do not answer. Throws 400. */
export function rowSelector(query: ListQuery): (row: ObjectRow & Selected) => boolean {
  const labels = query.labelSelector ? parseLabelSelector(query.labelSelector) : [];
  const fields = query.fieldSelector ? parseFieldSelector(query.fieldSelector) : [];
  if (labels.length === 0 && fields.length === 0) return () => true;
  return (row) => labelsFit(labels, row) && fieldsFit(fields, row);
}

function labelsFit(wanted: readonly LabelRequirement[], row: Selected): boolean {
  if (wanted.length === 0) return true;
  const labels = row.labels === null ? undefined : (JSON.parse(row.labels) as object);
  return matchesLabels(wanted, labels as Record<string, string> | undefined);
}

/** Names are columns, so the usual `metadata.name=x` parses nothing. */
function fieldsFit(wanted: readonly FieldRequirement[], row: ObjectRow): boolean {
  const rest: FieldRequirement[] = [];
  for (const requirement of wanted) {
    const field = requirement.path.join('.');
    if (field !== 'metadata.name' && field !== 'metadata.namespace') rest.push(requirement);
    else {
      const value = field === 'metadata.name' ? row.name : row.namespace;
      if ((value === requirement.value) !== requirement.equal) return false;
    }
  }
  return rest.length === 0 || matchesFields(rest, JSON.parse(row.json));
}

/** A predicate over whole objects for watches; the same meaning as the list's. Throws 400. */
export function objectSelector(query: ListQuery): (object: KubeObject) => boolean {
  const labels = query.labelSelector ? parseLabelSelector(query.labelSelector) : [];
  const fields = query.fieldSelector ? parseFieldSelector(query.fieldSelector) : [];
  const namespace = query.namespace;
  return (object) =>
    (namespace === undefined || object.metadata.namespace === namespace) &&
    matchesLabels(labels, object.metadata.labels) &&
    matchesFields(fields, object);
}
