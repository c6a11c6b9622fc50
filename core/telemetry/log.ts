// pino behind the Log interface: Istio's plain line format by default, JSON on request, levels that can
// be changed while running. Nothing secret reaches it: keys, tokens and certificates are never fields.
import { type Log, type LogFields } from '../base/index.ts';
import pino from 'pino';
import { standardOutput } from './output.ts';
import { type LevelFilter, type LogLevel, levelFor, mergeLevels, printLevels } from './levels.ts';

export interface LogOptions {
  /** Default `info`; also `scope=level,level`. */
  readonly level?: string;
  readonly format?: 'plain' | 'json';
  /** Standard output waits for a slow reader instead of dropping lines; default false. */
  readonly lossless?: boolean;
  /** Where lines go; standard output by default. */
  readonly write?: (line: string) => void;
}

export interface RootLog extends Log {
  /** The filter in force, as `/logging` prints it. */
  levels(): string;
  /** Merges a filter; false = not understood, nothing changed. */
  setLevels(text: string): boolean;
  /** Back to the level given at start. */
  resetLevels(): void;
}

const redact = new Set([
  'token',
  'authorization',
  'key',
  'privateKey',
  'pem',
  'password',
  'secret',
]);

function plainValue(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (value instanceof Error) return JSON.stringify(value.message);
  return typeof value === 'bigint' ? value.toString() : (JSON.stringify(value) ?? 'null');
}

/** Addresses are bare in Istio's plain lines, other texts quoted. */
function plainField(key: string, value: unknown): string {
  const bare = key.endsWith('addr') && typeof value === 'string';
  return `${key}=${bare ? value : plainValue(value)}`;
}

/** One line as Istio writes it. */
function plainLine(level: string, scope: string, message: string, fields: LogFields): string {
  const list = Object.entries(fields).map(([k, v]) => plainField(k, v));
  return `${now()}\t${level}\t${scope}\t${message}\t${list.join(' ')}\n`;
}

// Microseconds as Istio prints them; the clock gives milliseconds.
const now = (): string => new Date().toISOString().replace('Z', '000Z');
const timestamp = (): string => `,"time":"${now()}"`;

function clean(fields: LogFields | undefined): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [k, v] of Object.entries(fields ?? {})) {
    if (v === undefined) continue;
    out[k] = redact.has(k) ? '[redacted]' : v instanceof Error ? v.message : v;
  }
  return out;
}

type LineLevel = 'debug' | 'info' | 'warn' | 'error';

class ScopedLog implements RootLog {
  readonly #root: Levels;
  readonly #scope: string;
  readonly #logger: pino.Logger;

  constructor(root: Levels, scope: string, logger: pino.Logger) {
    this.#root = root;
    this.#scope = scope;
    this.#logger = logger;
    root.add(scope, logger);
  }

  debug(message: string, fields?: LogFields): void {
    this.#write('debug', message, fields);
  }
  info(message: string, fields?: LogFields): void {
    this.#write('info', message, fields);
  }
  warn(message: string, fields?: LogFields): void {
    this.#write('warn', message, fields);
  }
  error(message: string, fields?: LogFields): void {
    this.#write('error', message, fields);
  }
  enabled(level: 'debug' | 'info'): boolean {
    return this.#logger.isLevelEnabled(level);
  }
  child(scope: string): Log {
    return this.#root.scoped(scope);
  }
  levels(): string {
    return printLevels(this.#root.filter);
  }
  setLevels(text: string): boolean {
    const next = mergeLevels(this.#root.filter, text);
    if (next) this.#root.use(next);
    return next !== undefined;
  }
  resetLevels(): void {
    this.#root.use(this.#root.initial);
  }

  /** pino keeps the levels and writes JSON; a plain line is put together here, for it is one for each connection. */
  #write(level: LineLevel, message: string, fields: LogFields | undefined): void {
    if (!this.#logger.isLevelEnabled(level)) return;
    const { plain } = this.#root;
    if (plain) plain(plainLine(level, this.#scope, message, clean(fields)));
    else this.#logger[level](clean(fields), message);
  }
}

class Levels {
  readonly initial: LevelFilter;
  filter: LevelFilter;
  readonly #base: pino.Logger;
  readonly #scopes = new Map<string, ScopedLog>();
  readonly #loggers = new Map<string, pino.Logger>();

  /** Where plain lines go; absent = lines are JSON. */
  readonly plain: ((line: string) => void) | undefined;

  constructor(filter: LevelFilter, base: pino.Logger, plain: ((line: string) => void) | undefined) {
    this.plain = plain;
    this.initial = filter;
    this.filter = filter;
    this.#base = base;
  }

  /** One logger per scope: children of the same scope share it, so the register stays small. */
  scoped(scope: string): ScopedLog {
    const known = this.#scopes.get(scope);
    if (known) return known;
    const log = new ScopedLog(this, scope, this.#base.child({ scope }));
    this.#scopes.set(scope, log);
    return log;
  }

  add(scope: string, logger: pino.Logger): void {
    this.#loggers.set(scope, logger);
    logger.level = pinoLevel(levelFor(this.filter, scope));
  }

  use(filter: LevelFilter): void {
    this.filter = filter;
    for (const [scope, logger] of this.#loggers) logger.level = pinoLevel(levelFor(filter, scope));
  }
}

const pinoLevel = (level: LogLevel): string => (level === 'off' ? 'silent' : level);

/** Throws RangeError if the level text is not understood. */
export function createLog(scope: string, options: LogOptions = {}): RootLog {
  const filter = mergeLevels({ base: 'info', scopes: new Map() }, options.level ?? 'info');
  if (!filter) throw new RangeError(`log level not understood: ${options.level}`);
  const caughtUp = (lines: number): void => {
    root.warn('lines were dropped: standard output was read too slowly', { lines });
  };
  const sink = options.write ?? standardOutput(options.lossless ?? false, caughtUp);
  const base = pino(
    {
      base: null,
      messageKey: 'message',
      timestamp,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: sink },
  );
  const plain = options.format === 'json' ? undefined : sink;
  const root = new Levels(filter, base, plain).scoped(scope);
  return root;
}
