// Values of Istio's objects that cannot be read (K9): CRDs other than ours let them through, and what they asked for
// does not happen. Each is told by its place and what stands there. Pure.
import { field, text } from '../cluster/index.ts';
import { duration } from './hosts.ts';

/** What is wrong with a value, to come after "is". */
export type Fault = (v: unknown) => string | undefined;

export const aDuration: Fault = (v) =>
  duration(v) === undefined ? 'no duration such as 10s' : undefined;

export const numeric =
  (least: number, most = Number.MAX_VALUE): Fault =>
  (v) => {
    if (typeof v !== 'number') return 'no number';
    if (v < least) return `less than ${least}`;
    return v > most ? `more than ${most}` : undefined;
  };
export const [aCount, aPercent] = [numeric(0), numeric(0, 100)];

export const oneOf =
  (...words: string[]): Fault =>
  (v) =>
    words.includes(text(v)) ? undefined : `none of ${words.join(', ')}`;

export const anObject: Fault = (v) =>
  typeof v === 'object' && v !== null && !Array.isArray(v) ? undefined : 'no object';

const shown = (v: unknown): string => JSON.stringify(v).slice(0, 60);

interface Place {
  readonly path: readonly string[];
  readonly look: Fault;
}

/** What is looked for where, by places such as `tcp.connectTimeout`. */
export const placed = (table: Readonly<Record<string, Fault>>): readonly Place[] =>
  Object.entries(table).map(([place, look]) => ({ path: place.split('.'), look }));

/** A sentence for each value at one of the places that cannot be read; `prefix` is the place of `o` itself. */
export function unreadable(places: readonly Place[], o: unknown, prefix: string): string[] {
  const out: string[] = [];
  for (const { path, look } of places) {
    const given = field(o, ...path);
    if (given === undefined || given === null) continue;
    const fault = look(given);
    if (fault !== undefined) out.push(`${prefix}.${path.join('.')} ${shown(given)} is ${fault}`);
  }
  return out;
}
