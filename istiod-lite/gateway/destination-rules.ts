// Which DestinationRules hold for a service, and what comes of them for one port and subset (waypoint-l7.md 5.1).
import { podUid } from '../../core/model/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { type Dict, field, list, text } from '../cluster/index.ts';
import { selects, serviceHostname } from '../translate/index.ts';
import { backendTls } from './backend-tls.ts';
import { backendRetryBudget } from './backend-traffic.ts';
import { outsideTls } from './outside-tls.ts';
import type { World } from './binding.ts';
import { byRuleAge, fullHost, hostRank, isExported } from './hosts.ts';
import { ByHost, perState } from './tables.ts';
import type { RuleFacts } from './objects.ts';
import { sectionNames, type Sections, subsetLabels, trafficPolicy } from './traffic-policy.ts';

interface Subset {
  readonly labels: Dict;
  readonly policy: unknown;
}

export interface Merged {
  /** The oldest first; its trafficPolicy is the one that holds. */
  readonly rules: readonly RuleFacts[];
  readonly policy: unknown;
  readonly subsets: ReadonlyMap<string, Subset>;
}

/** Rules with a workloadSelector are for proxies beside a workload, never for a waypoint. */
export const hasSelector = (r: RuleFacts): boolean =>
  field(r.spec, 'workloadSelector') !== undefined;

const hostOf = (world: World, r: RuleFacts): string =>
  fullHost(world, text(field(r.spec, 'host')), r.namespace);

const rulesByHost = perState((world) => {
  const out = new ByHost<RuleFacts>();
  for (const r of world.gateways.destinationRules.values()) out.add(hostOf(world, r), r);
  return out;
});

/**
 * As a client in the waypoint's namespace would look: its own namespace, the service's, the root. The first with any
 * match holds; inside it the most exact host; rules of the same host are merged.
 */
export function rulesFor(
  world: World,
  service: { readonly namespace: string; readonly hostname: string },
  client: string,
): Merged | undefined {
  const all = rulesByHost(world)
    .of(service.hostname)
    .filter((r) => !hasSelector(r) && isExported(r, client));
  for (const namespace of new Set([client, service.namespace, world.settings.rootNamespace])) {
    const here = all.filter((r) => r.namespace === namespace);
    if (here.length === 0) continue;
    const best = here.map((r) => hostOf(world, r)).toSorted((a, b) => hostRank(b) - hostRank(a))[0];
    return merge(here.filter((r) => hostOf(world, r) === best).toSorted(byRuleAge));
  }
  return undefined;
}

function merge(rules: readonly RuleFacts[]): Merged {
  const subsets = new Map<string, Subset>();
  for (const r of rules) {
    for (const s of list(field(r.spec, 'subsets'))) {
      const name = text(field(s, 'name'));
      if (name === '' || subsets.has(name)) continue;
      subsets.set(name, { labels: subsetLabels(s), policy: field(s, 'trafficPolicy') });
    }
  }
  return { rules, policy: field(rules[0]?.spec, 'trafficPolicy'), subsets };
}

/** Rules of the same namespace and host that are older, whose trafficPolicy holds instead. */
export function olderThan(world: World, r: RuleFacts): RuleFacts[] {
  return rulesByHost(world)
    .same(hostOf(world, r))
    .filter((o) => o !== r && o.namespace === r.namespace && !hasSelector(o))
    .filter((o) => byRuleAge(o, r) < 0)
    .toSorted(byRuleAge);
}

const hosts = perState((world) => {
  const out = new ByHost<string>();
  for (const s of world.cluster.services.all()) {
    const name = serviceHostname(s, world.settings);
    out.add(name, name);
  }
  for (const e of world.cluster.serviceEntries.all()) for (const h of e.hosts) out.add(h, h);
  return out;
});

/** Services that a rule's host stands for. */
export const servicesOf = (world: World, r: RuleFacts): string[] =>
  hosts(world).within(hostOf(world, r));

/** A port's settings replace the whole policy; a subset's override it section by section. */
function sectionsFor(policy: unknown, port: number): Sections {
  const own = list(field(policy, 'portLevelSettings')).find(
    (p) => field(p, 'port', 'number') === port,
  );
  const at = own ?? policy;
  const out: Record<string, unknown> = {};
  for (const name of sectionNames) {
    const value = field(at, name);
    if (value !== undefined) out[name] = value;
  }
  return out;
}

/** Pods and entries of the service's namespace with these labels; the service's own selection comes on top. */
function members(world: World, namespace: string, labels: Dict): string[] {
  const out: string[] = [];
  for (const p of world.cluster.pods.in(namespace)) {
    if (selects(labels, p.labels)) {
      out.push(podUid(world.settings.clusterId, p.namespace, p.name));
    }
  }
  for (const w of world.cluster.workloadEntries.in(namespace)) {
    const own = new Map([...w.labels, ...(w.endpoint?.labels ?? [])]);
    if (selects(labels, own)) out.push(`WorkloadEntry/${w.namespace}/${w.name}`);
  }
  return out.toSorted();
}

export interface Destination {
  readonly namespace: string;
  readonly hostname: string;
  readonly port: number;
  readonly subset: string;
}

/** `undefined` = nothing but defaults. A subset that is not defined is told by `subsetKnown`. */
export function clusterFor(
  world: World,
  d: Destination,
  client: string,
): Draft<wire.L7Cluster> | undefined {
  const merged = rulesFor(world, d, client);
  const subset = merged?.subsets.get(d.subset);
  if (d.subset !== '' && !subset) return undefined;
  const retryBudget = backendRetryBudget(world, d);
  const sections: Sections = {
    ...(retryBudget && { retryBudget }),
    ...sectionsFor(merged?.policy, d.port),
    ...(subset && sectionsFor(subset.policy, d.port)),
  };
  // Each name there is a server of its own: nothing to balance or to leave out (waypoint-l7.md 11).
  const traffic = d.hostname.startsWith('*.')
    ? { connectionPool: sections.connectionPool, retryBudget: sections.retryBudget }
    : sections;
  const own = sections.tls !== undefined;
  const { tls } = own ? outsideTls(world, sections.tls, client) : backendTls(world, d);
  const { connectTimeoutMs } = world.gateways.meshConfig;
  if (!merged && !tls && !retryBudget && connectTimeoutMs === 0) return undefined;
  const policy = trafficPolicy(traffic);
  return {
    ...d,
    ...(subset && { members: members(world, d.namespace, subset.labels) }),
    traffic: {
      ...policy,
      connectTimeoutMs: policy.connectTimeoutMs || connectTimeoutMs,
      ...(tls && { tls }),
    },
  };
}

export const subsetKnown = (world: World, d: Destination, client: string): boolean =>
  d.subset === '' || rulesFor(world, d, client)?.subsets.has(d.subset) === true;
