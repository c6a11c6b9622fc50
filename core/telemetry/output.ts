// Where log lines go: standard output, which somebody else reads as fast as they like (checklist F29, Z46).
import { writeSync } from 'node:fs';
import pino from 'pino';

/** Text that waits for its reader; beyond it lines are dropped. */
const mostPending = 1 << 20;

let dropped = 0;

/** Lines of this process that nobody has read and that were given up. */
export const droppedLines = (): number => dropped;

const linesOf = (text: string): number => text.split('\n').length - 1;

/** Gathers what one turn of the event loop writes; before an exit the rest goes to `last`. */
function gathered(
  write: (text: string) => void,
  last: (text: string) => void,
): (line: string) => void {
  let lines = '';
  const taken = (): string => {
    const text = lines;
    lines = '';
    return text;
  };
  process.on('exit', () => last(taken()));
  return (line) => {
    if (lines === '') setImmediate(() => write(taken()));
    lines += line;
  };
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** All of it, however long the reader takes; nothing once the reader has gone. */
function writeAll(text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
      // Somebody made the pipe non-blocking.
      Atomics.wait(sleeper, 0, 0, 5);
    }
  }
}

/**
 * A reader that stalls stalls the process: no line is lost. `process.stdout` would not do: it keeps what a
 * pipe does not take in memory without limit, and an exit throws it away.
 */
const waiting = (): ((line: string) => void) => gathered(writeAll, writeAll);

/** A reader that stalls loses lines: `caughtUp` is told how many once it reads again. */
function dropping(caughtUp: (lines: number) => void): (line: string) => void {
  const out = pino.destination({ dest: 1, sync: false, maxLength: mostPending });
  let told = 0;
  let behind = false;
  out.on('drop', (text) => {
    dropped += linesOf(String(text));
    behind = true;
  });
  out.on('drain', () => {
    behind = false;
    const lines = dropped - told;
    told = dropped;
    if (lines > 0) caughtUp(lines);
  });
  // The reader has gone: there is nobody to tell.
  out.on('error', () => {});
  return gathered(
    (text) => void (text === '' || out.write(text)),
    (text) => {
      // Nothing can be awaited any more; nor would a reader that stalls let us go.
      if (behind) return;
      try {
        out.flushSync();
        if (text !== '') writeSync(1, text);
      } catch {
        // The reader has gone.
      }
    },
  );
}

let output: ((line: string) => void) | undefined;

/** Standard output, the same for every log of the process; the first one decides how. */
export function standardOutput(
  lossless: boolean,
  caughtUp: (lines: number) => void,
): (line: string) => void {
  output ??= lossless ? waiting() : dropping(caughtUp);
  return output;
}
