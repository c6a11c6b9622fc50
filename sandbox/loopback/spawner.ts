// Worker thread that installs the seccomp filter on itself and then spawns every captured process:
// children inherit the filter, so no wrapper program is needed. It must touch as little as it can
// after that, for its own calls are trapped too.
import { spawn } from 'node:child_process';
import { parentPort, workerData } from 'node:worker_threads';
import { installFilter } from '../../core/linux/index.ts';
import { captureRules } from './capture-rules.ts';
import type { SocketMeans, SpawnerReport, SpawnOrder } from './messages.ts';

const port = parentPort;
if (!port) throw new Error('spawner.ts runs as a worker thread');
const report = (message: SpawnerReport): void => port.postMessage(message);

function start(order: SpawnOrder): void {
  const { id } = order;
  const failed = (error: NodeJS.ErrnoException): void =>
    report({ kind: 'failed', id, code: error.code ?? 'UNKNOWN', message: error.message });
  try {
    const child = spawn(order.file, order.args, {
      cwd: order.cwd,
      env: order.env,
      detached: true, // a session of its own: that is how the supervisor knows the pod
      stdio: [order.stdin ?? 'ignore', order.stdout, order.stderr],
    });
    child.on('error', failed);
    child.on('exit', (code, signal) =>
      report({ kind: 'exit', id, code: code ?? 0, signal: signal ?? '' }),
    );
    if (child.pid !== undefined) report({ kind: 'spawned', id, pid: child.pid });
  } catch (error) {
    failed(error as NodeJS.ErrnoException);
  }
}

const listener = installFilter(captureRules(workerData as SocketMeans));
if (listener < 0) {
  report({ kind: 'forbidden', reason: `installing the filter is refused (errno ${-listener})` });
} else {
  report({ kind: 'ready', listener });
  port.on('message', start);
}
