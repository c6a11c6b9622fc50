// Standard output that nobody reads for a while, in a process of its own.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';

const door = JSON.stringify(join(import.meta.dirname, 'index.ts'));
const line = 200;
const running: ChildProcess[] = [];
after(() => {
  for (const p of running) p.kill('SIGKILL');
});

/** Writes `lines` lines, a tick for each hundred, says so over IPC, and waits to be told to end; lossless: all in one tick, and ends. */
function writer(lines: number, lossless: boolean): ChildProcess {
  const code = `
    const { createLog, createMetrics } = await import(${door});
    const metrics = createMetrics();
    const log = createLog('x', { lossless: ${lossless} });
    const answers = [];
    process.on('message', async (m) => {
      if (m === 'end') { log.info('last'); process.exit(0); }
      const lost = Number(/^ambient_log_lines_dropped_total (\\d+)/m.exec((await metrics.render()).body)?.[1]);
      process.send({ lost });
    });
    process.send('up');
    for (let i = 0; i < ${lines}; i++) {
      log.info('line', { i, pad: 'x'.repeat(${line}) });
      if (${!lossless} && i % 100 === 99) await new Promise(setImmediate);
    }
    if (${lossless}) { log.info('last'); process.exit(0); }
    process.send('written');
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  running.push(child);
  return child;
}

const hear = async (child: ChildProcess, wanted: string): Promise<void> => {
  for (;;) {
    const [message] = (await once(child, 'message')) as [unknown];
    if (message === wanted) return;
  }
};

const lost = async (child: ChildProcess): Promise<number> => {
  child.send('lost');
  const [message] = (await once(child, 'message')) as [{ lost: number }];
  return message.lost;
};

test('F29 F30 nobody reads the log: the process goes on, lines are dropped, counted and told of', async () => {
  const lines = 20_000;
  const child = writer(lines, false);
  // It writes four megabytes to a pipe that is not read, and still answers.
  await hear(child, 'written');
  const dropped = await lost(child);
  assert.ok(dropped > 0);
  const { stdout } = child;
  assert.ok(stdout);
  let seen = '';
  const told = new Promise<void>((resolve) => {
    stdout.on('data', (chunk: Buffer) => {
      seen += chunk.toString('utf8');
      if (seen.includes('were dropped')) resolve();
    });
  });
  await told;
  child.send('end');
  await once(stdout, 'end');
  const kept = seen.split('\n').filter((l) => l.includes('\tline\t')).length;
  assert.equal(kept + dropped, lines);
  assert.match(seen, new RegExp(`lines were dropped: .*\\tlines=${dropped}\\n`));
  assert.match(seen, /\tlast\t\n$/);
});

test('Z46 lossless: the process waits for its reader, even to end, and no line is lost', async () => {
  const lines = 5_000;
  // More than any pipe takes, and it exits at once: what is not written by then is lost.
  const child = writer(lines, true);
  const { stdout } = child;
  assert.ok(stdout);
  await once(stdout, 'readable');
  assert.equal(child.exitCode, null);
  const all = await text(stdout);
  assert.match(all, /\tlast\t\n$/);
  const numbers = [...all.matchAll(/ i=(\d+)|\ti=(\d+)/g)].map((m) => Number(m[1] ?? m[2]));
  assert.deepEqual(
    numbers,
    Array.from({ length: lines }, (_, i) => i),
  );
});
