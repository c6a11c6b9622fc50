// What holds a plugin's process in, as far as this machine allows: a network and a process table of its own, a limit of
// memory that counts what is outside V8's heap, an end when the waypoint ends. Node's permission model holds files, children,
// workers and addons; it does not hold the network, nor signals to other processes (both tried).
import { spawn } from 'node:child_process';
import { join } from 'node:path';

/** V8's own limit, for the heap. */
const heapMegabytes = 64;
/** Writable memory of any kind; a fresh Node reserves more than half of it without use. */
const dataBytes = 1 << 30;

export interface Containment {
  /** Runs what follows it. */
  readonly wrapper: readonly string[];
  /** The process is a child of the one that is spawned. */
  readonly forks: boolean;
  readonly holds: readonly string[];
}

const die = ['setpriv', '--pdeathsig', 'KILL', '--'];
const bound = ['prlimit', `--data=${dataBytes}`, '--core=0', '--nofile=64', '--'];
const apart = ['unshare', '-n', '-p', '-i', '-u', '--fork', '--kill-child=SIGKILL'];
const asUser = [...apart, '-U', '--map-current-user', '--'];

const candidates: readonly Containment[] = [
  {
    wrapper: [...die, ...asUser, ...bound],
    forks: true,
    holds: ['network', 'processes', 'memory'],
  },
  {
    wrapper: [...die, ...apart, '--', ...bound],
    forks: true,
    holds: ['network', 'processes', 'memory'],
  },
  { wrapper: [...die, ...bound], forks: false, holds: ['memory'] },
  { wrapper: bound, forks: false, holds: ['memory'] },
];

export const uncontained: Containment = { wrapper: [], forks: false, holds: [] };

const host = join(import.meta.dirname, 'host.ts');

/** Program and arguments of a plugin's process. */
export function commandOf(c: Containment): readonly [string, ...string[]] {
  const node = [
    process.execPath,
    '--permission',
    `--allow-fs-read=${host}`,
    `--max-old-space-size=${heapMegabytes}`,
    '--no-warnings',
    host,
  ];
  const [first = process.execPath, ...rest] = [...c.wrapper, ...node];
  return [first, ...rest];
}

function runs(c: Containment): Promise<boolean> {
  const [program, ...args] = [...c.wrapper, 'true'];
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: 'ignore' });
    child.once('error', () => resolve(false));
    child.once('exit', (code) => resolve(code === 0));
  });
}

let found: Promise<Containment> | undefined;

/** The best that can be had here; looked for once. */
export function containment(): Promise<Containment> {
  found ??= (async () => {
    for (const c of candidates) if (await runs(c)) return c;
    return uncontained;
  })();
  return found;
}
