// Which of several hosts takes the next request (waypoint-l7.md 5.2). Chance, load and turn are arguments.
import { type Random, weightedPick } from '../../core/base/index.ts';

export interface Host {
  readonly name: string;
  readonly weight: number;
}

/**
 * Equal weights: the less busy of two drawn ones. Unequal: by chance in proportion to weight ÷ (requests that
 * run + 1), which is the share that Envoy's schedule converges to.
 */
export function leastRequest<T extends Host>(
  hosts: readonly T[],
  active: (h: T) => number,
  random: Random,
): T | undefined {
  const [first] = hosts;
  if (!first || hosts.length === 1) return first;
  if (hosts.some((h) => h.weight !== first.weight)) {
    return weightedPick(hosts, (h) => h.weight / (active(h) + 1), random);
  }
  const one = Math.floor(random.next() * hosts.length);
  // The second among the others: two draws of the same one would be no choice.
  const step = 1 + Math.floor(random.next() * (hosts.length - 1));
  const a = hosts[one] ?? first;
  const b = hosts[(one + step) % hosts.length] ?? first;
  return active(b) < active(a) ? b : a;
}

export const randomHost = <T extends Host>(hosts: readonly T[], random: Random): T | undefined =>
  weightedPick(hosts, (h) => h.weight, random);

/**
 * Turns in proportion to weight, spread evenly: each host is due every 1/weight, the one due first goes next. Hosts
 * that come start at a drawn point of their first turn, so that replicas do not walk in step.
 */
export class RoundRobin {
  readonly #due = new Map<string, number>();
  #now = 0;

  next<T extends Host>(hosts: readonly T[], random: Random): T | undefined {
    if (this.#due.size > 2 * hosts.length + 16) {
      const names = new Set(hosts.map((h) => h.name));
      for (const name of this.#due.keys()) if (!names.has(name)) this.#due.delete(name);
    }
    let best: T | undefined;
    let bestDue = Number.POSITIVE_INFINITY;
    for (const h of hosts) {
      if (h.weight <= 0) continue;
      let due = this.#due.get(h.name);
      // One that was left out for long does not catch up.
      if (due === undefined || due < this.#now) {
        due = due === undefined ? this.#now + random.next() / h.weight : this.#now;
        this.#due.set(h.name, due);
      }
      if (due < bestDue) {
        best = h;
        bestDue = due;
      }
    }
    if (!best) return undefined;
    this.#now = bestDue;
    this.#due.set(best.name, bestDue + 1 / best.weight);
    return best;
  }
}
