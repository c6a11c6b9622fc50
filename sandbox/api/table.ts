// `meta.k8s.io/v1 Table`: what `kubectl get` prints. Columns of built-in kinds come from columns.ts,
// those of custom resources from their CRD.
import type { KubeObject } from '../contract.ts';
import { apiVersionOf, type PrinterColumn, type ResourceInfo } from '../store/index.ts';
import { age, builtinColumns, type Column } from './columns.ts';
import { readPath } from './json-path.ts';

export type IncludeObject = 'None' | 'Metadata' | 'Object';

export interface TableAsk {
  readonly include: IncludeObject;
}

/** The representation the client wants most: a Table, only metadata, or the object. */
export function wanted(
  accept: string | undefined,
  query: URLSearchParams,
): TableAsk | 'metadata' | 'object' {
  for (const part of (accept ?? '').split(',')) {
    const [type, ...parameters] = part
      .trim()
      .split(';')
      .map((p) => p.trim());
    if (type !== 'application/json' && type !== '*/*') continue;
    const as = parameters.find((p) => p.startsWith('as='))?.slice(3);
    if (as === 'Table') {
      const include = query.get('includeObject');
      return { include: include === 'None' || include === 'Object' ? include : 'Metadata' };
    }
    if (as === 'PartialObjectMetadata' || as === 'PartialObjectMetadataList') return 'metadata';
    if (as === undefined) return 'object';
  }
  return 'object';
}

const nameColumn: Column = {
  name: 'Name',
  type: 'string',
  format: 'name',
  cell: (object) => object.metadata.name,
};

const ageColumn: Column = {
  name: 'Age',
  type: 'string',
  cell: (object, now) => age(object.metadata.creationTimestamp, now),
};

function customColumn(column: PrinterColumn): Column {
  const date = column.type === 'date';
  return {
    name: column.name,
    type: date ? 'string' : column.type,
    ...(column.format ? { format: column.format } : {}),
    ...(column.priority ? { priority: column.priority } : {}),
    cell(object, now) {
      const value = readPath(object, column.jsonPath);
      if (date) return typeof value === 'string' ? age(value, now) : '<unknown>';
      if (value === undefined) return null;
      const plain =
        typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
      if (column.type === 'string') return plain ? String(value) : JSON.stringify(value);
      return plain ? value : JSON.stringify(value);
    },
  };
}

function columnsOf(info: ResourceInfo): readonly Column[] {
  const own = info.custom ? info.custom.columns.map(customColumn) : builtinColumns(info.key);
  if (!own || own.length === 0) return [nameColumn, ageColumn];
  return [nameColumn, ...own];
}

/** `{kind: PartialObjectMetadata, metadata}` */
export function partial(object: KubeObject): object {
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object.metadata };
}

export interface TableMeta {
  readonly resourceVersion: string;
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

/** `head: false` leaves the column definitions out, as in the later events of a watch. */
export function tableOf(
  info: ResourceInfo,
  objects: readonly KubeObject[],
  metadata: TableMeta,
  ask: TableAsk,
  nowMs: number,
  head = true,
): object {
  const columns = columnsOf(info);
  const rowObject = (object: KubeObject) => {
    if (ask.include === 'None') return {};
    return {
      object:
        ask.include === 'Object' ? { ...object, apiVersion: apiVersionOf(info) } : partial(object),
    };
  };
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata,
    columnDefinitions: head ? columns.map(definition) : [],
    rows: objects.map((object) => ({
      cells: columns.map((column) => column.cell(object, nowMs)),
      ...rowObject(object),
    })),
  };
}

function definition(column: Column): object {
  return {
    name: column.name,
    type: column.type,
    format: column.format ?? '',
    description: '',
    priority: column.priority ?? 0,
  };
}
