// Which API server a command talks to: --kubeconfig, $KUBECONFIG, the running sandbox's, the user's
// default, in this order.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
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
export function findSandboxDir(from = process.cwd()): string | undefined {
  for (let dir = resolve(from); ; dir = dirname(dir)) {
    const candidate = join(dir, '.ambient');
    if (sandboxRuns(candidate)) return candidate;
    if (dirname(dir) === dir) return undefined;
  }
}

/** Whether the sandbox of this folder is alive, by the process id it wrote down. */
export function sandboxRuns(dir: string): boolean {
  try {
    const { pid } = JSON.parse(readFileSync(join(dir, 'state.json'), 'utf8')) as { pid?: number };
    if (typeof pid !== 'number') return false;
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function chooseKubeconfig(flags: GlobalFlags): string | undefined {
  if (flags.kubeconfig !== undefined) return flags.kubeconfig;
  if (process.env['KUBECONFIG']) return undefined;
  const sandbox = findSandboxDir();
  const file = sandbox && join(sandbox, 'kubeconfig');
  return file !== undefined && existsSync(file) ? file : undefined;
}

/** client-node is loaded here, when it is needed, because it costs half a second. */
export async function connect(flags: GlobalFlags): Promise<KubeClient> {
  const { connectKube } = await import('../core/kube/index.ts');
  return connectKube({
    kubeconfig: chooseKubeconfig(flags),
    context: flags.context,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
  });
}

export function namespaceOf(flags: GlobalFlags, kube: KubeClient): string {
  return flags.namespace ?? kube.namespace;
}
