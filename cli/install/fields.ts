// Fields of objects that come from anywhere: what is not of the expected type reads as empty. Pure.
export type Fields = Readonly<Record<string, unknown>>;

export const record = (v: unknown): Fields =>
  typeof v === 'object' && v !== null && !Array.isArray(v) ? (v as Fields) : {};
export const list = (v: unknown): readonly Fields[] => (Array.isArray(v) ? (v as Fields[]) : []);
export const count = (v: unknown): number => (typeof v === 'number' ? v : 0);
export const text = (v: unknown): string =>
  typeof v === 'string' ? v : typeof v === 'number' ? String(v) : '';
