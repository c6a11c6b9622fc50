// The life of a process: run until a signal, stop once with a deadline, survive what must be survived.
import type { Log } from '../base/index.ts';
import { noteUncaught } from '../telemetry/index.ts';
import { outOfSupport } from './support-plan.ts';
import { systemClock } from './system.ts';

export interface Running {
  /** Ends everything; resolves when done. */
  stop(): Promise<void>;
}

/** Thrown configuration faults and bind errors become one clear line and exit code 1 (F41). */
export async function runUntilSignal(
  log: Log,
  start: () => Promise<Running>,
  deadlineMs: number,
): Promise<void> {
  catchTheRest(log);
  const unsupported = outOfSupport(process.version, systemClock.now());
  if (unsupported !== undefined)
    log.warn('this release of Node should be replaced', { unsupported });
  // Listened to before anything is started: what a start has made must be taken away also when it is told to end
  // before it is done.
  const ended = new Promise<void>((resolve) => {
    let told = false;
    const on = (signal: NodeJS.Signals): void => {
      if (told && signal === 'SIGINT') process.exit(0);
      if (told) return;
      told = true;
      log.info('stopping', { signal });
      setTimeout(() => {
        log.warn('did not stop in time', { deadlineMs });
        process.exit(0);
      }, deadlineMs).unref();
      resolve();
    };
    process.on('SIGTERM', on);
    process.on('SIGINT', on);
  });
  let running: Running;
  try {
    running = await start();
  } catch (error) {
    log.error('cannot start', { error });
    process.exitCode = 1;
    setTimeout(() => process.exit(1), 50).unref();
    return;
  }
  void ended
    .then(() => running.stop())
    .catch((error: unknown) => log.error('stop failed', { error }))
    .then(() => process.exit(0));
}

/** The last resort: what nobody caught ends nothing, is counted, and is a mistake of ours (R2). */
function catchTheRest(log: Log): void {
  const caught = (what: string, error: unknown): void => {
    noteUncaught();
    log.error(what, { error, stack: error instanceof Error ? error.stack : undefined });
  };
  process.on('uncaughtException', (error) => caught('uncaught exception', error));
  process.on('unhandledRejection', (reason) => caught('unhandled rejection', reason));
}
