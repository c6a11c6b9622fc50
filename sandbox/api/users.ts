// Who is calling: token → user, with the liveness of what the token is bound to.
import type { SandboxStore } from '../store/index.ts';
import { apiAudience, type SandboxTokens, type VerifiedToken } from './tokens.ts';

export interface User {
  readonly username: string;
  readonly uid: string;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

const admin: User = {
  username: 'sandbox-admin',
  uid: 'sandbox-admin',
  groups: ['system:masters', 'system:authenticated'],
  extra: {},
};

export interface Reviewed {
  readonly user: User;
  readonly audiences: readonly string[];
}

function boundLives(store: SandboxStore, token: VerifiedToken): boolean {
  const account = store.get('v1/serviceaccounts', token.namespace, token.serviceAccount);
  if (!account || account.metadata.uid !== token.serviceAccountUid) return false;
  if (!token.pod) return true;
  return store.get('v1/pods', token.namespace, token.pod.name)?.metadata.uid === token.pod.uid;
}

function accountUser(token: VerifiedToken): User {
  const key = (name: string) => `authentication.kubernetes.io/${name}`;
  return {
    username: `system:serviceaccount:${token.namespace}:${token.serviceAccount}`,
    uid: token.serviceAccountUid,
    groups: [
      'system:serviceaccounts',
      `system:serviceaccounts:${token.namespace}`,
      'system:authenticated',
    ],
    extra: {
      [key('credential-id')]: [`JTI=${token.id}`],
      ...(token.pod
        ? { [key('pod-name')]: [token.pod.name], [key('pod-uid')]: [token.pod.uid] }
        : {}),
      ...(token.node
        ? { [key('node-name')]: [token.node.name], [key('node-uid')]: [token.node.uid] }
        : {}),
    },
  };
}

/** TokenReview's question. No `audiences` = the API's own. Undefined = not authenticated. */
export function reviewToken(
  store: SandboxStore,
  tokens: SandboxTokens,
  token: string,
  audiences: readonly string[],
): Reviewed | undefined {
  const wanted = audiences.length > 0 ? audiences : [apiAudience];
  if (tokens.isAdmin(token)) return { user: admin, audiences: wanted };
  const verified = tokens.verify(token);
  if (!verified || !boundLives(store, verified)) return undefined;
  const common = wanted.filter((a) => verified.audiences.includes(a));
  return common.length > 0 ? { user: accountUser(verified), audiences: common } : undefined;
}

/** The caller behind an `Authorization` header. */
export function callerOf(
  store: SandboxStore,
  tokens: SandboxTokens,
  authorization: string | undefined,
): User | undefined {
  const token = /^Bearer\s+(\S+)$/i.exec(authorization ?? '')?.[1];
  return token === undefined ? undefined : reviewToken(store, tokens, token, [])?.user;
}
