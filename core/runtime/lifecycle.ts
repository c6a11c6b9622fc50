// The life of a process: run until a signal, stop once with a deadline, survive what must be survived.
import type { Log } from '../base/index.ts';

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
  process.on('uncaughtException', (error) =>
    log.error('uncaught exception', { error, stack: error.stack }),
  );
  process.on('unhandledRejection', (reason) =>
    log.error('unhandled rejection', {
      error: reason,
      stack: reason instanceof Error ? reason.stack : undefined,
    }),
  );
  let running: Running;
  try {
    running = await start();
  } catch (error) {
    log.error('cannot start', { error });
    process.exitCode = 1;
    setTimeout(() => process.exit(1), 50).unref();
    return;
  }
  let stopping = false;
  const stop = (signal: string): void => {
    if (stopping) {
      if (signal === 'SIGINT') process.exit(0);
      return;
    }
    stopping = true;
    log.info('stopping', { signal });
    const timer = setTimeout(() => {
      log.warn('did not stop in time', { deadlineMs });
      process.exit(0);
    }, deadlineMs);
    timer.unref();
    running.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error('stop failed', { error });
        process.exit(0);
      },
    );
  };
  process.on('SIGTERM', () => stop('SIGTERM'));
  process.on('SIGINT', () => stop('SIGINT'));
}
