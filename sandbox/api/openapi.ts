// OpenAPI v3 per group version (for `kubectl explain` and `apply`), and the few bytes of v2 that older
// kubectls ask for. Field names and types come from schema.gen.ts and from CRDs; no descriptions.
import { createHash } from 'node:crypto';
import { apiVersionOf, type Registry, type ResourceInfo } from '../store/index.ts';
import { groupVersions } from './discovery.ts';
import type { MutableJson } from './json.ts';
import { shapes } from './schema.gen.ts';
import { shapeOf } from './shape-check.ts';

const scalarSchemas: Readonly<Record<string, object>> = {
  string: { type: 'string' },
  boolean: { type: 'boolean' },
  integer: { type: 'integer', format: 'int64' },
  number: { type: 'number', format: 'double' },
  time: { type: 'string', format: 'date-time' },
  intstr: { oneOf: [{ type: 'integer' }, { type: 'string' }], format: 'int-or-string' },
  quantity: { oneOf: [{ type: 'string' }, { type: 'number' }] },
  any: { type: 'object' },
};

function schemaOf(type: string, refs: Set<string>): object {
  if (type.startsWith('[]')) return { type: 'array', items: schemaOf(type.slice(2), refs) };
  if (type.startsWith('{}'))
    return { type: 'object', additionalProperties: schemaOf(type.slice(2), refs) };
  const scalar = scalarSchemas[type];
  if (scalar) return scalar;
  refs.add(type);
  return { allOf: [{ $ref: `#/components/schemas/${type}` }] };
}

function shapeSchema(shape: string, refs: Set<string>): MutableJson {
  const fields = Object.entries(shapes[shape] ?? {});
  const required = fields.filter(([, t]) => t.startsWith('!')).map(([name]) => name);
  const properties = Object.fromEntries(
    fields.map(([name, t]) => [name, schemaOf(t.replace(/^!/, ''), refs)] as const),
  );
  return { type: 'object', properties, ...(required.length > 0 ? { required } : {}) };
}

function gvk(info: ResourceInfo): object {
  return { group: info.group, version: info.version, kind: info.kind };
}

function addBuiltin(schemas: MutableJson, info: ResourceInfo, shape: string): string {
  const waiting = [shape];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (Object.hasOwn(schemas, name)) continue;
    const refs = new Set<string>();
    schemas[name] = shapeSchema(name, refs);
    waiting.push(...refs);
  }
  schemas[shape] = {
    ...(schemas[shape] as object),
    'x-kubernetes-group-version-kind': [gvk(info)],
  };
  return shape;
}

function addCustom(schemas: MutableJson, info: ResourceInfo): string {
  const name = `${info.group.split('.').toReversed().join('.')}.${info.version}.${info.kind}`;
  const meta = { allOf: [{ $ref: '#/components/schemas/V1ObjectMeta' }] };
  const schema = info.custom?.schema ?? { type: 'object' };
  const properties = (schema['properties'] ?? {}) as MutableJson;
  schemas[name] = {
    ...schema,
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      ...properties,
      metadata: meta,
    },
    'x-kubernetes-group-version-kind': [gvk(info)],
  };
  addBuiltinShape(schemas, 'V1ObjectMeta');
  return name;
}

function addBuiltinShape(schemas: MutableJson, shape: string): void {
  if (Object.hasOwn(schemas, shape)) return;
  const refs = new Set<string>();
  schemas[shape] = shapeSchema(shape, refs);
  for (const ref of refs) addBuiltinShape(schemas, ref);
}

const parameter = (name: string) => ({
  name,
  in: 'query',
  schema: { type: 'string', uniqueItems: true },
});
const writeParameters = ['dryRun', 'fieldManager', 'fieldValidation'].map(parameter);
const patchTypes = [
  'application/apply-patch+yaml',
  'application/json-patch+json',
  'application/merge-patch+json',
];

function operation(
  info: ResourceInfo,
  schema: string,
  action: string,
  parameters: object[],
): object {
  const content = { 'application/json': { schema: { $ref: `#/components/schemas/${schema}` } } };
  return {
    'x-kubernetes-action': action,
    'x-kubernetes-group-version-kind': gvk(info),
    parameters,
    ...(action === 'patch'
      ? { requestBody: { content: Object.fromEntries(patchTypes.map((t) => [t, {}])) } }
      : {}),
    responses: { 200: { description: 'OK', content } },
  };
}

function addPaths(paths: MutableJson, info: ResourceInfo, schema: string): void {
  const root = info.group === '' ? '/api/v1' : `/apis/${apiVersionOf(info)}`;
  const all = `${root}/${info.namespaced ? 'namespaces/{namespace}/' : ''}${info.plural}`;
  const make = (action: string, parameters: object[] = []) =>
    operation(info, schema, action, parameters);
  paths[all] = { get: make('list'), post: make('post', writeParameters) };
  paths[`${all}/{name}`] = {
    get: make('get'),
    put: make('put', writeParameters),
    delete: make('delete'),
    patch: make('patch', [...writeParameters, parameter('force')]),
  };
}

/** `at` is `api/v1` or `apis/G/V`; undefined if there is no such group version. */
export function openapiDocument(registry: Registry, at: string): object | undefined {
  const here = registry
    .all()
    .filter((r) => (r.group === '' ? `api/${r.version}` : `apis/${apiVersionOf(r)}`) === at);
  if (here.length === 0 && !documentPaths(registry).includes(at)) return undefined;
  const schemas: MutableJson = {};
  const paths: MutableJson = {};
  for (const info of here) {
    const shape = shapeOf(apiVersionOf(info), info.kind);
    const name = shape ? addBuiltin(schemas, info, shape) : addCustom(schemas, info);
    addPaths(paths, info, name);
  }
  return {
    openapi: '3.0.0',
    info: { title: 'ambient-lite sandbox', version: 'v1.33.0' },
    paths,
    components: { schemas },
  };
}

function documentPaths(registry: Registry): string[] {
  return [...groupVersions(registry)].flatMap(([group, versions]) =>
    versions.map((v) => (group === '' ? `api/${v}` : `apis/${group}/${v}`)),
  );
}

/** `/openapi/v3`: where each document is; the hash changes with what it holds. */
export function openapiIndex(registry: Registry): object {
  const entry = (at: string) => {
    const content = registry
      .all()
      .filter((r) => at.endsWith(apiVersionOf(r)))
      .map((r) => [r.kind, r.custom?.schema]);
    const hash = createHash('sha256').update(JSON.stringify(content)).digest('hex').slice(0, 32);
    return { serverRelativeURL: `/openapi/v3/${at}?hash=${hash}` };
  };
  return { paths: Object.fromEntries(documentPaths(registry).map((at) => [at, entry(at)])) };
}

export const openapiV2 = {
  swagger: '2.0',
  info: { title: 'ambient-lite sandbox', version: 'v1.33.0' },
  paths: {},
} as const;

function field(number: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes]);
}

/** The same as protobuf (gnostic's Document: swagger = 1, info = 2 {title = 1, version = 2}). */
export function openapiV2Bytes(): Buffer {
  const { title, version } = openapiV2.info;
  const info = Buffer.concat([field(1, Buffer.from(title)), field(2, Buffer.from(version))]);
  return Buffer.concat([field(1, Buffer.from(openapiV2.swagger)), field(2, info)]);
}
