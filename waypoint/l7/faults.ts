// What could not be read of one resource, gathered while it is compiled.
import {
  type LinearRegex,
  linearRegex,
  type RegexRewrite,
  regexRewrite,
} from '../../core/base/index.ts';
import type { NamespacedHost } from '../../core/model/index.ts';
import type { Cluster } from './cluster.ts';

export class Faults {
  readonly all: string[] = [];

  add(text: string): void {
    if (this.all.length < 20) this.all.push(text);
  }

  regex(pattern: string): LinearRegex {
    const made = linearRegex(pattern);
    if (typeof made === 'function') return made;
    this.add(`regular expression ${JSON.stringify(pattern.slice(0, 80))}: ${made.refused}`);
    return () => false;
  }

  rewrite(pattern: string, substitution: string): RegexRewrite | undefined {
    const made = regexRewrite(pattern, substitution);
    if (typeof made === 'function') return made;
    this.add(`rewrite by ${JSON.stringify(pattern.slice(0, 80))}: ${made.refused}`);
    return undefined;
  }
}

/** What every part of a service is compiled with. */
export interface CompileContext {
  readonly faults: Faults;
  /** The cluster as configured, else with defaults. */
  cluster(service: NamespacedHost, port: number, subset: string): Cluster;
}
