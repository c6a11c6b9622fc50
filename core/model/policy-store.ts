// Policies by key and by home (the mesh, or a namespace); which ones apply to a workload, which of them are
// still missing, and the decision itself. Filing a policy in the index is the slow part, so it can be done
// before the policy is put and undone after it is gone, in slices: a decision only counts rules of policies
// that are in force.
import {
  type Applicable,
  matchRule,
  type RbacConnection,
  type Verdict,
  verdictOf,
} from './authorize.ts';
import type { PolicyKey } from './keys.ts';
import type { Policy } from './policy.ts';
import { PolicyIndex, type RuleEntry } from './policy-index.ts';
import { type Filed, type Stage, StagedMap } from './stage.ts';
import type { Workload } from './workload.ts';

/** Retired policies that may wait for `tidy` before they are unfiled on the spot. */
const maxRetired = 50_000;

/** The policies of one namespace, or of the mesh (''). */
interface Home {
  /** Those that hold for every workload here. */
  readonly wide: StagedMap<PolicyKey, Policy>;
  /** Policies in force, and some that will be or have been. */
  readonly index: PolicyIndex;
  /** Smallest key of an enforced ALLOW policy in `wide`; null = must be found anew. */
  firstAllow: PolicyKey | undefined | null;
}

/** What is the same for every connection to one workload while no policy changes. */
interface Standing {
  readonly revision: number;
  readonly named: ReadonlySet<PolicyKey>;
  readonly homes: readonly Home[];
  readonly missing: PolicyKey | undefined;
  readonly firstAllow: PolicyKey | undefined;
}

const enforcedAllow = (p: Policy): boolean => p.action === 'Allow' && !p.dryRun;

const smaller = (a: PolicyKey | undefined, b: PolicyKey | undefined): PolicyKey | undefined =>
  a === undefined || (b !== undefined && b < a) ? b : a;

/** Global ones live under ''; so does a namespace policy without a namespace (5.4). */
const homeName = (p: Policy): string => (p.scope === 'Global' ? '' : p.namespace);

export class PolicyStore {
  readonly #byKey = new StagedMap<PolicyKey, Policy>();
  readonly #homes = new Map<string, Home>();
  readonly #retired = new Set<Policy>();
  readonly #standings = new WeakMap<Workload, Standing>();
  /** What the open stage will make of the homes' `firstAllow`. */
  readonly #firstAllows = new Map<Home, PolicyKey | undefined | null>();
  #revision = 0;

  get(key: PolicyKey): Policy | undefined {
    return this.#byKey.get(key);
  }

  all(): IterableIterator<Policy> {
    return this.#byKey.values();
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** Files a policy under the stage, one per key. */
  stage(p: Policy, stage: Stage): Filed<Policy> {
    const old = this.#byKey.get(p.key);
    if (old === p) return { next: p, old };
    this.#file(p);
    this.#byKey.stage(p.key, p, stage);
    const was = old && this.#wideHome(old);
    const home = this.#wideHome(p);
    if (was && was !== home) was.wide.stage(p.key, undefined, stage);
    home?.wide.stage(p.key, p, stage);
    if (was && this.#nextFirstAllow(was) === p.key) this.#firstAllows.set(was, null);
    if (home && enforcedAllow(p)) {
      const first = this.#nextFirstAllow(home);
      if (first !== null) this.#firstAllows.set(home, smaller(first, p.key));
    }
    return { next: p, old };
  }

  /** The stage has been applied or dropped. */
  ended(stage: Stage): void {
    if (stage.state === 'applied' && stage.policies.length > 0) this.#revision++;
    if (stage.state === 'applied')
      for (const [home, first] of this.#firstAllows) home.firstAllow = first;
    this.#firstAllows.clear();
  }

  /** Forgets what the end of the stage has left behind. */
  settle({ next, old }: Filed<Policy>): void {
    if (old === next) return;
    this.#byKey.settle(next.key);
    for (const p of [next, old]) {
      if (!p) continue;
      this.#wideHome(p)?.wide.settle(p.key);
      if (this.#byKey.get(p.key) !== p) this.#retired.add(p);
    }
  }

  put(p: Policy): void {
    const old = this.#byKey.get(p.key);
    if (old === p) return;
    if (old) this.#retire(old);
    this.#revision++;
    this.#byKey.set(p.key, p);
    this.#file(p);
    const home = this.#wideHome(p);
    if (!home) return;
    home.wide.set(p.key, p);
    if (home.firstAllow !== null && enforcedAllow(p))
      home.firstAllow = smaller(home.firstAllow, p.key);
  }

  #file(p: Policy): void {
    this.#retired.delete(p);
    const { index } = this.#home(homeName(p));
    if (!index.has(p)) index.put(p);
  }

  #wideHome(p: Policy): Home | undefined {
    return p.scope === 'WorkloadSelector' ? undefined : this.#home(homeName(p));
  }

  #nextFirstAllow(home: Home): PolicyKey | undefined | null {
    return this.#firstAllows.has(home) ? this.#firstAllows.get(home) : home.firstAllow;
  }

  remove(key: PolicyKey): boolean {
    const old = this.#byKey.get(key);
    if (!old) return false;
    this.#revision++;
    this.#byKey.delete(key);
    this.#retire(old);
    return true;
  }

  #retire(old: Policy): void {
    const home = this.#home(homeName(old));
    if (home.wide.delete(old.key) && home.firstAllow === old.key) home.firstAllow = null;
    this.#retired.add(old);
    if (this.#retired.size > maxRetired) this.tidy(Infinity);
  }

  /** Unfiles about `rules` rules of policies that are gone; true = there are more. */
  tidy(rules: number): boolean {
    let left = rules;
    for (const p of this.#retired) {
      if (left <= 0) return true;
      left -= Math.max(1, p.rules.length);
      this.#retired.delete(p);
      const name = homeName(p);
      const home = this.#home(name);
      home.index.remove(p);
      if (home.index.size === 0 && home.wide.blank) this.#homes.delete(name);
    }
    return false;
  }

  /** Global, then the namespace's, then those the workload names (ztunnel-protocol.md 5.1). */
  appliesTo(w: Workload): Applicable {
    const found = new Map<PolicyKey, Policy>(this.#homes.get('')?.wide);
    const missing: PolicyKey[] = [];
    for (const p of this.#homes.get(w.namespace)?.wide.values() ?? []) found.set(p.key, p);
    for (const key of w.authorizationPolicies) {
      const p = this.#byKey.get(key);
      if (p) found.set(key, p);
      else missing.push(key);
    }
    return { policies: [...found.values()], missing };
  }

  /** The same verdict as `authorize(appliesTo(w), c)`, without looking at rules that cannot match. */
  judge(w: Workload, c: RbacConnection): Verdict {
    const standing = this.#standing(w);
    let deny: PolicyKey | undefined;
    let allow: PolicyKey | undefined;
    const dryRun = new Set<PolicyKey>();
    const visit = ({ policy: p, rule }: RuleEntry): void => {
      const best = p.dryRun ? undefined : p.action === 'Deny' ? deny : allow;
      if (p.dryRun ? dryRun.has(p.key) : best !== undefined && best <= p.key) return;
      if (!holdsFor(p, w, standing.named) || this.#byKey.get(p.key) !== p) return;
      if (!matchRule(rule, c)) return;
      if (p.dryRun) dryRun.add(p.key);
      else if (p.action === 'Deny') deny = p.key;
      else allow = p.key;
    };
    for (const home of standing.homes) home.index.find(c, visit);
    const { missing, firstAllow } = standing;
    return verdictOf({ deny, missing, allow, firstAllow, dryRun: [...dryRun].toSorted() });
  }

  #home(name: string): Home {
    const known = this.#homes.get(name);
    if (known) return known;
    const made: Home = {
      wide: new StagedMap(),
      index: new PolicyIndex(),
      firstAllow: undefined,
    };
    this.#homes.set(name, made);
    return made;
  }

  #firstAllow(home: Home): PolicyKey | undefined {
    if (home.firstAllow === null) {
      home.firstAllow = undefined;
      for (const p of home.wide.values()) {
        if (enforcedAllow(p)) home.firstAllow = smaller(home.firstAllow, p.key);
      }
    }
    return home.firstAllow;
  }

  #standing(w: Workload): Standing {
    const known = this.#standings.get(w);
    if (known?.revision === this.#revision) return known;
    const homes = new Set<Home>();
    let firstAllow: PolicyKey | undefined;
    for (const name of ['', w.namespace]) {
      const home = this.#homes.get(name);
      if (!home) continue;
      homes.add(home);
      firstAllow = smaller(firstAllow, this.#firstAllow(home));
    }
    let missing: PolicyKey | undefined;
    for (const key of w.authorizationPolicies) {
      const p = this.#byKey.get(key);
      if (!p) {
        missing ??= key;
        continue;
      }
      homes.add(this.#home(homeName(p)));
      if (enforcedAllow(p)) firstAllow = smaller(firstAllow, key);
    }
    const named = known?.named ?? new Set(w.authorizationPolicies);
    const made = { revision: this.#revision, named, homes: [...homes], missing, firstAllow };
    this.#standings.set(w, made);
    return made;
  }
}

function holdsFor(p: Policy, w: Workload, named: ReadonlySet<PolicyKey>): boolean {
  if (p.scope === 'Global') return true;
  if (p.scope === 'Namespace' && (p.namespace === '' || p.namespace === w.namespace)) return true;
  return named.has(p.key);
}
