// The logger that lower floors are handed. The pino implementation is core/telemetry's.

export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** Whether a line of this level would be written: worth asking before fields are made for each request. */
  enabled(level: 'debug' | 'info'): boolean;
  /** The same log under a narrower scope, e.g. `xds` or `access`. */
  child(scope: string): Log;
}

export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  enabled: () => false,
  child: () => silentLog,
};
