// Generates sandbox/api/schema.gen.ts: field names, types and required marks of the Kubernetes kinds
// the sandbox serves, taken from client-node's type maps and declarations. `--check` fails if stale.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import * as client from '@kubernetes/client-node';

const target = join(import.meta.dirname, '../sandbox/api/schema.gen.ts');
const entry = createRequire(import.meta.url).resolve('@kubernetes/client-node');
const models = join(dirname(entry), 'gen/models');

/** Kind → class of client-node. */
const roots: Readonly<Record<string, string>> = {
  'v1/Namespace': 'V1Namespace',
  'v1/Node': 'V1Node',
  'v1/Pod': 'V1Pod',
  'v1/Service': 'V1Service',
  'v1/Endpoints': 'V1Endpoints',
  'v1/ConfigMap': 'V1ConfigMap',
  'v1/Secret': 'V1Secret',
  'v1/ServiceAccount': 'V1ServiceAccount',
  'v1/Event': 'CoreV1Event',
  'v1/LimitRange': 'V1LimitRange',
  'v1/ResourceQuota': 'V1ResourceQuota',
  'apps/v1/Deployment': 'V1Deployment',
  'apps/v1/ReplicaSet': 'V1ReplicaSet',
  'apps/v1/DaemonSet': 'V1DaemonSet',
  'autoscaling/v1/Scale': 'V1Scale',
  'autoscaling/v2/HorizontalPodAutoscaler': 'V2HorizontalPodAutoscaler',
  'policy/v1/PodDisruptionBudget': 'V1PodDisruptionBudget',
  'networking.k8s.io/v1/NetworkPolicy': 'V1NetworkPolicy',
  'rbac.authorization.k8s.io/v1/Role': 'V1Role',
  'rbac.authorization.k8s.io/v1/RoleBinding': 'V1RoleBinding',
  'rbac.authorization.k8s.io/v1/ClusterRole': 'V1ClusterRole',
  'rbac.authorization.k8s.io/v1/ClusterRoleBinding': 'V1ClusterRoleBinding',
  'discovery.k8s.io/v1/EndpointSlice': 'V1EndpointSlice',
  'coordination.k8s.io/v1/Lease': 'V1Lease',
  'apiextensions.k8s.io/v1/CustomResourceDefinition': 'V1CustomResourceDefinition',
  'authentication.k8s.io/v1/TokenReview': 'V1TokenReview',
  'authentication.k8s.io/v1/TokenRequest': 'AuthenticationV1TokenRequest',
  'authentication.k8s.io/v1/SelfSubjectReview': 'V1SelfSubjectReview',
  'authorization.k8s.io/v1/SelfSubjectAccessReview': 'V1SelfSubjectAccessReview',
  'authorization.k8s.io/v1/SelfSubjectRulesReview': 'V1SelfSubjectRulesReview',
  'authorization.k8s.io/v1/SubjectAccessReview': 'V1SubjectAccessReview',
  'authorization.k8s.io/v1/LocalSubjectAccessReview': 'V1LocalSubjectAccessReview',
  'policy/v1/Eviction': 'V1Eviction',
};

/** client-node says `string` for quantities, which Kubernetes also accepts as numbers. */
const quantities: Readonly<Record<string, readonly string[]>> = {
  V1ResourceRequirements: ['limits', 'requests'],
  V1VolumeResourceRequirements: ['limits', 'requests'],
  V1NodeStatus: ['allocatable', 'capacity'],
  V1ContainerStatus: ['allocatedResources'],
  V1PodStatus: ['allocatedResources'],
  V1EmptyDirVolumeSource: ['sizeLimit'],
  V1ResourceFieldSelector: ['divisor'],
  V1PodSpec: ['overhead'],
  V1LimitRangeItem: ['_default', 'defaultRequest', 'max', 'maxLimitRequestRatio', 'min'],
  V1ResourceQuotaSpec: ['hard'],
  V1ResourceQuotaStatus: ['hard', 'used'],
  V2MetricTarget: ['averageValue', 'value'],
  V2MetricValueStatus: ['averageValue', 'value'],
};

interface Attribute {
  readonly name: string;
  readonly baseName: string;
  readonly type: string;
  readonly format: string;
}

function attributes(type: string): readonly Attribute[] {
  const found = (client as unknown as Record<string, { attributeTypeMap?: readonly Attribute[] }>)[
    type
  ];
  if (!found?.attributeTypeMap) throw new Error(`client-node has no type ${type}`);
  return found.attributeTypeMap;
}

/** Fields declared without `?`. */
function required(type: string): Set<string> {
  const text = readFileSync(join(models, `${type}.d.ts`), 'utf8');
  return new Set([...text.matchAll(/^ {4}'([^']+)': /gm)].map((m) => m[1] ?? ''));
}

const scalars: Readonly<Record<string, string>> = {
  string: 'string',
  boolean: 'boolean',
  any: 'any',
  Date: 'time',
  V1MicroTime: 'time',
  IntOrString: 'intstr',
};

/** `[]X` list, `{}X` map, else a scalar or the name of a shape. */
function typeOf(owner: string, a: Attribute, type: string, refs: Set<string>): string {
  const list = /^Array<(.*)>$/.exec(type);
  if (list) return `[]${typeOf(owner, a, list[1] ?? '', refs)}`;
  const map = /^\{ \[key: string\]: (.*); \}$/.exec(type);
  if (map) return `{}${typeOf(owner, a, map[1] ?? '', refs)}`;
  if (type === 'string' && quantities[owner]?.includes(a.name)) return 'quantity';
  if (type === 'number') return a.format === 'double' ? 'number' : 'integer';
  const scalar = scalars[type];
  if (scalar) return scalar;
  refs.add(type);
  return type;
}

function shapes(): Record<string, Record<string, string>> {
  const out: Record<string, Record<string, string>> = {};
  const waiting = Object.values(roots);
  for (let type = waiting.pop(); type !== undefined; type = waiting.pop()) {
    if (out[type]) continue;
    const must = required(type);
    const refs = new Set<string>();
    const fields: Record<string, string> = {};
    for (const a of attributes(type)) {
      fields[a.baseName] = `${must.has(a.name) ? '!' : ''}${typeOf(type, a, a.type, refs)}`;
    }
    out[type] = fields;
    waiting.push(...refs);
  }
  return out;
}

function print(): string {
  const all = shapes();
  const lines = Object.keys(all)
    .toSorted()
    .map((type) => `  ${JSON.stringify(type)}: ${JSON.stringify(all[type])},`);
  return [
    '// Generated by scripts/gen-kube-schema.ts from the types of @kubernetes/client-node. Do not edit.',
    '// A type is `!` (required), then `[]` or `{}` (list, map), then a scalar or the name of a shape.',
    '',
    `export const kinds: Readonly<Record<string, string>> = ${JSON.stringify(roots, null, 2)};`,
    '',
    'export const shapes: Readonly<Record<string, Readonly<Record<string, string>>>> = {',
    ...lines,
    '};',
    '',
  ].join('\n');
}

function main(): void {
  const text = print();
  if (!process.argv.includes('--check')) return writeFileSync(target, text);
  let old = '';
  try {
    old = readFileSync(target, 'utf8');
  } catch {
    // a missing file differs like a stale one
  }
  if (old === text) return;
  process.stderr.write('sandbox/api/schema.gen.ts is stale: run node scripts/gen-kube-schema.ts\n');
  process.exitCode = 1;
}

main();
