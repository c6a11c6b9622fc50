// The sandbox on driver `netns` as an ordinary user: everything in namespaces of its own, used from outside
// as ever, and gone with the process outside, however that ends.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { World } from '../../cli/index.ts';
import { silentLog } from '../../core/base/index.ts';
import { connectKube } from '../../core/kube/index.ts';
import type { MachineMeans } from '../../core/linux/index.ts';
import { systemClock, systemRandom } from '../../core/runtime/index.ts';
import { readState, readStatus } from '../../sandbox/index.ts';
import { eventually } from '../kit/eventually.ts';
import { skip } from './ring.ts';

const root = path.join(import.meta.dirname, '../..');
const main = path.join(root, 'sandbox/main.ts');
const nobody = 65_534;
const own = process.getuid?.() ?? 0;
const asUser =
  own === 0 ? ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'] : ['env'];
const file = asUser[0] ?? '';
const first = [...asUser.slice(1), process.execPath];

/** Why this machine cannot show it: asked of the machine as that user, for root may do what it may not. */
function obstacle(): string | undefined {
  if (skip !== false) return skip;
  const code = `import(${JSON.stringify(path.join(root, 'core/linux/index.ts'))}).then((m) => console.log(JSON.stringify(m.machineMeans())))`;
  const { stdout, stderr, error } = spawnSync(file, [...first, '-e', code], {
    encoding: 'utf8',
    timeout: 30_000,
    env: { ...process.env, HOME: tmpdir() },
  });
  if (error) return error.message;
  if (!stdout.startsWith('{')) return `no ordinary user can run it here: ${stderr.split('\n')[0]}`;
  const means = JSON.parse(stdout) as MachineMeans;
  if (means.kind === 'user-namespace') return undefined;
  return means.kind === 'none' ? means.reason : 'an ordinary user is root here';
}

const sleeper = (seconds: number): string => `
apiVersion: v1
kind: Pod
metadata: {name: sleeper}
spec: {containers: [{name: c, command: [sleep, "${seconds}"]}]}
`;

const processesWith = (text: string): string[] =>
  fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const line = fs.readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return line.includes(text) ? [`${name} ${line}`] : [];
      } catch {
        return [];
      }
    });

test('an ordinary user’s sandbox: namespaces by auto, exec from outside, nothing left after SIGKILL', {
  timeout: 120_000,
}, async (t) => {
  const why = obstacle();
  if (why !== undefined) {
    t.skip(why);
    return;
  }
  const dir = fs.mkdtempSync(path.join(tmpdir(), 'ambient-user-'));
  if (own === 0) fs.chownSync(dir, nobody, nobody);
  const mark = 600_000 + (process.pid % 100_000);
  const running: ChildProcess[] = [];
  const start = async (): Promise<{ child: ChildProcess; gone: Promise<unknown> }> => {
    const args = [...first, main, '--dir', dir, '--driver', 'auto', '--no-mesh'];
    const child = spawn(file, args, {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, HOME: dir },
    });
    running.push(child);
    const gone = new Promise((done) => child.once('exit', done));
    await eventually(() => readState(dir)?.pid === child.pid, 'a sandbox', 40_000);
    return { child, gone };
  };
  try {
    const one = await start();
    const { driver, reason } = await readStatus(dir);
    assert.equal(driver, 'netns');
    assert.match(reason, /user namespace, without root; chosen by auto/);
    const kube = await connectKube({
      kubeconfig: path.join(dir, 'kubeconfig'),
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
    });
    const world = new World(kube, dir);
    await world.applyText(sleeper(mark), 'sleeper');
    const out = await eventually(
      async () => {
        const found = await world.exec('sleeper', ['sh', '-c', 'ip -o addr; cat /etc/resolv.conf']);
        return found.code === 0 && found.out;
      },
      'exec in the pod',
      20_000,
    );
    assert.match(out, /eth0.* inet 10\./);
    assert.match(out, /search default\.svc\.cluster\.local/);
    assert.ok(processesWith(`sleep ${mark}`).length > 0);
    one.child.kill('SIGKILL');
    await one.gone;
    await eventually(
      () => processesWith(`sleep ${mark}`).length + processesWith(dir).length === 0,
      'every process gone',
    );
    const two = await start();
    two.child.kill('SIGTERM');
    await two.gone;
    assert.deepEqual(processesWith(dir), []);
    assert.equal(readState(dir), undefined);
  } finally {
    for (const child of running) child.kill('SIGKILL');
    fs.rmSync(dir, { recursive: true, force: true });
  }
});
