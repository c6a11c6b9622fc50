// May this caller have that identity? Its own always; another's only as the node proxy of a node on which
// a pod with that account runs (control-plane.md 5.3). Pure: decided on cluster state, not on the request.
import {
  type Identity,
  parseIdentity,
  printIdentity,
  type SpiffeId,
} from '../../core/model/index.ts';
import type { ClusterState } from '../cluster/index.ts';
import type { CallerIdentity } from '../kube/token-review.ts';

export interface CaRules {
  readonly trustDomain: string;
  /** Other names of the mesh's trust domain, for which identities may be asked too. */
  readonly trustDomainAliases: readonly string[];
  readonly trustedNodeAccounts: readonly string[];
}

export type CaDecision =
  | { readonly allow: true; readonly identity: SpiffeId; readonly impersonated: boolean }
  /** `why` is for our log, never for the caller (K1). */
  | { readonly allow: false; readonly why: string };

const no = (why: string): CaDecision => ({ allow: false, why });

export function decideIdentity(
  cluster: ClusterState,
  caller: CallerIdentity,
  impersonated: string | undefined,
  rules: CaRules,
): CaDecision {
  if (impersonated === undefined) {
    const { namespace, serviceAccount } = caller;
    const own: Identity = { trustDomain: rules.trustDomain, namespace, serviceAccount };
    return { allow: true, identity: printIdentity(own), impersonated: false };
  }
  const account = `${caller.namespace}/${caller.serviceAccount}`;
  if (!rules.trustedNodeAccounts.includes(account))
    return no(`${account} is no trusted node account`);
  const wanted = parseIdentity(impersonated);
  if (!wanted) return no('the requested identity is malformed');
  const { trustDomain, trustDomainAliases } = rules;
  if (wanted.trustDomain !== trustDomain && !trustDomainAliases.includes(wanted.trustDomain))
    return no('the requested trust domain is not ours');
  const pod = cluster.pods.get(caller.namespace, caller.podName);
  if (!pod) return no(`the calling pod ${caller.namespace}/${caller.podName} is unknown`);
  if (pod.uid !== caller.podUid) return no('the calling pod’s UID is not the token’s');
  if (pod.serviceAccount !== caller.serviceAccount)
    return no('the calling pod has another account');
  const runs = cluster
    .podsOnNode(pod.node)
    .some(
      (p) =>
        p.namespace === wanted.namespace &&
        p.serviceAccount === wanted.serviceAccount &&
        p.phase !== 'Failed' &&
        p.phase !== 'Succeeded',
    );
  if (!runs)
    return no(`no pod of ${wanted.namespace}/${wanted.serviceAccount} runs on node ${pod.node}`);
  return { allow: true, identity: printIdentity(wanted), impersonated: true };
}
