// The ring's own kit: whether this machine allows network namespaces, and small networks of them that
// are gone afterwards, whatever happened. `npm run test:netns` runs the ring; NETNS_REQUIRED=1 turns
// skipping into failing.
import { spawn, spawnSync } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { machineMeans, type NamespaceFd, openNamespace, runIp } from '../../core/linux/index.ts';
import { closeSync } from 'node:fs';

/** `false` = run; a text = why not. */
export const skip: string | false = reason();

function reason(): string | false {
  if (process.env['NETNS_RING'] !== '1') return 'npm run test:netns runs it';
  const machine = machineMeans();
  if (machine.kind === 'own') return false;
  const why = machine.kind === 'none' ? machine.reason : 'run it as root, or in unshare -Urnm';
  if (process.env['NETNS_REQUIRED'] === '1') throw new Error(why);
  return why;
}

let count = 0;

export interface TestNamespace {
  readonly name: string;
  readonly fd: NamespaceFd;
  /** Runs a program inside; its output. */
  run(file: string, ...args: string[]): Promise<{ code: number; out: string; err: string }>;
}

/** Named namespaces with their loopback up, for the length of `work`. */
export async function withNamespaces<T>(
  n: number,
  work: (...namespaces: TestNamespace[]) => Promise<T>,
): Promise<T> {
  const names = Array.from({ length: n }, () => `ambtest-${process.pid}-${++count}`);
  const made: TestNamespace[] = [];
  try {
    await runIp(names.map((name) => `netns add ${name}`));
    for (const name of names) {
      const fd = openNamespace(`/run/netns/${name}`);
      made.push({ name, fd, run: (file, ...args) => runIn(name, file, args) });
      await runIp(['link set lo up'], fd);
    }
    return await work(...made);
  } finally {
    for (const { fd } of made) closeSync(fd);
    for (const name of names) spawnSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
  }
}

async function runIn(
  name: string,
  file: string,
  args: readonly string[],
): Promise<{ code: number; out: string; err: string }> {
  const child = spawn('ip', ['netns', 'exec', name, file, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 20_000,
  });
  child.on('error', () => {});
  const exit = new Promise<number>((done) => child.on('close', (code) => done(code ?? 128)));
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), exit]);
  return { code, out, err };
}

/** A veth pair between two namespaces: `10.9.0.1` in the first, `10.9.0.2` in the second, and fd09::. */
export async function join(a: TestNamespace, b: TestNamespace): Promise<void> {
  await runIp([`link add eth0 type veth peer name eth0 netns ${b.name}`], a.fd);
  for (const [ns, n] of [
    [a, 1],
    [b, 2],
  ] as const) {
    await runIp(
      [
        `addr add 10.9.0.${n}/24 dev eth0`,
        `addr add fd09::${n}/64 dev eth0 nodad`,
        'link set eth0 up',
      ],
      ns.fd,
    );
  }
}
