// Which API server a command talks to: --kubeconfig, $KUBECONFIG, the running sandbox's, the user's
// default, in this order.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { silentLog } from '../core/base/index.ts';
import type { KubeClient } from '../core/kube/index.ts';
import { systemClock, systemRandom } from '../core/runtime/index.ts';

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

/** client-node is loaded here, when it is needed, because it costs half a second. */
export async function connect(flags: GlobalFlags): Promise<KubeClient> {
  const { connectKube } = await import('../core/kube/index.ts');
  return connectKube({
    kubeconfig: await chooseKubeconfig(flags),
    context: flags.context,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
  });
}

export function namespaceOf(flags: GlobalFlags, kube: KubeClient): string {
  return flags.namespace ?? kube.namespace;
}
