// A container's environment and command line, from its spec and what it refers to. Pure: the
// lookups are arguments, the outcome is a value or the reason why there is none.
import { accountOf, type Container, type EnvVar, type Pod } from '../objects.ts';
import { expand } from './expand.ts';

/** Data of ConfigMaps and Secrets (decoded) of the pod's namespace. */
export interface Lookups {
  configMap(name: string): ReadonlyMap<string, string> | undefined;
  secret(name: string): ReadonlyMap<string, string> | undefined;
}

export type Prepared<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: string; readonly message: string };

const failed = (message: string): { ok: false; reason: string; message: string } => ({
  ok: false,
  reason: 'CreateContainerConfigError',
  message,
});

/** The value of a downward-API field path; `undefined` for a path that is not known. */
export function fieldValue(path: string, pod: Pod): string | undefined {
  const { metadata, spec, status } = pod;
  const entry = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path);
  if (entry) {
    const map = entry[1] === 'labels' ? metadata.labels : metadata.annotations;
    return map?.[entry[2] ?? ''] ?? '';
  }
  switch (path) {
    case 'metadata.name':
      return metadata.name;
    case 'metadata.namespace':
      return metadata.namespace ?? '';
    case 'metadata.uid':
      return metadata.uid ?? '';
    case 'metadata.labels':
      return mapText(metadata.labels);
    case 'metadata.annotations':
      return mapText(metadata.annotations);
    case 'spec.nodeName':
      return spec.nodeName ?? '';
    case 'spec.serviceAccountName':
      return accountOf(spec);
    case 'status.podIP':
    case 'status.podIPs':
      return status?.podIP ?? '';
    case 'status.hostIP':
    case 'status.hostIPs':
      return status?.hostIP ?? '';
    default:
      return undefined;
  }
}

const mapText = (map: Readonly<Record<string, string>> | undefined): string =>
  Object.entries(map ?? {})
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([k, v]) => `${k}=${JSON.stringify(v)}`)
    .join('\n');

/**
 * The environment of a container: `base` first (what every pod gets), then envFrom, then env in
 * order, each value expanded by what stands before it.
 */
export function containerEnv(
  container: Container,
  pod: Pod,
  base: ReadonlyMap<string, string>,
  lookups: Lookups,
): Prepared<Map<string, string>> {
  const env = new Map(base);
  for (const from of container.envFrom ?? []) {
    const source = from.configMapRef ?? from.secretRef;
    const name = source?.name ?? '';
    const data = from.configMapRef ? lookups.configMap(name) : lookups.secret(name);
    if (!data && source?.optional !== true) {
      return failed(`${from.configMapRef ? 'configmap' : 'secret'} "${name}" not found`);
    }
    for (const [key, value] of data ?? []) env.set(`${from.prefix ?? ''}${key}`, value);
  }
  for (const variable of container.env ?? []) {
    const value = variableValue(variable, pod, env, lookups);
    if (!value.ok) return value;
    if (value.value !== undefined) env.set(variable.name, value.value);
  }
  return { ok: true, value: env };
}

function variableValue(
  variable: EnvVar,
  pod: Pod,
  env: ReadonlyMap<string, string>,
  lookups: Lookups,
): Prepared<string | undefined> {
  const from = variable.valueFrom;
  if (!from) return { ok: true, value: expand(variable.value ?? '', env) };
  if (from.fieldRef) {
    const value = fieldValue(from.fieldRef.fieldPath, pod);
    if (value !== undefined) return { ok: true, value };
    return failed(`field "${from.fieldRef.fieldPath}" is not known`);
  }
  if (from.resourceFieldRef) {
    const isCpu = from.resourceFieldRef.resource.endsWith('cpu');
    return { ok: true, value: isCpu ? '2' : '1073741824' };
  }
  const ref = from.configMapKeyRef ?? from.secretKeyRef;
  const kind = from.configMapKeyRef ? 'configmap' : 'secret';
  const name = ref?.name ?? '';
  const data = from.configMapKeyRef ? lookups.configMap(name) : lookups.secret(name);
  const value = data?.get(ref?.key ?? '');
  if (value !== undefined || ref?.optional === true) return { ok: true, value };
  if (!data) return failed(`${kind} "${name}" not found`);
  return failed(`couldn't find key ${ref?.key ?? ''} in ${kind} ${pod.metadata.namespace}/${name}`);
}

/** `command` and `args` after expansion; a refusal when there is no command to run. */
export function commandLine(
  container: Container,
  env: ReadonlyMap<string, string>,
): Prepared<readonly [string, ...string[]]> {
  const [file, ...rest] = [...(container.command ?? [])].map((part) => expand(part, env));
  if (file === undefined || file === '') {
    return {
      ok: false,
      reason: 'CreateContainerError',
      message: noCommand(container),
    };
  }
  const args = (container.args ?? []).map((part) => expand(part, env));
  return { ok: true, value: [file, ...rest, ...args] };
}

const noCommand = (container: Container): string =>
  `container "${container.name}" has no command: images are not run here (image ` +
  `"${container.image ?? ''}" is ignored), the sandbox runs the container's own command and args as a process`;

/** `istio-token` → `SANDBOX_MOUNT_ISTIO_TOKEN`. */
export const mountVariable = (volume: string): string =>
  `SANDBOX_MOUNT_${volume.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')}`;
