// Hosts of DestinationRules and VirtualServices (waypoint-l7.md 5.1): short names, wildcards, who may see what, and
// durations and other values as their authors write them.
import { parseDuration } from '../../core/runtime/index.ts';
import { field, list, text, texts } from '../cluster/index.ts';
import type { World } from './binding.ts';
import type { RuleFacts } from './objects.ts';

/** A short name is completed with the rule's own namespace. */
export function fullHost(world: World, host: string, namespace: string): string {
  const low = host.toLowerCase();
  if (low.includes('.') || low.startsWith('*')) return low;
  return `${low}.${namespace}.svc.${world.settings.clusterDomain}`;
}

export function hostMatches(pattern: string, hostname: string): boolean {
  if (pattern === hostname || pattern === '*') return true;
  return pattern.startsWith('*') && hostname.endsWith(pattern.slice(1));
}

/** Exact before wildcard, longer wildcards first: descending. */
export const hostRank = (pattern: string): number =>
  pattern.startsWith('*') ? pattern.length : Number.MAX_SAFE_INTEGER;

/** Whether a rule is seen from a namespace. */
export function isExported(r: RuleFacts, to: string): boolean {
  const given = texts(field(r.spec, 'exportTo'));
  if (given.length === 0) return true;
  return given.some((e) => e === '*' || e === to || (e === '.' && r.namespace === to));
}

type Aged = Pick<RuleFacts, 'created' | 'name'>;

/** Oldest first, then by name. */
export const byRuleAge = (a: Aged, b: Aged): number =>
  a.created !== b.created ? a.created - b.created : a.name < b.name ? -1 : 1;

/** What a timer can wait at most, 24 days. */
export const longestMs = 2 ** 31 - 1;

/** Milliseconds; `undefined` = not given or not readable. */
export function duration(v: unknown): number | undefined {
  const parsed = parseDuration(text(v));
  return parsed === undefined ? undefined : Math.min(Math.round(parsed), longestMs);
}

/** Milliseconds; 0 = not given or not readable. */
export const ms = (v: unknown): number => duration(v) ?? 0;

/** 0 = not given, or no number that counts; at most what an int32 holds. */
export const whole = (v: unknown): number =>
  typeof v === 'number' && v > 0 ? Math.min(Math.floor(v), 2 ** 31 - 1) : 0;

/** Names of the fields of an object that are not among those known. */
export function unknownFields(o: unknown, known: readonly string[]): string[] {
  if (typeof o !== 'object' || o === null || Array.isArray(o)) return [];
  return Object.keys(o).filter((k) => !known.includes(k));
}

/** `*` of a list of objects, for what is read of each. */
export const each = (v: unknown, name: string): readonly unknown[] => list(field(v, name));
