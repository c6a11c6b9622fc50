import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';

const lifecycle = pathToFileURL(path.join(import.meta.dirname, 'lifecycle.ts')).href;

/** A program of its own: says what happens to it on stdout, one word a line. */
async function life(start: string, tell: (word: string, pid: number) => void) {
  const program = `
    import { runUntilSignal } from ${JSON.stringify(lifecycle)};
    const say = (word) => process.stdout.write(word + '\\n');
    const quiet = { info() {}, warn() {}, error: (text) => say('error: ' + text), debug() {}, child: () => quiet };
    const keep = setInterval(() => {}, 1000);
    await runUntilSignal(quiet, async () => { ${start} }, 60_000);
    say('running');
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const said: string[] = [];
  child.stdout.on('data', (bytes: Buffer) => {
    for (const word of bytes.toString().trim().split('\n')) {
      said.push(word);
      tell(word, child.pid ?? 0);
    }
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, said };
}

test('a signal ends what runs, once', async () => {
  const { code, said } = await life(
    `return { async stop() { say('stopped'); } };`,
    (word, pid) => word === 'running' && process.kill(pid, 'SIGTERM'),
  );
  assert.deepEqual({ code, said }, { code: 0, said: ['running', 'stopped'] });
});

test('a signal before the start is done: what was started is still taken away', async () => {
  const { code, said } = await life(
    `say('starting');
     await new Promise((done) => process.once('SIGTERM', done));
     say('started');
     return { async stop() { say('stopped'); } };`,
    (word, pid) => word === 'starting' && process.kill(pid, 'SIGTERM'),
  );
  assert.equal(code, 0);
  assert.deepEqual(
    said.filter((word) => word !== 'running'),
    ['starting', 'started', 'stopped'],
  );
});

test('F41: a start that fails is one line and exit code 1', async () => {
  const { code, said } = await life(`throw new Error('port taken');`, () => {});
  assert.equal(code, 1);
  assert.deepEqual(
    said.filter((word) => word !== 'running'),
    ['error: cannot start'],
  );
});
