import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { outOfSupport } from './support-plan.ts';

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

const telemetry = pathToFileURL(path.join(import.meta.dirname, '../telemetry/index.ts')).href;

test('R2 what nobody caught is logged and counted, and the program serves on', async () => {
  const { code, said } = await life(
    `const { createMetrics } = await import(${JSON.stringify(telemetry)});
     const metrics = createMetrics();
     setTimeout(() => { throw new Error('of ours'); }, 0);
     setTimeout(() => void Promise.reject(new Error('of ours, later')), 0);
     const look = async () => {
       const { body } = await metrics.render();
       if (!body.includes('ambient_uncaught_faults_total 2')) return void setTimeout(look, 5);
       say('counted');
     };
     void look();
     return { async stop() { say('stopped'); } };`,
    (word, pid) => word === 'counted' && process.kill(pid, 'SIGTERM'),
  );
  assert.equal(code, 0);
  assert.deepEqual(
    said.filter((word) => word !== 'running'),
    ['error: uncaught exception', 'error: unhandled rejection', 'counted', 'stopped'],
  );
});

const supportRows: readonly (readonly [string, string, boolean])[] = [
  ['v24.21.0', '2026-11-22', true],
  ['v24.21.0', '2028-04-29', true],
  ['v24.21.0', '2028-04-30', false],
  ['v22.1.0', '2027-05-01', false],
  ['v25.0.0', '2026-11-22', false],
  ['v18.20.0', '2026-11-22', false],
  ['v31.0.0', '2026-11-22', true],
];
for (const [version, day, supported] of supportRows) {
  test(`R7 ${version} on ${day}: ${supported ? 'in support' : 'to be replaced'}`, () => {
    assert.equal(outOfSupport(version, Date.parse(day)) === undefined, supported);
  });
}

test('R7 the release that is packed is one known to be in support, at its patch', () => {
  const manifest = JSON.parse(
    readFileSync(path.join(import.meta.dirname, '../../package.json'), 'utf8'),
  ) as { optionalDependencies: Record<string, string>; engines: { node: string } };
  const packed = new Set(Object.values(manifest.optionalDependencies));
  assert.equal(packed.size, 1);
  const [version = ''] = packed;
  assert.match(version, /^\d+\.\d+\.\d+$/);
  assert.equal(version.split('.')[0], /^>=(\d+)\./.exec(manifest.engines.node)?.[1]);
  assert.equal(outOfSupport(`v${version}`, Date.parse('2026-11-22')), undefined);
});

test('F41: a start that fails is one line and exit code 1', async () => {
  const { code, said } = await life(`throw new Error('port taken');`, () => {});
  assert.equal(code, 1);
  assert.deepEqual(
    said.filter((word) => word !== 'running'),
    ['error: cannot start'],
  );
});
