// Doors to the two programs that configure the kernel's network: `ip -batch` and `nft -f`. Each takes
// its whole work at once and does it all or (nft) nothing.
import { spawn, spawnSync } from 'node:child_process';
import { inNamespace, type NamespaceFd } from './netns.ts';

const limitMs = 15_000;
const packages: Readonly<Record<string, string>> = { ip: 'iproute2', nft: 'nftables' };

/** Runs a batch of `ip` lines inside a namespace (default: our own); `force` goes on after errors and
 * then rejects with all of them. `family`: of rules and routes without addresses, default IPv4. */
export const runIp = (
  lines: readonly string[],
  ns?: NamespaceFd,
  how: { readonly force?: boolean; readonly family?: 4 | 6 } = {},
): Promise<void> =>
  run(
    'ip',
    [...(how.family ? [`-${how.family}`] : []), ...(how.force ? ['-force'] : []), '-batch', '-'],
    `${lines.join('\n')}\n`,
    ns,
  );

/** Applies an nft script as one transaction inside a namespace. */
export const runNft = (script: string, ns?: NamespaceFd): Promise<void> =>
  run('nft', ['-f', '-'], script, ns).then(() => {});

/** Rejects with the program's own words; a missing program is named with its package. */
function run(
  file: string,
  args: readonly string[],
  input: string,
  ns: NamespaceFd | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const start = () =>
      spawn(file, args, {
        stdio: ['pipe', 'ignore', 'pipe'],
        timeout: limitMs,
        killSignal: 'SIGKILL',
      });
    // Forks at once, in the namespace of this thread.
    const child = ns === undefined ? start() : inNamespace(ns, start);
    let said = '';
    child.stderr.on('data', (text: Buffer) => {
      if (said.length < 4096) said += text.toString('utf8');
    });
    child.on('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'ENOENT'
          ? new Error(`${file} is not installed: apt-get install ${packages[file] ?? file}`)
          : error,
      ),
    );
    child.on('close', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`${file}: ${said.trim() || `ended with ${signal ?? code}`}`));
    });
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

/** Whether the two programs are there; names the package of the first that is not. */
export function netToolsAvailable():
  | { readonly ok: true }
  | { readonly ok: false; readonly reason: string } {
  for (const [file, argument] of [
    ['ip', '-V'],
    ['nft', '--version'],
  ] as const) {
    const { error } = spawnSync(file, [argument], { stdio: 'ignore', timeout: limitMs });
    if (error) {
      const how = `apt-get install ${packages[file] ?? file}`;
      return { ok: false, reason: `the program ${file} is missing: ${how}` };
    }
  }
  return { ok: true };
}
