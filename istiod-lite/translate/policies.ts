// AuthorizationPolicy → Authorization for node proxies, and what to tell its author (control-plane.md 3.3).
// Where L4 cannot judge a condition it errs towards refusing: an ALLOW rule is dropped, a DENY rule denies
// on what is left of it (design.md 6.2). The same holds for values that do not parse.
import { type Cidr, parseCidr, parsePort } from '../../core/base/index.ts';
import {
  type Clause,
  emptyMatch,
  isEmptyMatch,
  type Match,
  type Pair,
  type Policy,
  policyKey,
  type Rule,
  type ServiceAccountMatch,
  type StringMatch,
} from '../../core/model/index.ts';
import type { AuthorizationPolicyFacts, RuleFacts, Texts } from '../cluster/index.ts';

export interface PolicyStatus {
  readonly type: 'ZtunnelAccepted';
  readonly status: 'True' | 'False';
  readonly reason: 'Accepted' | 'UnsupportedValue' | 'Invalid';
  readonly message: string;
}

export interface TranslatedPolicy {
  /** Absent = not for node proxies. */
  readonly policy?: Policy;
  /** Absent = a waypoint's to judge (targetRefs). */
  readonly status?: PolicyStatus;
}

/** What was found while reading one rule. */
class Notes {
  readonly l7 = new Set<string>();
  readonly bad: string[] = [];
  /** Parts of a rule that hold no condition at all: an empty source, operation or list of values. */
  readonly empty = new Set<string>();
  get clean(): boolean {
    return this.l7.size === 0 && this.bad.length === 0;
  }
}

function stringMatch(text: string): StringMatch {
  if (text === '*') return { kind: 'presence' };
  if (text.startsWith('*')) return { kind: 'suffix', text: text.slice(1) };
  if (text.endsWith('*')) return { kind: 'prefix', text: text.slice(0, -1) };
  return { kind: 'exact', text };
}

/**
 * The values that can be read. If one of the positive ones cannot, the field is left without a constraint:
 * that makes a DENY deny more, and an ALLOW rule with such a value is dropped as a whole anyway.
 */
function each<T>(
  t: Texts,
  read: (text: string) => T | undefined,
  field: string,
  notes: Notes,
): Pair<T> {
  const take = (values: readonly string[]): T[] => {
    const out: T[] = [];
    for (const v of values) {
      const x = read(v);
      if (x === undefined) notes.bad.push(`${field} ${JSON.stringify(v.slice(0, 80))}`);
      else out.push(x);
    }
    return out;
  };
  const any = take(t.any);
  return { any: any.length < t.any.length ? [] : any, none: take(t.none) };
}

const strings = (t: Texts): Pair<StringMatch> => ({
  any: t.any.map(stringMatch),
  none: t.none.map(stringMatch),
});

const cidrs = (t: Texts, field: string, notes: Notes): Pair<Cidr> =>
  each(t, parseCidr, field, notes);
const ports = (t: Texts, field: string, notes: Notes): Pair<number> =>
  each(t, parsePort, field, notes);

function accounts(t: Texts, namespace: string, notes: Notes): Pair<ServiceAccountMatch> {
  const read = (text: string): ServiceAccountMatch | undefined => {
    const [a = '', b, more] = text.split('/');
    if (more !== undefined || a === '' || b === '') return undefined;
    return b === undefined ? { namespace, serviceAccount: a } : { namespace: a, serviceAccount: b };
  };
  return each(t, read, 'serviceAccounts', notes);
}

function whenMatch(key: string, values: Texts, notes: Notes): Match {
  switch (key) {
    case 'source.ip':
      return { ...emptyMatch, sourceIps: cidrs(values, key, notes) };
    case 'source.namespace':
      return { ...emptyMatch, namespaces: strings(values) };
    case 'source.principal':
      return { ...emptyMatch, principals: strings(values) };
    case 'destination.ip':
      return { ...emptyMatch, destinationIps: cidrs(values, key, notes) };
    case 'destination.port':
      return { ...emptyMatch, destinationPorts: ports(values, key, notes) };
    default:
      notes.l7.add(`when[${key}]`);
      return emptyMatch;
  }
}

/**
 * What one part of a rule asks for. An alternative that asks for nothing is skipped by an ALLOW rule, so that
 * alone it never allows; in a DENY rule it makes the whole part ask for nothing, so that it denies more.
 */
function clause(
  part: string,
  matches: readonly Match[],
  action: string,
  notes: Notes,
): Clause | undefined {
  if (matches.length === 0) return undefined;
  if (!matches.some(isEmptyMatch)) return matches;
  if (notes.clean) notes.empty.add(part);
  return action === 'DENY' ? undefined : matches;
}

function readRule(rule: RuleFacts, action: string, namespace: string, notes: Notes): Rule {
  const to = rule.to.map((op) => {
    for (const name of op.l7) notes.l7.add(name);
    return { ...emptyMatch, destinationPorts: ports(op.ports, 'ports', notes) };
  });
  const from = rule.from.map((s) => {
    for (const name of s.l7) notes.l7.add(name);
    return {
      ...emptyMatch,
      principals: strings(s.principals),
      namespaces: strings(s.namespaces),
      sourceIps: cidrs(s.ipBlocks, 'ipBlocks', notes),
      serviceAccounts: accounts(s.serviceAccounts, namespace, notes),
    };
  });
  const when = rule.when.map((w) => [whenMatch(w.key, w.values, notes)]);
  return [
    clause('to', to, action, notes),
    clause('from', from, action, notes),
    ...when.map((w) => clause('when', w, action, notes)),
  ].filter((c) => c !== undefined);
}

const accepted = (message: string): PolicyStatus => ({
  type: 'ZtunnelAccepted',
  status: 'True',
  reason: 'Accepted',
  message,
});

/** In plain words what is enforced and what is not. */
function explain(
  p: AuthorizationPolicyFacts,
  all: Notes,
  kept: number,
  dry: boolean,
): PolicyStatus {
  const attached = dry
    ? 'attached to ztunnel as a dry run: matches are logged, nothing is refused'
    : 'attached to ztunnel';
  const what: string[] = [];
  if (all.l7.size > 0)
    what.push(`ztunnel cannot judge HTTP attributes (${[...all.l7].toSorted().join(', ')})`);
  if (all.bad.length > 0)
    what.push(`values that cannot be read: ${all.bad.slice(0, 5).join(', ')}`);
  if (all.empty.size > 0)
    what.push(`parts without any condition: ${[...all.empty].toSorted().join(', ')}`);
  if (what.length === 0) return accepted(attached);
  const total = p.rules.length;
  const effect =
    p.action !== 'ALLOW'
      ? 'Those conditions are left out and the rest of each rule is enforced, so the policy denies more than it says.'
      : kept < total
        ? `${total - kept} of ${total} rules are left out, so the policy allows less than it says.`
        : 'Such a part allows nothing.';
  const advice =
    all.l7.size > 0 ? ' To enforce HTTP attributes, deploy a waypoint and use targetRefs.' : '';
  return {
    ...accepted(`${what.join('; ')}. ${effect}${advice}${dry ? ' It is a dry run.' : ''}`),
    reason: 'UnsupportedValue',
  };
}

const refused = (reason: PolicyStatus['reason'], message: string): PolicyStatus => ({
  type: 'ZtunnelAccepted',
  status: 'False',
  reason,
  message,
});

const isTrue = (text: string | undefined): boolean | undefined => {
  if (text === undefined) return false;
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text)) return true;
  return ['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text) ? false : undefined;
};

export function translatePolicy(
  p: AuthorizationPolicyFacts,
  rootNamespace: string,
): TranslatedPolicy {
  if (p.targetRefs.length > 0) return {};
  if (p.action !== 'ALLOW' && p.action !== 'DENY') {
    const message = `ztunnel does not support the ${p.action} action`;
    return { status: refused('UnsupportedValue', message) };
  }
  const all = new Notes();
  const rules: Rule[] = [];
  for (const facts of p.rules) {
    const notes = new Notes();
    notes.bad.push(...facts.bad);
    const rule = readRule(facts, p.action, p.namespace, notes);
    for (const n of notes.l7) all.l7.add(n);
    for (const n of notes.empty) all.empty.add(n);
    all.bad.push(...notes.bad);
    if (p.action === 'DENY' || notes.clean) rules.push(rule);
  }
  const scope = p.selector
    ? 'WorkloadSelector'
    : p.namespace === rootNamespace
      ? 'Global'
      : 'Namespace';
  // A value that cannot be read counts as enforced, never as a dry run.
  const dryRun = isTrue(p.annotations.get('istio.io/dry-run')) === true;
  const selectsNothing = p.selector?.size === 0;
  return {
    policy: {
      key: policyKey(p.namespace, p.name),
      name: p.name,
      namespace: p.namespace,
      scope,
      action: p.action === 'DENY' ? 'Deny' : 'Allow',
      dryRun,
      rules,
    },
    status: selectsNothing
      ? refused(
          'Invalid',
          'the selector has no labels and selects no workload; leave it out to select all of the namespace',
        )
      : explain(p, all, rules.length, dryRun),
  };
}
