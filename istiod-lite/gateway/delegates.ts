// Delegation of a VirtualService (waypoint-l7.md 5.5): a rule of the root names another one, which has no hosts, and
// that one's rules stand in its place, within what the root's matches let through. One step: delegates of delegates are
// none. What a delegate's rule does not say, it takes from the root's.
import { dict, field, list, text } from '../cluster/index.ts';
import type { World } from './binding.ts';
import { each, fullHost, isExported } from './hosts.ts';
import type { RuleFacts } from './objects.ts';
import { perState } from './tables.ts';

/** One http rule as it is carried out, and whose it is. */
export interface OwnedRule {
  readonly owner: RuleFacts;
  /** In the owner's list. */
  readonly index: number;
  readonly rule: unknown;
  /** It cannot be carried out and answers 500. */
  readonly fault?: string;
}

/** Something to be told to the author of `owner`. */
export type Tell = (owner: RuleFacts, reason: string, message: string) => void;

/** Matches that one rule may come to: those of the root times those of the delegate. */
const mostMatches = 1_024;

export const isDelegate = (v: RuleFacts): boolean => list(field(v.spec, 'hosts')).length === 0;

const keyOf = (root: RuleFacts, rule: unknown): string => {
  const d = field(rule, 'delegate');
  return `${text(field(d, 'namespace')) || root.namespace}/${text(field(d, 'name'))}`;
};

const rootsByDelegate = perState((world) => {
  const out = new Map<string, Set<RuleFacts>>();
  for (const r of world.gateways.virtualServices.values()) {
    for (const h of isDelegate(r) ? [] : each(r.spec, 'http')) {
      if (field(h, 'delegate') === undefined) continue;
      const key = keyOf(r, h);
      out.set(key, (out.get(key) ?? new Set()).add(r));
    }
  }
  return out;
});

/** VirtualServices with a rule that leads to this one. */
export function rootsOf(world: World, v: RuleFacts): RuleFacts[] {
  const all = rootsByDelegate(world).get(`${v.namespace}/${v.name}`) ?? [];
  return [...all].filter((r) => isExported(v, r.namespace));
}

/** The rules of a VirtualService in order, delegates in their places. */
export function rulesOf(world: World, root: RuleFacts, tell: Tell): OwnedRule[] {
  return each(root.spec, 'http').flatMap((rule, index): OwnedRule[] => {
    if (field(rule, 'delegate') === undefined) return [{ owner: root, index, rule }];
    const broken = (fault: string): OwnedRule[] => [{ owner: root, index, rule, fault }];
    const beside = ['route', 'redirect', 'directResponse'].find(
      (name) => field(rule, name) !== undefined,
    );
    if (beside !== undefined) return broken(`delegate beside ${beside}`);
    const key = keyOf(root, rule);
    const found = world.gateways.virtualServices.get(key);
    if (!found || !isDelegate(found) || !isExported(found, root.namespace)) {
      const why = !found
        ? 'is not there'
        : isDelegate(found)
          ? `is not exported to ${root.namespace}`
          : 'has hosts of its own';
      return broken(`delegate ${key}, which ${why},`);
    }
    return within(world, root, rule, index, found, tell);
  });
}

function within(
  world: World,
  root: RuleFacts,
  rule: unknown,
  index: number,
  owner: RuleFacts,
  tell: Tell,
): OwnedRule[] {
  return each(owner.spec, 'http').flatMap((own, i): OwnedRule[] => {
    if (field(own, 'delegate') !== undefined) {
      return [{ owner, index: i, rule: own, fault: 'delegate of a delegate' }];
    }
    const match = matchesWithin(each(rule, 'match'), each(own, 'match'));
    if (match === 'outside') {
      const where = `http[${i}] of delegate ${owner.namespace}/${owner.name}`;
      const why = `matches nothing that http[${index}] of ${root.namespace}/${root.name} lets through: it is left out`;
      tell(root, 'UnsupportedValue', `${where} ${why}`);
      tell(owner, 'UnsupportedValue', `${where} ${why}`);
      return [];
    }
    if (match === 'too many') {
      return [{ owner, index: i, rule: own, fault: `more than ${mostMatches} matches` }];
    }
    return [{ owner, index: i, rule: { ...inherited(world, root, rule, own), match } }];
  });
}

const inheritable = [
  'rewrite',
  'timeout',
  'retries',
  'fault',
  'mirror',
  'mirrors',
  'mirrorPercentage',
  'corsPolicy',
  'headers',
];

/** The delegate's own parts hold; short names in the root's are of the root's namespace. */
function inherited(world: World, root: RuleFacts, rule: unknown, own: unknown): object {
  const full = (d: unknown): object => ({
    ...(d as object),
    host: fullHost(world, text(field(d, 'host')), root.namespace),
  });
  const mirrored = (m: unknown): object => ({
    ...(m as object),
    destination: full(field(m, 'destination')),
  });
  const given = inheritable
    .map((name) => [name, field(rule, name)] as const)
    .filter(([name, value]) => value !== undefined && field(own, name) === undefined)
    .map(([name, value]) => {
      if (name === 'mirror') return [name, full(value)];
      return [name, name === 'mirrors' ? list(value).map(mirrored) : value];
    });
  return { ...(own as object), ...Object.fromEntries(given), ...joinedName(rule, own) };
}

function joinedName(root: unknown, own: unknown): { readonly name?: string } {
  const names = [root, own].map((o) => text(field(o, 'name'))).filter((n) => n !== '');
  return names.length > 0 ? { name: names.join('-') } : {};
}

// --- matches

/** Each of the delegate's must lie within one of the root's. */
function matchesWithin(
  root: readonly unknown[],
  own: readonly unknown[],
): readonly unknown[] | 'outside' | 'too many' {
  if (root.length === 0) return own;
  if (own.length === 0) return root;
  if (root.length * own.length > mostMatches) return 'too many';
  const out: unknown[] = [];
  for (const o of own) {
    const hits = root.filter((r) => !conflicts(r, o));
    if (hits.length === 0) return 'outside';
    for (const r of hits) out.push(joined(r, o));
  }
  return out;
}

const texts = ['uri', 'scheme', 'method', 'authority'];
const tables = ['headers', 'withoutHeaders', 'queryParams'];

function conflicts(root: unknown, own: unknown): boolean {
  if (texts.some((name) => outside(field(root, name), field(own, name)))) return true;
  for (const name of tables) {
    const [ours, theirs] = [field(root, name), field(own, name)];
    for (const key of Object.keys((theirs ?? {}) as object)) {
      if (outside(field(ours, key), field(theirs, key))) return true;
    }
  }
  if ((field(root, 'ignoreUriCase') === true) !== (field(own, 'ignoreUriCase') === true)) {
    return true;
  }
  const differ = (name: string): boolean => {
    const [a, b] = [field(root, name), field(own, name)];
    return a !== undefined && b !== undefined && a !== b;
  };
  if (differ('port') || differ('sourceNamespace')) return true;
  const labels = dict(field(root, 'sourceLabels'));
  return [...dict(field(own, 'sourceLabels'))].some(
    ([key, value]) => labels.has(key) && labels.get(key) !== value,
  );
}

/** Whether the second may match what the first does not. An expression is compared with nothing. */
function outside(root: unknown, own: unknown): boolean {
  if (root === undefined || own === undefined) return false;
  const of = (v: unknown, name: string): string => text(field(v, name));
  const [prefix, exact] = [of(root, 'prefix'), of(root, 'exact')];
  if (of(root, 'regex') !== '' || of(own, 'regex') !== '') return true;
  if (exact !== '') return of(own, 'exact') !== exact;
  if (prefix === '') return false;
  return !`${of(own, 'exact')}${of(own, 'prefix')}`.startsWith(prefix);
}

function joined(root: unknown, own: unknown): object {
  const both = [...tables, 'sourceLabels']
    .map((name) => [name, field(root, name), field(own, name)] as const)
    .filter(([, a, b]) => a !== undefined || b !== undefined)
    .map(([name, a, b]) => [name, { ...(a as object), ...(b as object) }]);
  const gateways = field(root, 'gateways');
  return {
    ...(root as object),
    ...(own as object),
    ...Object.fromEntries(both),
    // Which gateways is for the root alone to say.
    ...(gateways !== undefined && { gateways }),
    ...joinedName(root, own),
  };
}
