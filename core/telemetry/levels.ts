// Log levels and level filters (`info`, `off`, `access=debug,info`): ztunnel-protocol.md 12.4 and 13.1.

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'off'] as const;
export type LogLevel = (typeof logLevels)[number];

export interface LevelFilter {
  readonly base: LogLevel;
  readonly scopes: ReadonlyMap<string, LogLevel>;
}

const isLevel = (text: string): text is LogLevel => (logLevels as readonly string[]).includes(text);

/** Merges `level` or `scope=level`, comma-separated, into a filter; `undefined` = not understood. */
export function mergeLevels(filter: LevelFilter, text: string): LevelFilter | undefined {
  let base = filter.base;
  const scopes = new Map(filter.scopes);
  for (const part of text.split(',')) {
    const [left = '', right] = part.trim().split('=', 2);
    if (right === undefined) {
      if (!isLevel(left)) return undefined;
      base = left;
    } else {
      if (left === '' || !isLevel(right)) return undefined;
      scopes.set(left, right);
    }
  }
  return { base, scopes };
}

export function printLevels(filter: LevelFilter): string {
  return [...[...filter.scopes].map(([s, l]) => `${s}=${l}`), filter.base].join(',');
}

/** The level in force for a scope: its own, its nearest parent's (`xds` for `xds:stream`), the base. */
export function levelFor(filter: LevelFilter, scope: string): LogLevel {
  for (let s = scope; s !== ''; s = s.slice(0, Math.max(0, s.lastIndexOf(':')))) {
    const level = filter.scopes.get(s);
    if (level) return level;
  }
  return filter.base;
}
