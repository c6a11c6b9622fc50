// Whether the accounts that a policy names exist: one that does not matches nobody, and its author should hear so.
import { parseIdentity } from '../../core/model/index.ts';
import type { AuthorizationPolicyFacts, ClusterState, Texts } from '../cluster/index.ts';
import type { PolicyStatus } from './policies.ts';

const shown = 5;

/** `namespace/account` of those that are named exactly, in our trust domain, and are not there. */
export function missingAccounts(
  cluster: ClusterState,
  p: AuthorizationPolicyFacts,
  trustDomain: string,
): string[] {
  // Not one account: they are not watched here, so nothing is known.
  if (cluster.serviceAccounts.all().next().done === true) return [];
  const out = new Set<string>();
  const look = (namespace: string, account: string): void => {
    if (!cluster.serviceAccounts.get(namespace, account)) out.add(`${namespace}/${account}`);
  };
  const principals = ({ any, none }: Texts): void => {
    for (const text of [...any, ...none]) {
      const id = text.includes('*') ? undefined : parseIdentity(`spiffe://${text}`);
      if (id?.trustDomain === trustDomain) look(id.namespace, id.serviceAccount);
    }
  };
  for (const rule of p.rules) {
    for (const source of rule.from) {
      principals(source.principals);
      for (const text of [...source.serviceAccounts.any, ...source.serviceAccounts.none]) {
        const [a = '', b, more] = text.split('/');
        if (more !== undefined || a === '' || b === '') continue;
        if (b === undefined) look(p.namespace, a);
        else look(a, b);
      }
    }
    for (const w of rule.when) if (w.key === 'source.principal') principals(w.values);
  }
  return [...out].toSorted();
}

/** The policy is enforced all the same: status and reason stay. */
export function withMissing(status: PolicyStatus, missing: readonly string[]): PolicyStatus {
  if (missing.length === 0) return status;
  const more = missing.length > shown ? ` and ${missing.length - shown} more` : '';
  const names = `${missing.slice(0, shown).join(', ')}${more}`;
  const message = `${status.message.replace(/\.$/, '')}; accounts that do not exist: ${names}`;
  return { ...status, message };
}
