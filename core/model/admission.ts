// Connections let in: registered and judged in one tick, judged again when the mesh changes, so that
// there is no moment in which a connection is neither checked nor known (style-models.md 6.1).
import type { RbacConnection, Verdict } from './authorize.ts';
import type { WorkloadUid } from './keys.ts';
import type { ChangeSet, MeshView } from './mesh-state.ts';

export interface Admitted<T> {
  readonly workload: WorkloadUid;
  readonly connection: RbacConnection;
  readonly handle: T;
}

export type Denial = Extract<Verdict, { allow: false }>;

export class Admission<T> {
  readonly #view: MeshView;
  readonly #live = new Set<Admitted<T>>();

  constructor(view: MeshView) {
    this.#view = view;
  }

  /** Registers and judges. A refused connection is not kept; an admitted one must be released. */
  admit(
    workload: WorkloadUid,
    connection: RbacConnection,
    handle: T,
  ): { verdict: Verdict; ticket: Admitted<T> } {
    const ticket: Admitted<T> = { workload, connection, handle };
    const verdict = this.judge(workload, connection);
    if (verdict.allow) this.#live.add(ticket);
    return { verdict, ticket };
  }

  /** The decision alone, for probes and explanations. A workload that is gone is pending. */
  judge(workload: WorkloadUid, connection: RbacConnection): Verdict {
    const w = this.#view.workload(workload);
    if (!w) return { allow: false, code: 'POLICY_PENDING', dryRun: [] };
    return this.#view.judge(w, connection);
  }

  release(ticket: Admitted<T>): void {
    this.#live.delete(ticket);
  }

  /**
   * Those no longer allowed after a change; each is dropped from the register. Workloads that vanished
   * are left alone: their pods' end closes them.
   */
  rejudge(change: ChangeSet): { ticket: Admitted<T>; verdict: Denial }[] {
    const denied: { ticket: Admitted<T>; verdict: Denial }[] = [];
    if (change.policies.size === 0 && change.workloads.size === 0) return denied;
    for (const ticket of this.#live) {
      if (change.policies.size === 0 && !change.workloads.has(ticket.workload)) continue;
      if (!this.#view.workload(ticket.workload)) continue;
      const verdict = this.judge(ticket.workload, ticket.connection);
      if (verdict.allow) continue;
      this.#live.delete(ticket);
      denied.push({ ticket, verdict });
    }
    return denied;
  }

  live(): IterableIterator<Admitted<T>> {
    return this.#live.values();
  }

  get size(): number {
    return this.#live.size;
  }
}
