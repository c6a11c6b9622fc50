// What a pod's volumes hold: volume → files. Pure; tokens are named here and issued by the writer.
import type { Pod, Volume, VolumeSource } from '../objects.ts';
import { fieldValue, type Lookups } from './environment.ts';

export type VolumeFile =
  | { readonly path: string; readonly text: string }
  | { readonly path: string; readonly token: { audience: string | undefined; seconds: number } };

export interface VolumePlan {
  readonly name: string;
  readonly files: readonly VolumeFile[];
  /** False: only made once, never touched again (emptyDir). */
  readonly managed: boolean;
}

export type VolumesResult =
  | { readonly ok: true; readonly volumes: readonly VolumePlan[] }
  | { readonly ok: false; readonly message: string };

const defaultTokenSeconds = 3_600;

export function planVolumes(pod: Pod, lookups: Lookups): VolumesResult {
  const volumes: VolumePlan[] = [];
  for (const volume of pod.spec.volumes ?? []) {
    const plan = planVolume(volume, pod, lookups);
    if (!plan.ok) return plan;
    volumes.push(plan.plan);
  }
  return { ok: true, volumes };
}

type OneResult =
  | { readonly ok: true; readonly plan: VolumePlan }
  | { readonly ok: false; readonly message: string };

function planVolume(volume: Volume, pod: Pod, lookups: Lookups): OneResult {
  const sources = volume.projected?.sources ?? [volume];
  const files: VolumeFile[] = [];
  let managed = false;
  for (const source of sources) {
    const found = sourceFiles(source, pod, lookups);
    if (typeof found === 'string') {
      return {
        ok: false,
        message: `MountVolume.SetUp failed for volume "${volume.name}": ${found}`,
      };
    }
    if (found) {
      managed = true;
      files.push(...found);
    }
  }
  const unsafe = files.find((f) => !isSafePath(f.path));
  if (unsafe) return { ok: false, message: `volume "${volume.name}": path "${unsafe.path}"` };
  return { ok: true, plan: { name: volume.name, files, managed } };
}

/** Relative, and never upwards. */
export const isSafePath = (path: string): boolean =>
  path !== '' && !path.startsWith('/') && !path.split('/').includes('..');

/** Files of one source; a text is the reason why they are missing; `undefined` = not managed. */
function sourceFiles(
  source: VolumeSource,
  pod: Pod,
  lookups: Lookups,
): VolumeFile[] | string | undefined {
  if (source.configMap) {
    const name = source.configMap.name ?? '';
    return dataFiles('configmap', name, lookups.configMap(name), source.configMap);
  }
  if (source.secret) {
    const name = source.secret.secretName ?? source.secret.name ?? '';
    return dataFiles('secret', name, lookups.secret(name), source.secret);
  }
  if (source.downwardAPI) {
    return (source.downwardAPI.items ?? []).map((item) => ({
      path: item.path,
      text: fieldValue(item.fieldRef?.fieldPath ?? '', pod) ?? '',
    }));
  }
  if (source.serviceAccountToken) {
    const { path, audience, expirationSeconds } = source.serviceAccountToken;
    return [{ path, token: { audience, seconds: expirationSeconds ?? defaultTokenSeconds } }];
  }
  return undefined;
}

function dataFiles(
  kind: string,
  name: string,
  data: ReadonlyMap<string, string> | undefined,
  how: { items?: { key: string; path: string }[]; optional?: boolean },
): VolumeFile[] | string {
  if (!data) return how.optional === true ? [] : `${kind} "${name}" not found`;
  if (!how.items) return [...data].map(([path, text]) => ({ path, text }));
  const files: VolumeFile[] = [];
  for (const { key, path } of how.items) {
    const text = data.get(key);
    if (text !== undefined) files.push({ path, text });
    else if (how.optional !== true) return `${kind} "${name}" has no key "${key}"`;
  }
  return files;
}
