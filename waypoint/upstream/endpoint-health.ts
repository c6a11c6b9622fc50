// Outlier bookkeeping per service (waypoint-l7.md 5.4), fed with outcomes; pure but for its memory. Ejected
// endpoints are left out of the choice for a time that grows with each ejection. Also counts what is running,
// for least-request balancing.
import type { WorkloadUid } from '../../core/model/index.ts';
import type * as wire from '../../core/proto/index.ts';

interface Host {
  active: number;
  fives: number;
  gateway: number;
  ejections: number;
  /** Monotonic ms; 0 = not ejected. */
  until: number;
}

export type Result = 'ok' | '5xx' | 'gateway';

const longest = 300_000;

export class EndpointHealth {
  readonly #services = new Map<string, Map<WorkloadUid, Host>>();

  #host(service: string, uid: WorkloadUid): Host {
    const hosts = this.#services.get(service) ?? new Map<WorkloadUid, Host>();
    this.#services.set(service, hosts);
    const host = hosts.get(uid) ?? { active: 0, fives: 0, gateway: 0, ejections: 0, until: 0 };
    hosts.set(uid, host);
    return host;
  }

  /** Returns the end of it. */
  started(service: string, uid: WorkloadUid): () => void {
    const host = this.#host(service, uid);
    host.active++;
    let over = false;
    return () => {
      if (!over) host.active--;
      over = true;
    };
  }

  active(service: string, uid: WorkloadUid): number {
    return this.#services.get(service)?.get(uid)?.active ?? 0;
  }

  /** Endpoints that are out now; a sweep by the way lets those back in whose time is over. */
  ejected(service: string, nowMs: number): ReadonlySet<WorkloadUid> {
    const out = new Set<WorkloadUid>();
    for (const [uid, host] of this.#services.get(service) ?? []) {
      if (host.until === 0) continue;
      if (host.until > nowMs) out.add(uid);
      else host.until = 0;
    }
    return out;
  }

  outcome(o: {
    readonly service: string;
    readonly uid: WorkloadUid;
    readonly result: Result;
    readonly policy: wire.L7OutlierDetection | undefined;
    readonly endpoints: number;
    readonly nowMs: number;
  }): boolean {
    const host = this.#host(o.service, o.uid);
    host.fives = o.result === 'ok' ? 0 : host.fives + 1;
    host.gateway = o.result === 'gateway' ? host.gateway + 1 : 0;
    const p = o.policy;
    if (!p || host.until > o.nowMs) return false;
    const due =
      (p.consecutive_5xx > 0 && host.fives >= p.consecutive_5xx) ||
      (p.consecutiveGateway > 0 && host.gateway >= p.consecutiveGateway);
    if (!due) return false;
    const out = this.ejected(o.service, o.nowMs).size;
    if ((100 * (out + 1)) / Math.max(1, o.endpoints) > p.maxEjectionPercent) return false;
    const base = p.baseEjectionMs || 30_000;
    host.ejections++;
    host.until = o.nowMs + Math.min(base * host.ejections, Math.max(longest, base));
    host.fives = 0;
    host.gateway = 0;
    return true;
  }

  forget(uid: WorkloadUid): void {
    for (const hosts of this.#services.values()) hosts.delete(uid);
  }
}
