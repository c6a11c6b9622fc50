// What is remembered of each cluster between requests: load, outliers, breakers, turns, tables. Choosing is in
// balance/; this keeps the memory and asks it.
import type { Clock, Random } from '../../core/base/index.ts';
import type { Listed, LoadBalancing, Workload, WorkloadUid } from '../../core/model/index.ts';
import { leastRequest, randomHost, RoundRobin } from '../balance/balancers.ts';
import { Breaker } from '../balance/breaker.ts';
import { type Lookup, maglev, ringHash } from '../balance/consistent.ts';
import { localityLevels } from '../balance/locality.ts';
import { type Ejection, OutlierState, type Result } from '../balance/outlier.ts';
import { chooseLevel, type Level } from '../balance/priority.ts';
import { SlowStart } from '../balance/slow-start.ts';
import type { Cluster } from '../l7/cluster.ts';

interface Candidate {
  readonly name: WorkloadUid;
  readonly weight: number;
  readonly workload: Workload;
  readonly targetPort: number;
  readonly fit: boolean;
}

export interface Wish {
  readonly self: Workload;
  readonly own: LoadBalancing | undefined;
  /** Left out while there are others. */
  readonly tried: ReadonlySet<WorkloadUid>;
  readonly hash: bigint | undefined;
}

/** Levels, and all that they were made of. */
interface Levelled {
  readonly listed: readonly Listed[];
  readonly self: Workload;
  readonly own: LoadBalancing | undefined;
  readonly policy: Cluster['policy'];
  /** The ejected ones, sorted. */
  readonly out: string;
  readonly all: readonly Candidate[];
  readonly levels: readonly Level<Candidate>[];
}

/** Tables kept: endpoints change by spilling over and by ejections, back and forth. */
const tablesKept = 4;

class ClusterRuntime {
  readonly breaker: Breaker;
  readonly outlier = new OutlierState();
  readonly active = new Map<WorkloadUid, number>();
  readonly turns = new RoundRobin();
  readonly slow = new SlowStart();
  readonly tables = new Map<string, Lookup>();
  /** Tables by the very hosts they are of; of one policy. */
  lookups = new WeakMap<readonly Candidate[], Lookup>();
  /** As last worked out: each request needs them, and they seldom change. */
  levelled: Levelled | undefined;
  /** As last used. */
  cluster: Cluster;

  constructor(cluster: Cluster, clock: Clock) {
    this.breaker = new Breaker(() => clock.monotonic());
    this.cluster = cluster;
  }
}

export class Clusters {
  readonly #all = new Map<string, ClusterRuntime>();
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  #of(c: Cluster): ClusterRuntime {
    let found = this.#all.get(c.key);
    if (!found) {
      found = new ClusterRuntime(c, this.#clock);
      this.#all.set(c.key, found);
    }
    found.cluster = c;
    return found;
  }

  breaker(c: Cluster): Breaker {
    return this.#of(c).breaker;
  }

  /** A request runs at an endpoint; returns the end of it. */
  started(c: Cluster, uid: WorkloadUid): () => void {
    const { active } = this.#of(c);
    active.set(uid, (active.get(uid) ?? 0) + 1);
    let over = false;
    return () => {
      if (over) return;
      over = true;
      const left = (active.get(uid) ?? 1) - 1;
      if (left > 0) active.set(uid, left);
      else active.delete(uid);
    };
  }

  outcome(c: Cluster, uid: WorkloadUid, result: Result, endpoints: number): Ejection | undefined {
    const { outlier } = c.policy;
    if (!outlier) return undefined;
    return this.#of(c).outlier.note(uid, result, outlier, endpoints, this.#clock.monotonic());
  }

  /** One of the endpoints, or `undefined` if none is fit. */
  pick(c: Cluster, listed: readonly Listed[], wish: Wish): Listed | undefined {
    const run = this.#of(c);
    const { policy } = c;
    const now = this.#clock.monotonic();
    const out = run.outlier.ejected(policy.outlier, now);
    const { all, levels } = levelledFor(run, listed, wish, out, now);
    let hosts = chooseLevel(levels, policy.panicPercent, this.#random);
    // A retry goes elsewhere, unless a hash says where.
    if (wish.tried.size > 0 && wish.hash === undefined) {
      const fresh = hosts.filter((h) => !wish.tried.has(h.name));
      const anywhere = all.filter((h) => h.fit && !wish.tried.has(h.name));
      hosts = fresh.length > 0 ? fresh : anywhere.length > 0 ? anywhere : hosts;
    }
    if (policy.warmup) hosts = run.slow.weighted(hosts, policy.warmup, now);
    const picked = this.#among(run, hosts, wish.hash);
    return (
      picked && { workload: picked.workload, targetPort: picked.targetPort, healthy: picked.fit }
    );
  }

  #among(
    run: ClusterRuntime,
    hosts: readonly Candidate[],
    hash: bigint | undefined,
  ): Candidate | undefined {
    const { policy } = run.cluster;
    switch (policy.balancer) {
      case 'round-robin':
        return run.turns.next(hosts, this.#random);
      case 'random':
        return randomHost(hosts, this.#random);
      case 'ring-hash':
      case 'maglev': {
        if (hash === undefined) return randomHost(hosts, this.#random);
        const at = tableOf(run, hosts)(hash);
        return at === undefined ? undefined : hosts[at];
      }
      case 'least-request':
      case 'passthrough':
        return leastRequest(hosts, (h) => run.active.get(h.name) ?? 0, this.#random);
    }
  }

  forget(uid: WorkloadUid): void {
    for (const [key, run] of this.#all) {
      if (run.cluster.workload === uid) this.#all.delete(key);
      run.outlier.forget(uid);
      run.active.delete(uid);
    }
  }

  /** Forgets clusters of services that are gone and have nothing running. */
  prune(exists: (c: Cluster) => boolean): void {
    for (const [key, run] of this.#all) {
      if (!exists(run.cluster) && run.active.size === 0) this.#all.delete(key);
    }
  }

  /** For the admin port. */
  snapshot() {
    const now = this.#clock.monotonic();
    return [...this.#all.values()].map(({ cluster, breaker, outlier, active }) => ({
      cluster: cluster.key,
      balancer: cluster.policy.balancer,
      breaker: breaker.snapshot(),
      active: Object.fromEntries(active),
      outliers: cluster.policy.outlier ? outlier.snapshot(cluster.policy.outlier, now) : [],
    }));
  }
}

/** The levels of these endpoints; worked out again only when something they depend on is another. */
function levelledFor(
  run: ClusterRuntime,
  listed: readonly Listed[],
  { self, own }: Wish,
  ejected: ReadonlySet<string>,
  now: number,
): Levelled {
  const { policy } = run.cluster;
  const out = ejected.size === 0 ? '' : [...ejected].toSorted().join();
  const last = run.levelled;
  const same =
    last?.listed === listed && last.self === self && last.own === own && last.out === out;
  if (same && last.policy === policy) return last;
  if (last?.policy !== policy) run.lookups = new WeakMap();
  const ready = listed.filter((l) => l.healthy).map((l) => l.workload.uid);
  if (last?.listed !== listed) run.slow.ready(ready, now);
  const all: Candidate[] = listed.map((l) => ({
    ...l,
    name: l.workload.uid,
    weight: l.workload.capacity,
    fit: l.healthy && !ejected.has(l.workload.uid),
  }));
  const levels = localityLevels(all, self, policy.locality, policy.outlier !== undefined, own);
  run.levelled = { listed, self, own, policy, out, all, levels };
  return run.levelled;
}

function tableOf(run: ClusterRuntime, hosts: readonly Candidate[]): Lookup {
  const known = run.lookups.get(hosts);
  if (known) return known;
  const made = makeTable(run, hosts);
  run.lookups.set(hosts, made);
  return made;
}

function makeTable(run: ClusterRuntime, hosts: readonly Candidate[]): Lookup {
  const { balancer, tableSize } = run.cluster.policy;
  const sorted = hosts.map((h, at) => ({ name: h.name as string, weight: h.weight, at }));
  sorted.sort((a, b) => (a.name < b.name ? -1 : 1));
  const signature = `${balancer}|${tableSize}|${sorted.map((h) => `${h.name}*${h.weight}`).join()}`;
  let table = run.tables.get(signature);
  if (!table) {
    table = balancer === 'maglev' ? maglev(sorted, tableSize) : ringHash(sorted, tableSize);
    const [oldest] = run.tables.keys();
    if (run.tables.size >= tablesKept && oldest !== undefined) run.tables.delete(oldest);
    run.tables.set(signature, table);
  }
  const found = table;
  return (hash) => {
    const at = found(hash);
    return at === undefined ? undefined : sorted[at]?.at;
  };
}
