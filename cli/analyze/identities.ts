// Whom policies name: accounts and namespaces that exist, principals that are written as they must be, and
// waypoints that must be let through. Pure.
import { parseIpBytes } from '../../core/base/index.ts';
import type { KubeObject } from '../../core/kube/index.ts';
import { authorize, parseIdentity, type Policy, printIdentity } from '../../core/model/index.ts';
import {
  dict,
  field,
  list,
  readAuthorizationPolicy,
  text,
  translatePolicy,
} from '../../istiod-lite/index.ts';
import { namespaceOf, type Path, type Say, type Snapshot, type WorkloadView } from './snapshot.ts';

export function checkIdentities(s: Snapshot, say: Say): void {
  const accounts = knownAccounts(s);
  for (const o of s.of('AuthorizationPolicy')) {
    for (const { path, part, values } of namesIn(o)) {
      for (const [i, value] of values.entries()) {
        const at = [...path, i];
        if (part === 'principals') checkPrincipal(s, accounts, o, at, value, say);
        else if (part === 'namespaces') checkNamespace(s, o, at, value, say);
        else {
          const [a = '', b] = value.split('/');
          const [namespace, account] = b === undefined ? [namespaceOf(o), a] : [a, b];
          checkAccount(s, accounts, o, at, { namespace, account }, say);
        }
      }
    }
  }
  checkWaypointsAllowed(s, say);
}

/** `namespace/account` of every account that exists or that something runs under. */
function knownAccounts(s: Snapshot): Set<string> {
  const out = new Set<string>();
  for (const o of s.of('ServiceAccount')) out.add(`${namespaceOf(o)}/${o.metadata.name}`);
  for (const w of s.workloads) out.add(`${w.namespace}/${w.account}`);
  for (const o of s.of('Namespace')) out.add(`${o.metadata.name}/default`);
  for (const o of s.of('Gateway')) {
    out.add(`${namespaceOf(o)}/${accountOfGateway(o)}`);
    out.add(`${namespaceOf(o)}/${o.metadata.name}-istio`);
  }
  for (const kind of ['WorkloadEntry', 'ServiceEntry']) {
    for (const o of s.of(kind)) {
      const all = [o['spec'], ...list(field(o['spec'], 'endpoints'))];
      for (const e of all) {
        const account = text(field(e, 'serviceAccount'));
        if (account !== '') out.add(`${namespaceOf(o)}/${account}`);
      }
    }
  }
  return out;
}

const accountOfGateway = (o: KubeObject): string =>
  o.metadata.annotations?.['gateway.istio.io/service-account'] ?? o.metadata.name;

interface Named {
  readonly path: Path;
  readonly part: 'principals' | 'namespaces' | 'serviceAccounts';
  readonly values: readonly string[];
}

const whenParts = new Map<string, Named['part']>([
  ['source.principal', 'principals'],
  ['source.namespace', 'namespaces'],
]);

/** Every list of callers in the rules of a policy. */
function namesIn(o: KubeObject): Named[] {
  const out: Named[] = [];
  const take = (at: unknown, path: Path, name: string, part: Named['part']): void => {
    const values = list(field(at, name)).map((v) => (typeof v === 'string' ? v : ''));
    if (values.length > 0) out.push({ path: [...path, name], part, values });
  };
  for (const [r, rule] of list(field(o['spec'], 'rules')).entries()) {
    const at: Path = ['spec', 'rules', r];
    for (const [i, f] of list(field(rule, 'from')).entries()) {
      const source = field(f, 'source');
      const path = [...at, 'from', i, 'source'];
      take(source, path, 'principals', 'principals');
      take(source, path, 'notPrincipals', 'principals');
      take(source, path, 'namespaces', 'namespaces');
      take(source, path, 'notNamespaces', 'namespaces');
      take(source, path, 'serviceAccounts', 'serviceAccounts');
      take(source, path, 'notServiceAccounts', 'serviceAccounts');
    }
    for (const [i, w] of list(field(rule, 'when')).entries()) {
      const part = whenParts.get(text(field(w, 'key')));
      if (!part) continue;
      take(w, [...at, 'when', i], 'values', part);
      take(w, [...at, 'when', i], 'notValues', part);
    }
  }
  return out;
}

function checkPrincipal(
  s: Snapshot,
  accounts: ReadonlySet<string>,
  o: KubeObject,
  path: Path,
  value: string,
  say: Say,
): void {
  if (value.startsWith('spiffe://')) {
    say('AMB0206', o, path, `"${value}": a principal has no spiffe:// in front`);
    return;
  }
  // Suffix, prefix and presence are no names.
  if (value.startsWith('*') || value.endsWith('*')) return;
  const identity = parseIdentity(`spiffe://${value}`);
  if (!identity) {
    say('AMB0206', o, path, `"${value}" is not TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT`);
    return;
  }
  const { namespace, serviceAccount: account } = identity;
  // Of another mesh nothing is known here.
  if (identity.trustDomain !== s.settings.trustDomain) return;
  checkAccount(s, accounts, o, path, { namespace, account }, say);
}

function checkNamespace(s: Snapshot, o: KubeObject, path: Path, value: string, say: Say): void {
  if (value.includes('*') || s.get('Namespace', '', value)) return;
  if (s.workloads.some((w) => w.namespace === value)) return;
  say('AMB0204', o, path, `namespace ${value} does not exist`);
}

function checkAccount(
  s: Snapshot,
  accounts: ReadonlySet<string>,
  o: KubeObject,
  path: Path,
  who: { readonly namespace: string; readonly account: string },
  say: Say,
): void {
  if (accounts.has(`${who.namespace}/${who.account}`) || s.isSystem(who.namespace)) return;
  say('AMB0204', o, path, `there is no account ${who.account} in namespace ${who.namespace}`);
}

/** The enforced policies of a workload, as its node proxy holds them. */
function policiesOf(s: Snapshot, w: WorkloadView): { policy: Policy; object: KubeObject }[] {
  const out: { policy: Policy; object: KubeObject }[] = [];
  const { rootNamespace } = s.settings;
  for (const object of s.of('AuthorizationPolicy')) {
    const namespace = namespaceOf(object);
    if (namespace !== w.namespace && namespace !== rootNamespace) continue;
    const facts = readAuthorizationPolicy(object);
    const { policy } = translatePolicy(facts, rootNamespace);
    if (!policy || policy.dryRun) continue;
    if (facts.selector) {
      const selector = dict(field(object['spec'], 'selector', 'matchLabels'));
      if (selector.size === 0 || !s.selected(namespace, selector).includes(w)) continue;
    }
    out.push({ policy, object });
  }
  return out;
}

const nowhere = parseIpBytes('0.0.0.0') ?? new Uint8Array(4);

/** A waypoint calls its service under its own identity: the node proxies behind it must let it. */
function checkWaypointsAllowed(s: Snapshot, say: Say): void {
  for (const o of s.of('Service')) {
    const binding = s.binding(o, 'service');
    const gateway = binding.kind === 'none' ? undefined : binding.gateway;
    if (!gateway) continue;
    const target = s.serviceTarget(o);
    if (!target.selector) continue;
    const object = s.get('Gateway', gateway.namespace, gateway.name);
    const account = object ? accountOfGateway(object) : gateway.name;
    const { trustDomain } = s.settings;
    const identity = { trustDomain, namespace: gateway.namespace, serviceAccount: account };
    const principal = printIdentity(identity);
    for (const w of s.selected(target.namespace, target.selector)) {
      if (w.owned || !w.meshed) continue;
      const all = policiesOf(s, w);
      for (const [i, p] of list(field(o['spec'], 'ports')).entries()) {
        const given = field(p, 'targetPort') ?? field(p, 'port');
        const destinationPort = Number(given);
        if (!(destinationPort > 0)) continue;
        const verdict = authorize(
          { policies: all.map((x) => x.policy), missing: [] },
          {
            principal,
            identity,
            sourceIp: nowhere,
            destinationIp: nowhere,
            destinationPort,
          },
        );
        if (verdict.allow) continue;
        const by =
          all.find((x) => x.policy.key === verdict.by) ??
          all.find((x) => x.policy.action === 'Allow');
        if (!by) continue;
        const name = `${gateway.namespace}/${gateway.name}`;
        const port = Number(field(list(field(o['spec'], 'ports'))[i], 'port'));
        const text = `it refuses ${principal.slice('spiffe://'.length)}, the waypoint ${name} before service ${o.metadata.name}:${port}`;
        say('AMB0205', by.object, ['spec'], text);
        break;
      }
    }
  }
}
