// What the status of a DestinationRule or VirtualService says: whether it holds, what stands before it, what of it is
// not carried out (waypoint-l7.md 5.1, 5.5). Pure.
import { field, list, type ServiceFacts, text } from '../cluster/index.ts';
import { serviceHostname } from '../translate/index.ts';
import { bindService, type World } from './binding.ts';
import { isDelegate, rootsOf } from './delegates.ts';
import { hasSelector, olderThan, rulesFor, servicesOf } from './destination-rules.ts';
import { fullHost } from './hosts.ts';
import type { RuleFacts } from './objects.ts';
import { settle, type Wanted } from './conditions.ts';
import { outsideTls } from './outside-tls.ts';
import { tlsModes, unreadableValues } from './policy-values.ts';
import { servicesByHost } from './tables.ts';
import { unsupportedParts } from './traffic-policy.ts';
import { forMesh, hostsOf, shadowOf, virtualNotes } from './virtual-services.ts';

const say = (status: 'True' | 'False', reason: string, message: string): Wanted => ({
  type: 'Accepted',
  status,
  reason,
  message,
});

/** Named parts that do nothing, as one condition; none = the condition goes. */
const partly = (parts: readonly string[]): Wanted[] =>
  parts.length === 0
    ? []
    : [
        {
          type: 'PartiallyInvalid',
          status: 'True',
          reason: 'UnsupportedValue',
          message: parts.slice(0, 8).join('; '),
        },
      ];

function write(r: RuleFacts, wanted: readonly Wanted[], now: string): object | undefined {
  const conditions = settle(r.conditions, wanted, r.generation, now, ['PartiallyInvalid']);
  return conditions && { conditions };
}

function accepted(world: World, r: RuleFacts): Wanted {
  if (hasSelector(r)) {
    const why =
      'a workloadSelector is for proxies beside a workload: waypoints leave this rule out';
    return say('False', 'UnsupportedValue', why);
  }
  if (servicesOf(world, r).length === 0) {
    const host = fullHost(world, text(field(r.spec, 'host')), r.namespace);
    return say('False', 'NoMatchingHost', `no service has the host "${host}"`);
  }
  const [older] = olderThan(world, r);
  if (older && field(r.spec, 'trafficPolicy') !== undefined) {
    const by = `DestinationRule ${older.namespace}/${older.name}`;
    const subsets = list(field(r.spec, 'subsets')).length > 0;
    const rest = subsets ? 'only its subsets are used' : 'nothing of it is used';
    const text = `the trafficPolicy of ${by} is older and holds: ${rest}`;
    return say(subsets ? 'True' : 'False', 'Conflicted', text);
  }
  return say('True', 'Accepted', 'Rule was valid');
}

/** Every trafficPolicy in a rule with its place: its own, those of subsets. */
function policiesOf(r: RuleFacts): { readonly policy: unknown; readonly where: string }[] {
  const own = { policy: field(r.spec, 'trafficPolicy'), where: 'trafficPolicy' };
  const subsets = list(field(r.spec, 'subsets')).map((s) => ({
    policy: field(s, 'trafficPolicy'),
    where: `subsets[${text(field(s, 'name'))}].trafficPolicy`,
  }));
  return [own, ...subsets];
}

/** Blocks `tls` that a waypoint which sends by this rule cannot have; a mode that is not known is told as a value. */
function tlsFaults(world: World, r: RuleFacts): string[] {
  const blocks = policiesOf(r)
    .flatMap(({ policy, where }) => [
      { tls: field(policy, 'tls'), at: `${where}.tls` },
      ...list(field(policy, 'portLevelSettings')).map((p, i) => ({
        tls: field(p, 'tls'),
        at: `${where}.portLevelSettings[${i}].tls`,
      })),
    ])
    .filter(({ tls }) => tlsModes.includes(text(field(tls, 'mode'))));
  if (blocks.length === 0) return [];
  return waypointsUsing(world, r).flatMap((client) =>
    blocks.flatMap(({ tls, at }) => {
      const { fault } = outsideTls(world, tls, client).tls ?? {};
      return fault === undefined ? [] : [`${at}: ${fault}: nothing is sent`];
    }),
  );
}

/** Namespaces of waypoints that send by this rule. */
function waypointsUsing(world: World, r: RuleFacts): string[] {
  const all = boundServices(world, servicesOf(world, r)).filter(({ s, client }) => {
    const hostname = serviceHostname(s, world.settings);
    return rulesFor(world, { namespace: s.namespace, hostname }, client)?.rules.includes(r);
  });
  return [...new Set(all.map(({ client }) => client))];
}

export function destinationRuleStatus(world: World, r: RuleFacts, now: string): object | undefined {
  const parts = policiesOf(r).flatMap(({ policy, where }) => [
    ...unsupportedParts(policy, where).map((p) => `${p} is not supported`),
    ...unreadableValues(policy, where),
  ]);
  return write(r, [accepted(world, r), ...partly([...parts, ...tlsFaults(world, r)])], now);
}

type Bound = { readonly s: ServiceFacts; readonly client: string };

/** Services of these hosts that have a waypoint, with that waypoint's namespace. */
function boundServices(world: World, patterns: readonly string[]): Bound[] {
  const all = new Set(patterns.flatMap((p) => servicesByHost(world).within(p)));
  return [...all].flatMap((s) => {
    const binding = bindService(world, s);
    const client = binding.kind === 'none' ? undefined : binding.gateway?.namespace;
    return client === undefined ? [] : [{ s, client }];
  });
}

/** Services it speaks for that have a waypoint which may read it, with that waypoint's namespace. */
function bound(world: World, v: RuleFacts): Bound[] {
  return boundServices(world, hostsOf(world, v)).filter(
    ({ s, client }) => v.namespace === s.namespace || v.namespace === client,
  );
}

/** Without hosts it holds through those that delegate to it. */
function delegateStatus(world: World, v: RuleFacts, now: string): object | undefined {
  const roots = rootsOf(world, v);
  if (roots.length === 0) {
    const why = 'it has no hosts, and no VirtualService that may use it delegates to it';
    return write(v, [say('False', 'NoMatchingParent', why)], now);
  }
  const notes = roots.flatMap((root) =>
    bound(world, root).flatMap(({ s, client }) => virtualNotes(world, v, s, client, root)),
  );
  const names = roots.map((r) => `${r.namespace}/${r.name}`).toSorted();
  const text = `delegate of ${names.join(', ')}`;
  const messages = [...new Set(notes.map((n) => n.message))];
  return write(v, [say('True', 'Accepted', text), ...partly(messages)], now);
}

export function virtualServiceStatus(world: World, v: RuleFacts, now: string): object | undefined {
  if (isDelegate(v)) return delegateStatus(world, v, now);
  if (!forMesh(v.spec)) {
    const why = 'gateways does not name the mesh: waypoints leave this one out';
    return write(v, [say('False', 'NoMatchingParent', why)], now);
  }
  const all = bound(world, v);
  if (all.length === 0) {
    const why =
      'none of its hosts is a service with a waypoint in its own or the waypoint’s namespace';
    return write(v, [say('False', 'NoMatchingHost', why)], now);
  }
  const shadows = all.map(({ s, client }) => shadowOf(world, s, v, client));
  const shadowed = shadows.filter((x) => x !== undefined);
  const notes = all.flatMap(({ s, client }) => virtualNotes(world, v, s, client));
  const messages = [...new Set(notes.map((n) => n.message))];
  if (shadowed.length === all.length) {
    const why = `shadowed by ${[...new Set(shadowed)].join(', ')}`;
    return write(v, [say('False', 'Conflicted', why), ...partly(messages)], now);
  }
  const text =
    shadowed.length > 0 ? `for some hosts shadowed by ${shadowed.join(', ')}` : 'Route was valid';
  return write(v, [say('True', 'Accepted', text), ...partly(messages)], now);
}
