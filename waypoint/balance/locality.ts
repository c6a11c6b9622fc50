// Endpoints → levels of priority by where they are (waypoint-l7.md 5.2). One source holds, without merging: the
// DestinationRule's setting, else the service's own traffic distribution, else the mesh's default.
import {
  type BalanceScope,
  type LoadBalancing,
  localityRank,
  type Workload,
} from '../../core/model/index.ts';
import type { Level } from './priority.ts';

export interface Placed {
  readonly workload: Workload;
  readonly weight: number;
  /** Ready and not ejected. */
  readonly fit: boolean;
}

export interface LocalityRules {
  readonly disabled: boolean;
  /** By where the caller is; the first whose `from` matches holds. Percent by locality. */
  readonly distribute: readonly {
    readonly from: string;
    readonly to: Readonly<Record<string, number>>;
  }[];
  readonly failover: readonly { readonly from: string; readonly to: string }[];
  readonly priority: readonly string[];
}

type Locality = Workload['locality'];

/** `region/zone/subzone`; missing parts and `*` match anything. */
export function localityMatches(pattern: string, at: Locality): boolean {
  const parts = pattern.split('/');
  return [at.region, at.zone, at.subzone].every((own, i) => {
    const wanted = parts[i];
    return wanted === undefined || wanted === '' || wanted === '*' || wanted === own;
  });
}

/** Labels that a workload is known by here. */
const scopes: Readonly<Record<string, BalanceScope>> = {
  'topology.kubernetes.io/region': 'Region',
  'topology.kubernetes.io/zone': 'Zone',
  'topology.istio.io/subzone': 'Subzone',
  'topology.istio.io/network': 'Network',
  'topology.istio.io/cluster': 'Cluster',
  'kubernetes.io/hostname': 'Node',
};

function near(self: Locality, at: Locality): number {
  if (self.region !== at.region) return 3;
  if (self.zone !== at.zone) return 2;
  return self.subzone === at.subzone ? 0 : 1;
}

/** Groups by number, lowest first. */
function grouped<T extends Placed>(hosts: readonly T[], of: (h: T) => number): Level<T>[] {
  const by = new Map<number, T[]>();
  for (const h of hosts) {
    const at = of(h);
    const group = by.get(at);
    if (group) group.push(h);
    else by.set(at, [h]);
  }
  return [...by]
    .toSorted(([a], [b]) => a - b)
    .map(([, all]) => ({ all, fit: all.filter((h) => h.fit) }));
}

const one = <T extends Placed>(hosts: readonly T[]): Level<T>[] => grouped(hosts, () => 0);

function distributed<T extends Placed>(
  hosts: readonly T[],
  to: Readonly<Record<string, number>>,
): T[] {
  const groups = Object.entries(to).map(([pattern, percent]) => ({ pattern, percent }));
  // The most exact pattern takes the endpoint.
  groups.sort((a, b) => b.pattern.split('/').length - a.pattern.split('/').length);
  const groupOf = (h: T) => groups.find((g) => localityMatches(g.pattern, h.workload.locality));
  const out: T[] = [];
  for (const g of groups) {
    const inside = hosts.filter((h) => groupOf(h) === g);
    const total = inside.filter((h) => h.fit).reduce((n, h) => n + h.weight, 0);
    if (g.percent <= 0 || total <= 0) continue;
    for (const h of inside) out.push({ ...h, weight: (g.percent * h.weight) / total });
  }
  return out;
}

/**
 * `outlier`: failover by rule needs outlier detection, or nothing would say that the near ones are unwell; the
 * service's own distribution goes by readiness.
 */
export function localityLevels<T extends Placed>(
  hosts: readonly T[],
  self: Workload,
  rules: LocalityRules | undefined,
  outlier: boolean,
  own: LoadBalancing | undefined,
): Level<T>[] {
  if (rules?.disabled) return one(hosts);
  const from = self.locality;
  if (rules && rules.distribute.length > 0) {
    const match = rules.distribute.find((d) => localityMatches(d.from, from));
    return one(match ? distributed(hosts, match.to) : hosts);
  }
  if (rules && (rules.failover.length > 0 || rules.priority.length > 0)) {
    if (!outlier) return one(hosts);
    if (rules.priority.length > 0) {
      const wanted = rules.priority.map((label) => scopes[label.split('=')[0] ?? '']);
      const known = wanted.filter((s) => s !== undefined);
      const cut = wanted.includes(undefined) ? wanted.indexOf(undefined) : wanted.length;
      const list = known.slice(0, cut);
      return grouped(hosts, (h) => list.length - prefix(list, self, h.workload));
    }
    const to = rules.failover.find((f) => f.from === from.region)?.to;
    return grouped(hosts, (h) => {
      const level = near(from, h.workload.locality);
      return level === 3 && to !== undefined && h.workload.locality.region !== to ? 4 : level;
    });
  }
  if (own && own.mode === 'Strict') {
    const want = own.preferences.length;
    return one(hosts.filter((h) => prefix(own.preferences, self, h.workload) === want));
  }
  if (own && own.mode === 'Failover') {
    return grouped(hosts, (h) => -localityRank(own.preferences, self, h.workload));
  }
  return outlier ? grouped(hosts, (h) => near(from, h.workload.locality)) : one(hosts);
}

/** How many scopes match from the left. */
function prefix(list: readonly BalanceScope[], self: Workload, to: Workload): number {
  const miss = list.findIndex((scope) => localityRank([scope], self, to) === 0);
  return miss < 0 ? list.length : miss;
}
