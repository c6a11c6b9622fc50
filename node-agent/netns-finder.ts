// Finds a pod's network namespace: by the runner's record (a folder of links named by pod uid), or, on a
// real node, by the processes whose cgroup names the pod (control-plane.md 1.5 step 2).
import fs from 'node:fs';
import { join } from 'node:path';
import { openNamespace, type NamespaceFd } from '../core/linux/index.ts';

export interface NetnsFinder {
  /** An open handle, the caller's to close; `undefined` = there is none (yet). */
  find(uid: string): NamespaceFd | undefined;
}

export function recordFinder(folder: string): NetnsFinder {
  return {
    find(uid) {
      try {
        return openNamespace(join(folder, uid));
      } catch {
        return undefined;
      }
    },
  };
}

/** `proc` is the node's own, with the pids of every container. */
export function procFinder(proc: string): NetnsFinder {
  return {
    find(uid) {
      const host = namespaceOf(join(proc, '1')) ?? namespaceOf(join(proc, 'self'));
      const [oldest] = fs
        .readdirSync(proc)
        .filter((name) => /^\d+$/.test(name) && belongs(join(proc, name), uid))
        .map((name) => ({ name, started: startOf(join(proc, name)) }))
        .filter(({ name }) => namespaceOf(join(proc, name)) !== host)
        .toSorted((a, b) => a.started - b.started);
      try {
        return oldest && openNamespace(join(proc, oldest.name, 'ns/net'));
      } catch {
        return undefined;
      }
    },
  };
}

function read(path: string): string {
  try {
    return fs.readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

/** Runtimes write the uid with `-` or, under systemd, with `_`. */
function belongs(process: string, uid: string): boolean {
  const cgroup = read(join(process, 'cgroup'));
  return cgroup.includes(uid) || cgroup.includes(uid.replaceAll('-', '_'));
}

function namespaceOf(process: string): string | undefined {
  try {
    return fs.readlinkSync(join(process, 'ns/net'));
  } catch {
    return undefined;
  }
}

/** Clock ticks after boot. */
function startOf(process: string): number {
  const stat = read(join(process, 'stat'));
  return Number(stat.slice(stat.lastIndexOf(') ') + 2).split(' ')[19] ?? Number.NaN);
}
