// PeerAuthentication → DENY policies for connections without identity (control-plane.md 3.5). Computed
// per workload from the effective modes, so that the two cases in which the reference lets plaintext in
// by mistake cannot arise.
import {
  type Clause,
  emptyMatch,
  type Policy,
  type PolicyKey,
  policyKey,
  type Rule,
} from '../../core/model/index.ts';
import type { ClusterState, Dict, MtlsMode, PeerAuthenticationFacts } from '../cluster/index.ts';
import { selects } from './selector.ts';

export const staticStrictName = 'istio_converted_static_strict';

const noIdentity: Clause = [
  { ...emptyMatch, principals: { any: [], none: [{ kind: 'presence' }] } },
];
const onPort = (port: number): Clause => [
  { ...emptyMatch, destinationPorts: { any: [port], none: [] } },
];
const notOnPort = (port: number): Clause => [
  { ...emptyMatch, destinationPorts: { any: [], none: [port] } },
];

function deny(namespace: string, name: string, rules: readonly Rule[]): Policy {
  return {
    key: policyKey(namespace, name),
    name,
    namespace,
    scope: 'WorkloadSelector',
    action: 'Deny',
    dryRun: false,
    rules,
  };
}

const wide = (p: PeerAuthenticationFacts): boolean => !p.selector || p.selector.size === 0;

function oldest(all: Iterable<PeerAuthenticationFacts>): PeerAuthenticationFacts | undefined {
  let found: PeerAuthenticationFacts | undefined;
  for (const p of all) {
    if (
      !found ||
      p.created < found.created ||
      (p.created === found.created && p.name < found.name)
    ) {
      found = p;
    }
  }
  return found;
}

/** The mode a namespace's workloads inherit, never UNSET or DISABLE. */
function inherited(cluster: ClusterState, namespace: string): 'STRICT' | 'PERMISSIVE' {
  const levels: MtlsMode[] = [];
  if (namespace !== cluster.rootNamespace) {
    const own = [...cluster.peerAuthentications.in(namespace)].filter(wide);
    levels.push(oldest(own)?.mode ?? 'UNSET');
  }
  const mesh = [...cluster.peerAuthentications.in(cluster.rootNamespace)].filter(wide);
  levels.push(oldest(mesh)?.mode ?? 'UNSET');
  return levels.find((m) => m !== 'UNSET') === 'STRICT' ? 'STRICT' : 'PERMISSIVE';
}

const settled = (mode: MtlsMode, parent: 'STRICT' | 'PERMISSIVE'): 'STRICT' | 'PERMISSIVE' =>
  mode === 'UNSET' ? parent : mode === 'STRICT' ? 'STRICT' : 'PERMISSIVE';

/** The policy of one workload-level object, if its ports differ from its mode. */
function convert(p: PeerAuthenticationFacts, parent: 'STRICT' | 'PERMISSIVE'): Policy | undefined {
  const mode = settled(p.mode, parent);
  const ports = [...p.ports]
    .filter(([port, m]) => port > 0 && port < 65536 && settled(m, mode) !== mode)
    .map(([port]) => port)
    .toSorted((a, b) => a - b);
  if (ports.length === 0) return undefined;
  const rules: Rule[] =
    mode === 'STRICT'
      ? [[noIdentity, ...ports.map(notOnPort)]]
      : ports.map((port) => [noIdentity, onPort(port)]);
  return deny(p.namespace, `converted_peer_authentication_${p.name}`, rules);
}

/** Selector objects outside the root namespace; a selector in the root namespace is ignored. */
function workloadLevel(cluster: ClusterState, namespace: string): PeerAuthenticationFacts[] {
  if (namespace === cluster.rootNamespace) return [];
  return [...cluster.peerAuthentications.in(namespace)].filter((p) => !wide(p));
}

/** Every policy that stands for some PeerAuthentication. */
export function peerAuthenticationPolicies(cluster: ClusterState): Policy[] {
  const all = [...cluster.peerAuthentications.all()];
  if (all.length === 0) return [];
  const out = [deny(cluster.rootNamespace, staticStrictName, [[noIdentity]])];
  for (const p of all) {
    if (wide(p) || p.namespace === cluster.rootNamespace) continue;
    const policy = convert(p, inherited(cluster, p.namespace));
    if (policy) out.push(policy);
  }
  return out;
}

/** The policies a workload with these labels must list. */
export function peerAuthenticationKeys(
  cluster: ClusterState,
  namespace: string,
  labels: Dict,
): PolicyKey[] {
  const parent = inherited(cluster, namespace);
  const own = oldest(
    workloadLevel(cluster, namespace).filter((p) => p.selector && selects(p.selector, labels)),
  );
  const converted = own && convert(own, parent);
  if (converted) return [converted.key];
  const strict = settled(own?.mode ?? 'UNSET', parent) === 'STRICT';
  return strict ? [policyKey(cluster.rootNamespace, staticStrictName)] : [];
}
