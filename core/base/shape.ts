// One description of a JSON value for all who need one: its TypeScript type, the check that reads it, and the
// OpenAPI v3 schema that an API server checks it with. Pure. `null` counts as absent; unknown fields are left out,
// as an API server prunes them.

type Json = Readonly<Record<string, unknown>>;

export interface Shape<T> {
  readonly schema: Json;
  /** The value, or `undefined` and what is wrong with it added to `faults`, with field and value. */
  read(value: unknown, at: string, faults: string[]): T | undefined;
}

/** The type that a shape reads. */
export type ReadOf<S> = S extends Shape<infer T> ? T : never;

type Fields = Readonly<Record<string, Shape<unknown>>>;
type RecordOf<R extends Fields, O extends Fields> = { readonly [K in keyof R]: ReadOf<R[K]> } & {
  readonly [K in keyof O]?: ReadOf<O[K]> | undefined;
};

const shown = (value: unknown): string => (JSON.stringify(value) ?? 'nothing').slice(0, 60);
const isAbsent = (value: unknown): boolean => value === undefined || value === null;

function wrong(faults: string[], at: string, what: string): undefined {
  faults.push(at === '' ? what : `${at} ${what}`);
}

/** The same with a description. */
export const about = <T>(description: string, shape: Shape<T>): Shape<T> => ({
  ...shape,
  schema: { ...shape.schema, description },
});

export const flag: Shape<boolean> = {
  schema: { type: 'boolean' },
  read: (v, at, faults) =>
    typeof v === 'boolean' ? v : wrong(faults, at, `must be true or false, is ${shown(v)}`),
};

/** Length in characters (code points, as API servers count). `pattern` must hold for the whole text. */
export function text(
  limits: { readonly min?: number; readonly max?: number; readonly pattern?: string } = {},
): Shape<string> {
  const { min = 0, max = Number.POSITIVE_INFINITY, pattern } = limits;
  const regular = pattern === undefined ? undefined : new RegExp(pattern, 'u');
  return {
    schema: {
      type: 'string',
      ...(limits.min !== undefined && { minLength: min }),
      ...(limits.max !== undefined && { maxLength: max }),
      ...(pattern !== undefined && { pattern }),
    },
    read(v, at, faults) {
      if (typeof v !== 'string') return wrong(faults, at, `must be a text, is ${shown(v)}`);
      const { length } = Array.from(v);
      if (length < min) return wrong(faults, at, `must have ${min} characters or more`);
      if (length > max) return wrong(faults, at, `must have at most ${max} characters`);
      if (regular && !regular.test(v))
        return wrong(faults, at, `must fit ${pattern}, is ${shown(v)}`);
      return v;
    },
  };
}

export const oneOf = <const T extends string>(...values: readonly T[]): Shape<T> => ({
  schema: { type: 'string', enum: values },
  read: (v, at, faults) =>
    values.find((one) => one === v) ??
    wrong(faults, at, `${shown(v)} is none of ${values.join(', ')}`),
});

/** A whole number; both ends belong to it. */
export const whole = (min: number, max: number): Shape<number> => ({
  schema: { type: 'integer', minimum: min, maximum: max },
  read: (v, at, faults) =>
    typeof v === 'number' && Number.isSafeInteger(v) && v >= min && v <= max
      ? v
      : wrong(faults, at, `must be ${min} to ${max} and whole, is ${shown(v)}`),
});

/** Read as a whole or not at all. */
export function listOf<T>(
  item: Shape<T>,
  limits: { readonly min?: number; readonly max?: number } = {},
): Shape<readonly T[]> {
  const { min = 0, max = Number.POSITIVE_INFINITY } = limits;
  return {
    schema: {
      type: 'array',
      ...(limits.min !== undefined && { minItems: min }),
      ...(limits.max !== undefined && { maxItems: max }),
      items: item.schema,
    },
    read(v, at, faults) {
      if (!Array.isArray(v)) return wrong(faults, at, `must be a list, is ${shown(v)}`);
      if (v.length < min) return wrong(faults, at, `must have ${min} entries or more`);
      if (v.length > max) return wrong(faults, at, `must have at most ${max} entries`);
      const out = v.map((one: unknown, i) => item.read(one, `${at}[${i}]`, faults));
      const good = out.filter((one) => one !== undefined);
      return good.length === out.length ? good : undefined;
    },
  };
}

export function record<R extends Fields, O extends Fields>(
  required: R,
  optional: O,
): Shape<RecordOf<R, O>> {
  const fields = new Map(Object.entries({ ...required, ...optional }));
  const needed = Object.keys(required);
  return {
    schema: {
      type: 'object',
      ...(needed.length > 0 && { required: needed }),
      properties: Object.fromEntries([...fields].map(([name, shape]) => [name, shape.schema])),
    },
    read(v, at, faults) {
      if (typeof v !== 'object' || v === null || Array.isArray(v))
        return wrong(faults, at, `must be an object, is ${shown(v)}`);
      const before = faults.length;
      const out: Record<string, unknown> = {};
      for (const [name, shape] of fields) {
        const value = Object.hasOwn(v, name) ? (v as Json)[name] : undefined;
        const path = at === '' ? name : `${at}.${name}`;
        if (!isAbsent(value)) out[name] = shape.read(value, path, faults);
        else if (Object.hasOwn(required, name)) wrong(faults, path, 'is missing');
      }
      return faults.length === before ? (out as RecordOf<R, O>) : undefined;
    },
  };
}
