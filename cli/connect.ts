// Which API server a command talks to: --kubeconfig, $KUBECONFIG, the running sandbox's, the user's
// default, in this order.
import { existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { silentLog } from '../core/base/index.ts';
import type { KubeClient } from '../core/kube/index.ts';
import { systemClock, systemRandom } from '../core/runtime/index.ts';
import { CliError } from './errors.ts';

export interface GlobalFlags {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace?: string;
  readonly istioNamespace: string;
}

/** The sandbox folder of this directory or one above it: `.ambient`, where a sandbox runs. */
async function findSandboxDir(): Promise<string | undefined> {
  for (let dir = process.cwd(); ; dir = dirname(dir)) {
    const candidate = join(dir, '.ambient');
    if (existsSync(join(candidate, 'state.json'))) {
      const { readState } = await import('../sandbox/index.ts');
      if (readState(candidate)) return candidate;
    }
    if (dirname(dir) === dir) return undefined;
  }
}

async function chooseKubeconfig(flags: GlobalFlags): Promise<string | undefined> {
  if (flags.kubeconfig !== undefined) return flags.kubeconfig;
  if (process.env['KUBECONFIG']) return undefined;
  const sandbox = await findSandboxDir();
  const file = sandbox && join(sandbox, 'kubeconfig');
  return file !== undefined && existsSync(file) ? file : undefined;
}

const serviceAccount = '/var/run/secrets/kubernetes.io/serviceaccount/token';

/** Why there is nothing to read where nothing was named; `undefined` = there is. */
export function noKubeconfig(
  env: Readonly<Record<string, string | undefined>>,
  exists: (file: string) => boolean,
): string | undefined {
  const next = 'start a mesh on this machine with: ambientctl sandbox up --detach';
  const named = (env['KUBECONFIG'] ?? '').split(delimiter).filter((file) => file !== '');
  const gone = named.find((file) => !exists(file));
  if (gone !== undefined)
    return `$KUBECONFIG names ${gone}, and no such file is there; unset it, or ${next}`;
  if (named.length > 0 || exists(serviceAccount)) return undefined;
  const home = join(env['HOME'] ?? env['USERPROFILE'] ?? '', '.kube', 'config');
  return exists(home) ? undefined : `no kubeconfig and no sandbox: name one by -c, or ${next}`;
}

/** client-node is loaded here, when it is needed, because it costs half a second. */
export async function connect(flags: GlobalFlags): Promise<KubeClient> {
  const kubeconfig = await chooseKubeconfig(flags);
  const why = kubeconfig === undefined ? noKubeconfig(process.env, existsSync) : undefined;
  if (why !== undefined) throw new CliError(why);
  const { connectKube } = await import('../core/kube/index.ts');
  return connectKube({
    kubeconfig,
    context: flags.context,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
  });
}

export function namespaceOf(flags: GlobalFlags, kube: KubeClient): string {
  return flags.namespace ?? kube.namespace;
}
