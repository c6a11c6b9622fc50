// The log of one container instance: lines with time and stream in a bounded file, and readers
// that may follow. Writes and reads are synchronous, so a reader that joins misses no line.
import fs from 'node:fs';
import { PassThrough, type Readable } from 'node:stream';

/** One file may grow to this, then it becomes `.1` and a new one begins: two at most. */
const mostBytes = 5 * 1024 * 1024;
const longestLine = 16 * 1024;
const mostUnread = 8 * 1024 * 1024;

export interface LogQuery {
  readonly follow?: boolean;
  readonly tailLines?: number;
  readonly sinceMs?: number;
  readonly timestamps?: boolean;
  readonly limitBytes?: number;
}

/** `2026-01-01T00:00:00.000000000Z stdout F text`; P = goes on in the next line. */
type Line = string;

export class LogFile {
  readonly path: string;
  readonly #now: () => number;
  readonly #partial = new Map<string, string>();
  readonly #followers = new Set<(line: Line) => void>();
  readonly #ends = new Set<() => void>();
  #fd: number | undefined;
  #size = 0;
  #open = true;

  constructor(path: string, now: () => number) {
    this.path = path;
    this.#now = now;
    this.#fd = fs.openSync(path, 'a', 0o600);
    this.#size = fs.fstatSync(this.#fd).size;
  }

  /** Takes in what a process wrote. */
  append(stream: 'stdout' | 'stderr', text: string): void {
    if (!this.#open) return;
    const lines = ((this.#partial.get(stream) ?? '') + text).split('\n');
    let rest = lines.pop() ?? '';
    const time = stampOf(this.#now());
    const out = lines.map((line) => `${time} ${stream} F ${line}`);
    while (rest.length > longestLine) {
      out.push(`${time} ${stream} P ${rest.slice(0, longestLine)}`);
      rest = rest.slice(longestLine);
    }
    this.#partial.set(stream, rest);
    this.#write(out);
  }

  /** No more will come: followers end. */
  end(): void {
    if (!this.#open) return;
    for (const [stream, rest] of this.#partial) {
      if (rest !== '') this.#write([`${stampOf(this.#now())} ${stream} P ${rest}`]);
    }
    this.#open = false;
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
    for (const end of this.#ends) end();
    this.#ends.clear();
    this.#followers.clear();
  }

  read(query: LogQuery): Readable {
    const out = new PassThrough({ highWaterMark: 64 * 1024 });
    out.on('error', () => {});
    let left = query.limitBytes ?? Number.POSITIVE_INFINITY;
    const write = (line: Line): void => {
      const text = printLine(line, query.timestamps === true);
      if (left <= 0) return;
      out.write(text.slice(0, left));
      left -= text.length;
      if (left <= 0 || out.writableLength > mostUnread) out.end();
    };
    const lines = readLines(this.path);
    for (const line of selectLines(lines, query)) {
      if (out.writableEnded) break;
      write(line);
    }
    if (query.follow !== true || !this.#open || out.writableEnded) {
      if (!out.writableEnded) out.end();
      return out;
    }
    const end = (): void => {
      if (!out.writableEnded) out.end();
    };
    const take = (line: Line): void => {
      if (!out.writableEnded) write(line);
    };
    this.#followers.add(take);
    this.#ends.add(end);
    out.on('close', () => {
      this.#followers.delete(take);
      this.#ends.delete(end);
    });
    return out;
  }

  #write(lines: readonly Line[]): void {
    if (lines.length === 0 || this.#fd === undefined) return;
    const bytes = Buffer.from(`${lines.join('\n')}\n`);
    if (this.#size > 0 && this.#size + bytes.length > mostBytes) this.#rotate();
    fs.writeSync(this.#fd, bytes);
    this.#size += bytes.length;
    for (const line of lines) for (const take of this.#followers) take(line);
  }

  #rotate(): void {
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    fs.renameSync(this.path, `${this.path}.1`);
    this.#fd = fs.openSync(this.path, 'a', 0o600);
    this.#size = 0;
  }
}

/** A log whose container has ended. */
export function readEnded(path: string, query: LogQuery): Readable {
  const out = new PassThrough();
  out.on('error', () => {});
  let text = '';
  for (const line of selectLines(readLines(path), query)) {
    text += printLine(line, query.timestamps === true);
  }
  out.end(text.slice(0, query.limitBytes ?? text.length));
  return out;
}

function readLines(path: string): Line[] {
  const text = (file: string): string => (fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '');
  return (text(`${path}.1`) + text(path)).split('\n').filter((line) => line !== '');
}

/** Last `tailLines` of those since `sinceMs`. */
export function selectLines(lines: readonly Line[], query: LogQuery): readonly Line[] {
  const since = query.sinceMs === undefined ? undefined : stampOf(query.sinceMs);
  const fresh = since === undefined ? lines : lines.filter((line) => line.slice(0, 30) >= since);
  const { tailLines } = query;
  if (tailLines === undefined || tailLines < 0) return fresh;
  return tailLines === 0 ? [] : fresh.slice(-tailLines);
}

export function printLine(line: Line, timestamps: boolean): string {
  const time = line.indexOf(' ');
  const stream = line.indexOf(' ', time + 1);
  const flag = line[stream + 1];
  const text = line.slice(stream + 3) + (flag === 'P' ? '' : '\n');
  return timestamps ? `${line.slice(0, time)} ${text}` : text;
}

const stampOf = (ms: number): string => `${new Date(ms).toISOString().slice(0, -1)}000000Z`;
