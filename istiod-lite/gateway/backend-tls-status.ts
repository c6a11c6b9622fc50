// What the status of a BackendTLSPolicy says, per Gateway that sends by it: accepted, its references found, or what stands
// before it (Gateway API; waypoint-l7.md 11). Pure; no change = `undefined`.
import {
  type BackendTlsFacts,
  backendTlsPolicies,
  policyFault,
  type TlsFault,
} from './backend-tls.ts';
import type { World } from './binding.ts';
import { no, type Wanted, yes } from './conditions.ts';
import { ancestorStatus, type Senders, shownTarget } from './policy-ancestors.ts';
import { placesOf, type PolicyTarget } from './policy-targets.ts';

function acceptedFor(
  world: World,
  p: BackendTlsFacts,
  t: PolicyTarget,
  fault: TlsFault | undefined,
): Wanted {
  const shown = shownTarget(p.namespace, t);
  if (!placesOf(world, p.namespace, t)) {
    return no('Accepted', 'TargetNotFound', `${shown} was not found`);
  }
  const older = backendTlsPolicies.older(world, p, t);
  if (older) {
    const by = `BackendTLSPolicy ${older.namespace}/${older.name}`;
    return no('Accepted', 'Conflicted', `${by} holds for ${shown}`);
  }
  if (!fault) return yes('Accepted', 'Accepted', 'Policy was valid');
  return no('Accepted', fault.reason, `${fault.message}: nothing is sent to ${shown}`);
}

function refsCondition(p: BackendTlsFacts, fault: TlsFault | undefined): Wanted {
  if (fault?.refs) return no('ResolvedRefs', fault.refs, fault.message);
  const more = p.caRefs.length > 1 ? ': only the first of caCertificateRefs is read' : '';
  return yes('ResolvedRefs', 'ResolvedRefs', `All references resolved${more}`);
}

export function backendTlsStatus(
  world: World,
  p: BackendTlsFacts,
  senders: Senders,
  now: string,
): object | undefined {
  const fault = policyFault(world, p);
  const accepted = (t: PolicyTarget): Wanted => acceptedFor(world, p, t, fault);
  return ancestorStatus(world, p, senders, accepted, [refsCondition(p, fault)], now);
}
