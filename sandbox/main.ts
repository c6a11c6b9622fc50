// The sandbox as a daemon: `node sandbox/main.ts --dir DIR [--no-mesh] [--capture preload] [--driver netns --nodes N]`.
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { runUntilSignal } from '../core/runtime/index.ts';
import { createLog } from '../core/telemetry/index.ts';
import { startSandbox } from './app.ts';

const stopLimitMs = 20_000;
const mostLogBytes = 10 * 1024 * 1024;

const { values } = parseArgs({
  options: {
    dir: { type: 'string', default: process.env['SANDBOX_DIR'] ?? path.resolve('.ambient') },
    mesh: { type: 'boolean', default: true },
    capture: { type: 'string' },
    driver: { type: 'string', default: 'loopback' },
    nodes: { type: 'string', default: '1' },
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

await runUntilSignal(
  log,
  () =>
    startSandbox({
      dir,
      driver: values.driver === 'netns' ? 'netns' : 'loopback',
      nodes: Number(values.nodes),
      log,
      mesh: values.mesh,
      capture: means === 'preload' || means === 'seccomp' ? means : undefined,
      // Pods can do nothing any more: end, and let whoever started us see it.
      onLost: () => process.kill(process.pid, 'SIGTERM'),
    }),
  stopLimitMs,
);
