// Ends whole sessions: a pod's process and everything it started. Also remembers, on disk, which
// sessions run, so that those of a killed sandbox can be ended by the next one.
import fs from 'node:fs';
import path from 'node:path';

interface Process {
  readonly pid: number;
  readonly session: number;
  /** Clock ticks after boot: with the pid, a process's name for good. */
  readonly started: string;
  readonly zombie: boolean;
}

function readProcess(pid: number): Process | undefined {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(') ') + 2).split(' ');
    return {
      pid,
      session: Number(fields[3]),
      started: fields[19] ?? '',
      zombie: fields[0] === 'Z' || fields[0] === 'X',
    };
  } catch {
    return undefined;
  }
}

/** Living processes of a session. */
export function membersOf(session: number): number[] {
  return fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readProcess(Number(name)))
    .filter((p) => p !== undefined && p.session === session && !p.zombie)
    .map((p) => p?.pid ?? 0);
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // Gone already.
  }
}

export function signalSession(session: number, name: NodeJS.Signals): void {
  signal(-session, name);
  for (const pid of membersOf(session)) signal(pid, name);
}

const rounds = 20;

/** Kills until nobody is left: a process may fork while it is being killed. */
export async function killSession(session: number): Promise<void> {
  for (let i = 0; i < rounds; i++) {
    const members = membersOf(session);
    if (members.length === 0) return;
    for (const pid of members) signal(pid, 'SIGKILL');
    await new Promise((done) => setTimeout(done, i < 3 ? 5 : 25));
  }
}

/** The sessions in force, one small file each under DIR/sessions. */
export class SessionRecords {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = path.join(dir, 'sessions');
    fs.mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
  }

  add(session: number): void {
    const started = readProcess(session)?.started;
    if (started !== undefined) fs.writeFileSync(path.join(this.#dir, String(session)), started);
  }

  remove(session: number): void {
    fs.rmSync(path.join(this.#dir, String(session)), { force: true });
  }

  /** Ends what an earlier run left behind; a pid that is somebody else's by now is left alone. */
  async endStale(): Promise<number> {
    let ended = 0;
    for (const name of fs.readdirSync(this.#dir)) {
      const session = Number(name);
      const started = fs.readFileSync(path.join(this.#dir, name), 'latin1');
      const leader = readProcess(session);
      // A session number stays taken while any member lives, so no leader means no reuse either.
      if (Number.isInteger(session) && (!leader || leader.started === started)) {
        if (membersOf(session).length > 0) ended++;
        await killSession(session);
      }
      this.remove(session);
    }
    return ended;
  }
}
