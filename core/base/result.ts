// A value, or every fault found while making it. Decoders and validators return this instead of
// throwing at the first problem, so that an operator hears about all of them at once.

/** One problem in an input: where (dotted path, `''` for the whole) and what, in plain words. */
export interface Fault {
  readonly path: string;
  readonly message: string;
}

export type Result<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly faults: readonly Fault[] };

export function ok<T>(value: T): Result<T> {
  return { ok: true, value };
}

export function bad<T>(...faults: readonly Fault[]): Result<T> {
  return { ok: false, faults };
}

/** `path: message; path: message`, for logs, NACKs and error texts. */
export function printFaults(faults: readonly Fault[]): string {
  return faults.map((f) => (f.path === '' ? f.message : `${f.path}: ${f.message}`)).join('; ');
}
