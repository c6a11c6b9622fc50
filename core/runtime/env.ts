// Typed reading of a string record (the environment). All mistakes are gathered and reported together,
// so that a wrong deployment is fixed in one round (checklist F41).
import { bad, type Fault, ok, type Result } from '../base/index.ts';

export interface EnvVariable {
  readonly name: string;
  readonly kind: string;
  readonly fallback: string;
  readonly help: string;
}

/** Go durations as Istio's variables have them: `30s`, `5m`, `1h30m`, `250ms`. Milliseconds. */
export function parseDuration(text: string): number | undefined {
  const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
  let rest = text;
  let total = 0;
  while (rest !== '') {
    const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)/.exec(rest);
    const unit = units[match?.[2] ?? ''];
    if (!match || unit === undefined) return undefined;
    total += Number(match[1]) * unit;
    rest = rest.slice(match[0].length);
  }
  return text === '' ? undefined : total;
}

export class EnvReader {
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #faults: Fault[] = [];
  /** Every variable asked for, in order: the source of docs/config.md. */
  readonly asked: EnvVariable[] = [];

  constructor(env: Readonly<Record<string, string | undefined>>) {
    this.#env = env;
  }

  #get(
    name: string,
    kind: string,
    fallback: string | number | boolean | undefined,
    help: string,
  ): string | undefined {
    this.asked.push({ name, kind, fallback: `${fallback ?? ''}`, help });
    const value = this.#env[name];
    return value === '' ? undefined : value;
  }

  fault(path: string, message: string): void {
    this.#faults.push({ path, message });
  }

  text(name: string, fallback: string, help: string): string {
    return this.#get(name, 'text', fallback, help) ?? fallback;
  }

  optional(name: string, help: string): string | undefined {
    return this.#get(name, 'text', undefined, help);
  }

  integer(
    name: string,
    fallback: number,
    help: string,
    range: { min: number; max: number },
  ): number {
    const text = this.#get(name, 'integer', fallback, help);
    if (text === undefined) return fallback;
    const value = Number(text);
    if (!/^-?\d+$/.test(text) || value < range.min || value > range.max) {
      this.fault(
        name,
        `must be an integer from ${range.min} to ${range.max}, is ${JSON.stringify(text)}`,
      );
      return fallback;
    }
    return value;
  }

  /** Milliseconds. */
  duration(name: string, fallbackMs: number, help: string): number {
    const text = this.#get(name, 'duration', `${fallbackMs / 1000}s`, help);
    if (text === undefined) return fallbackMs;
    const value = parseDuration(text);
    if (value === undefined)
      this.fault(name, `must be a duration such as 30s or 5m, is ${JSON.stringify(text)}`);
    return value ?? fallbackMs;
  }

  flag(name: string, fallback: boolean, help: string): boolean {
    const text = this.#get(name, 'boolean', fallback, help);
    if (text === undefined) return fallback;
    if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text)) return true;
    if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text)) return false;
    this.fault(name, `must be true or false, is ${JSON.stringify(text)}`);
    return fallback;
  }

  choice<T extends string>(name: string, choices: readonly T[], fallback: T, help: string): T {
    const text = this.#get(name, choices.join(' | '), fallback, help);
    const hit = choices.find((c) => c === text);
    if (text !== undefined && hit === undefined) {
      this.fault(name, `must be one of ${choices.join(', ')}, is ${JSON.stringify(text)}`);
    }
    return hit ?? fallback;
  }

  list(name: string, fallback: readonly string[], help: string): readonly string[] {
    const text = this.#get(name, 'comma list', fallback.join(','), help);
    return text === undefined
      ? fallback
      : text
          .split(',')
          .map((s) => s.trim())
          .filter((s) => s !== '');
  }

  result<T>(value: T): Result<T> {
    return this.#faults.length > 0 ? bad(...this.#faults) : ok(value);
  }
}
