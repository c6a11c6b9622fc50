// Policies by key and by scope; which ones apply to a workload, and which of them are still missing.
import type { PolicyKey } from './keys.ts';
import type { Policy } from './policy.ts';
import type { Workload } from './workload.ts';

export interface Applicable {
  readonly policies: readonly Policy[];
  /** Named by the workload and not received: the workload refuses until they arrive (design.md 6.1). */
  readonly missing: readonly PolicyKey[];
}

export class PolicyStore {
  readonly #byKey = new Map<PolicyKey, Policy>();
  readonly #byNamespace = new Map<string, Map<PolicyKey, Policy>>();

  get(key: PolicyKey): Policy | undefined {
    return this.#byKey.get(key);
  }

  all(): IterableIterator<Policy> {
    return this.#byKey.values();
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** Global ones live under the namespace ''; so does a namespace policy without one (5.4). */
  #home(p: Policy): string | undefined {
    if (p.scope === 'Global') return '';
    return p.scope === 'Namespace' ? p.namespace : undefined;
  }

  put(p: Policy): void {
    this.remove(p.key);
    this.#byKey.set(p.key, p);
    const home = this.#home(p);
    if (home === undefined) return;
    const here = this.#byNamespace.get(home) ?? new Map<PolicyKey, Policy>();
    this.#byNamespace.set(home, here.set(p.key, p));
  }

  remove(key: PolicyKey): boolean {
    const old = this.#byKey.get(key);
    if (!old) return false;
    this.#byKey.delete(key);
    const home = this.#home(old);
    if (home !== undefined) {
      const here = this.#byNamespace.get(home);
      here?.delete(key);
      if (here?.size === 0) this.#byNamespace.delete(home);
    }
    return true;
  }

  /** Global, then the namespace's, then those the workload names (ztunnel-protocol.md 5.1). */
  appliesTo(w: Workload): Applicable {
    const found = new Map<PolicyKey, Policy>();
    const missing: PolicyKey[] = [];
    for (const p of this.#byNamespace.get('')?.values() ?? []) found.set(p.key, p);
    for (const p of this.#byNamespace.get(w.namespace)?.values() ?? []) found.set(p.key, p);
    for (const key of w.authorizationPolicies) {
      const p = this.#byKey.get(key);
      if (p) found.set(key, p);
      else missing.push(key);
    }
    return { policies: [...found.values()], missing };
  }
}
