import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import test from 'node:test';
import { LogFile, readEnded } from './log-file.ts';

test('a log is split into lines, followed, rotated and ended', async (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'log-'));
  t.after(() => fs.rmSync(dir, { recursive: true }));
  const file = path.join(dir, 'app.log');
  const log = new LogFile(file, () => Date.UTC(2026, 0, 1));
  log.append('stdout', 'one\ntw');
  const follower = log.read({ follow: true });
  const heard = text(follower);
  log.append('stdout', 'o\n');
  log.append('stderr', 'three');
  log.end();
  assert.equal(await heard, 'one\ntwo\nthree');
  assert.equal(await text(readEnded(file, { tailLines: 2 })), 'two\nthree');

  const big = new LogFile(path.join(dir, 'big.log'), () => 0);
  const line = `${'x'.repeat(1_000)}\n`;
  for (let i = 0; i < 110; i++) big.append('stdout', line.repeat(100));
  big.end();
  const sizes = fs.readdirSync(dir).map((name) => fs.statSync(path.join(dir, name)).size);
  assert.ok(sizes.every((size) => size <= 5 * 1024 * 1024 + 200_000));
  assert.equal(fs.readdirSync(dir).filter((name) => name.startsWith('big')).length, 2);
});

test('a limit of bytes ends the reader', async (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'log-'));
  t.after(() => fs.rmSync(dir, { recursive: true }));
  const log = new LogFile(path.join(dir, 'app.log'), () => 0);
  log.append('stdout', 'abcdef\nghi\n');
  assert.equal(await text(log.read({ limitBytes: 3, follow: true })), 'abc');
  log.end();
});
