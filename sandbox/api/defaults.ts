// The fields Kubernetes fills in itself and clients rely on. Works in place on an object that is ours.
import { at, isRecord, list, type MutableJson, record, text } from './json.ts';

function fill(target: MutableJson, values: Readonly<Record<string, unknown>>): void {
  for (const [key, value] of Object.entries(values)) target[key] ??= value;
}

/** The object at `key`, made if absent. */
function inside(target: MutableJson, key: string): MutableJson {
  if (!isRecord(target[key])) target[key] = {};
  return target[key] as MutableJson;
}

function records(value: unknown): MutableJson[] {
  return list(value).filter(isRecord);
}

function probe(value: unknown): void {
  if (!isRecord(value)) return;
  fill(value, { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 });
  if (isRecord(value['httpGet'])) fill(value['httpGet'], { path: '/', scheme: 'HTTP' });
}

function container(value: MutableJson): void {
  const image = text(value['image']);
  const latest = !/:[^/]+$/.test(image) || image.endsWith(':latest');
  fill(value, {
    resources: {},
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    imagePullPolicy: latest ? 'Always' : 'IfNotPresent',
  });
  for (const port of records(value['ports'])) fill(port, { protocol: 'TCP' });
  for (const name of ['livenessProbe', 'readinessProbe', 'startupProbe']) probe(value[name]);
  for (const env of records(value['env'])) {
    const ref = at(env, 'valueFrom', 'fieldRef');
    if (isRecord(ref)) fill(ref, { apiVersion: 'v1' });
  }
}

const fileMode = 0o644;

function volume(value: MutableJson): void {
  for (const name of ['configMap', 'secret', 'projected', 'downwardAPI']) {
    if (isRecord(value[name])) fill(value[name] as MutableJson, { defaultMode: fileMode });
  }
  for (const source of records(at(value, 'projected', 'sources'))) {
    const token = source['serviceAccountToken'];
    if (isRecord(token)) fill(token, { expirationSeconds: 3600 });
  }
  const sources = ['configMap', 'secret', 'projected', 'emptyDir', 'hostPath', 'downwardAPI'];
  if (!sources.some((s) => value[s] !== undefined) && Object.keys(value).length === 1) {
    value['emptyDir'] = {};
  }
}

function podSpec(spec: MutableJson): void {
  fill(spec, {
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 30,
    dnsPolicy: 'ClusterFirst',
    schedulerName: 'default-scheduler',
    securityContext: {},
  });
  if (spec['serviceAccountName'] !== undefined)
    fill(spec, { serviceAccount: spec['serviceAccountName'] });
  for (const list of ['containers', 'initContainers']) records(spec[list]).forEach(container);
  records(spec['volumes']).forEach(volume);
}

function pod(object: MutableJson): void {
  const spec = inside(object, 'spec');
  podSpec(spec);
  fill(spec, {
    serviceAccountName: 'default',
    enableServiceLinks: true,
    preemptionPolicy: 'PreemptLowerPriority',
  });
  fill(spec, { serviceAccount: spec['serviceAccountName'] });
}

function template(object: MutableJson): MutableJson {
  const spec = inside(object, 'spec');
  const own = at(spec, 'template', 'spec');
  if (isRecord(own)) podSpec(own);
  return spec;
}

function deployment(object: MutableJson): void {
  const spec = template(object);
  fill(spec, {
    replicas: 1,
    revisionHistoryLimit: 10,
    progressDeadlineSeconds: 600,
    strategy: { type: 'RollingUpdate' },
  });
  const strategy = record(spec['strategy']);
  fill(strategy, { type: 'RollingUpdate' });
  if (strategy['type'] === 'RollingUpdate') {
    fill(inside(strategy, 'rollingUpdate'), { maxSurge: '25%', maxUnavailable: '25%' });
  }
}

function daemonSet(object: MutableJson): void {
  const spec = template(object);
  fill(spec, { revisionHistoryLimit: 10 });
  const strategy = inside(spec, 'updateStrategy');
  fill(strategy, { type: 'RollingUpdate' });
  if (strategy['type'] === 'RollingUpdate') {
    fill(inside(strategy, 'rollingUpdate'), { maxSurge: 0, maxUnavailable: 1 });
  }
}

function service(object: MutableJson): void {
  const spec = inside(object, 'spec');
  fill(spec, { type: 'ClusterIP', sessionAffinity: 'None' });
  if (spec['type'] !== 'ExternalName') {
    fill(spec, { internalTrafficPolicy: 'Cluster', ipFamilyPolicy: 'SingleStack' });
  }
  for (const port of records(spec['ports'])) {
    fill(port, { protocol: 'TCP', targetPort: port['port'] });
  }
}

function secret(object: MutableJson): void {
  fill(object, { type: 'Opaque' });
  const given = object['stringData'];
  if (!isRecord(given)) return;
  const data = inside(object, 'data');
  for (const [key, value] of Object.entries(given)) {
    data[key] = Buffer.from(text(value)).toString('base64');
  }
  delete object['stringData'];
}

function namespace(object: MutableJson): void {
  const metadata = inside(object, 'metadata');
  inside(metadata, 'labels')['kubernetes.io/metadata.name'] = metadata['name'];
  fill(inside(object, 'spec'), { finalizers: ['kubernetes'] });
  fill(inside(object, 'status'), { phase: 'Active' });
}

function crd(object: MutableJson): void {
  const spec = inside(object, 'spec');
  const names = inside(spec, 'names');
  const kind = text(names['kind']);
  fill(names, { singular: kind.toLowerCase(), listKind: `${kind}List` });
  fill(spec, { conversion: { strategy: 'None' } });
}

const byKind: Readonly<Record<string, (object: MutableJson) => void>> = {
  'v1/Pod': pod,
  'v1/Service': service,
  'v1/Secret': secret,
  'v1/Namespace': namespace,
  'apps/v1/Deployment': deployment,
  'apps/v1/ReplicaSet': (object) => fill(template(object), { replicas: 1 }),
  'apps/v1/DaemonSet': daemonSet,
  'apiextensions.k8s.io/v1/CustomResourceDefinition': crd,
};

/** Fills in place; kinds without defaults stay as they are. */
export function fillDefaults(object: MutableJson): void {
  const key = `${text(object['apiVersion'])}/${text(object['kind'])}`;
  if (Object.hasOwn(byKind, key)) byKind[key]?.(object);
}

/** The status a new object starts with; undefined for kinds whose writer may give one. */
export function firstStatus(object: MutableJson): MutableJson | undefined {
  switch (`${text(object['apiVersion'])}/${text(object['kind'])}`) {
    case 'v1/Pod':
      return { phase: 'Pending', qosClass: 'BestEffort' };
    case 'v1/Namespace':
      return { phase: 'Active' };
    case 'v1/Service':
      return { loadBalancer: {} };
    default:
      return {};
  }
}
