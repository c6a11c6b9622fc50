// The sandbox as a daemon: `node sandbox/main.ts --dir DIR [--no-mesh] [--capture preload] [--driver netns|auto --nodes N]`.
// `--inside` is its own: the process outside of the namespaces starts the one inside with it.
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { machineMeans, type MachineMeans } from '../core/linux/index.ts';
import { type Running, runUntilSignal } from '../core/runtime/index.ts';
import { createLog } from '../core/telemetry/index.ts';
import { startSandbox } from './app.ts';
import { followOutside, readInside, startOutside } from './outside.ts';

const stopLimitMs = 20_000;
const mostLogBytes = 10 * 1024 * 1024;

const { values } = parseArgs({
  options: {
    dir: { type: 'string', default: process.env['SANDBOX_DIR'] ?? path.resolve('.ambient') },
    mesh: { type: 'boolean', default: true },
    capture: { type: 'string' },
    driver: { type: 'string', default: 'loopback' },
    nodes: { type: 'string', default: '1' },
    inside: { type: 'string' },
  },
  allowNegative: true,
});
const dir = path.resolve(values.dir);
fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
const logFile = path.join(dir, 'sandbox.log');
const size = fs.existsSync(logFile) ? fs.statSync(logFile).size : 0;
if (size > mostLogBytes) fs.renameSync(logFile, `${logFile}.1`);
const output = fs.openSync(logFile, 'a', 0o600);
const log = createLog('sandbox', { write: (line) => void fs.writeSync(output, line) });
const means = values.capture ?? process.env['SANDBOX_CAPTURE'];

const inside = readInside(values.inside);
if (inside) followOutside();

await runUntilSignal(log, start, stopLimitMs);

async function start(): Promise<Running> {
  const { driver } = values;
  const machine: MachineMeans =
    driver === 'loopback' ? { kind: 'none', reason: '' } : machineMeans();
  if (machine.kind === 'none' && driver === 'netns') {
    throw new Error(`driver netns is not possible here: ${machine.reason}`);
  }
  // Pods can do nothing any more: end, and let whoever started us see it.
  const lost = (): void => void process.kill(process.pid, 'SIGTERM');
  if (machine.kind === 'user-namespace') {
    if (inside) throw new Error('the namespaces made for the sandbox do not let it work');
    return startOutside({ dir, args: process.argv.slice(2), log, lost });
  }
  const because =
    machine.kind === 'none' ? `not netns: ${machine.reason}` : 'the kernel allows them';
  return startSandbox({
    dir,
    driver: machine.kind === 'none' ? 'loopback' : 'netns',
    chosen: driver === 'auto' ? `chosen by auto, ${because}` : undefined,
    inside,
    nodes: Number(values.nodes),
    log,
    mesh: values.mesh,
    capture: means === 'preload' || means === 'seccomp' ? means : undefined,
    onLost: lost,
  });
}
