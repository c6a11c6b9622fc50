// The sandbox's bearer tokens: one admin token for the kubeconfig, and bound service-account tokens
// (ES256 JWTs, sandbox.md D7). Keys live under the sandbox's directory, mode 0600.
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  randomUUID,
  sign,
  timingSafeEqual,
  verify,
} from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TokenClaims, Tokens } from '../contract.ts';
import { at, isRecord, list, type MutableJson, number, record, text } from './json.ts';

/** `iss` of every token, and the audience of tokens that name none. */
export const apiAudience = 'https://kubernetes.default.svc.cluster.local';

const minLifetimeSeconds = 600;
const maxLifetimeSeconds = 24 * 3600;

/** What a valid token says. Whether its pod still lives is for the caller to check. */
export interface VerifiedToken {
  readonly id: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly serviceAccountUid: string;
  readonly audiences: readonly string[];
  readonly pod: { readonly name: string; readonly uid: string } | undefined;
  readonly node: { readonly name: string; readonly uid: string } | undefined;
}

export interface SandboxTokens extends Tokens {
  /** The kubeconfig's token: everything is allowed with it. */
  readonly adminToken: string;
  isAdmin(token: string): boolean;
  /** Undefined for anything not signed here, malformed, or expired. */
  verify(token: string): VerifiedToken | undefined;
  /** JSON Web Key Set with the signing key's public half. */
  keySet(): object;
}

export interface TokenOptions {
  /** Where `service-account.key` and `admin.token` are kept; made if absent. */
  readonly dir: string;
  /** Wall time in milliseconds. Default `Date.now`. */
  readonly now?: () => number;
}

function keep(path: string, make: () => string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const made = make();
  writeFileSync(path, made, { mode: 0o600 });
  return made;
}

function newKey(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
}

const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

function payloadOf(claims: TokenClaims, seconds: number, issuedAt: number): MutableJson {
  const { namespace, serviceAccount, serviceAccountUid, pod, node } = claims;
  return {
    aud: claims.audiences.length > 0 ? claims.audiences : [apiAudience],
    exp: issuedAt + seconds,
    iat: issuedAt,
    nbf: issuedAt,
    iss: apiAudience,
    jti: randomUUID(),
    sub: `system:serviceaccount:${namespace}:${serviceAccount}`,
    'kubernetes.io': {
      namespace,
      serviceaccount: { name: serviceAccount, uid: serviceAccountUid },
      ...(pod ? { pod } : {}),
      ...(node ? { node } : {}),
    },
  };
}

function reference(value: unknown): { name: string; uid: string } | undefined {
  return isRecord(value) ? { name: text(value['name']), uid: text(value['uid']) } : undefined;
}

function parsePart(part: string | undefined): MutableJson {
  try {
    return record(JSON.parse(Buffer.from(part ?? '', 'base64url').toString('utf8')));
  } catch {
    return {};
  }
}

function readToken(
  token: string,
  key: KeyObject,
  keyId: string,
  nowSeconds: number,
): VerifiedToken | undefined {
  const parts = token.split('.');
  if (parts.length !== 3 || token.length > 16_384) return undefined;
  const [head, body, signature] = parts as [string, string, string];
  const header = parsePart(head);
  if (header['alg'] !== 'ES256' || header['kid'] !== keyId) return undefined;
  const bytes = Buffer.from(signature, 'base64url');
  const signed = Buffer.from(`${head}.${body}`);
  if (!verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, bytes)) return undefined;
  const claims = parsePart(body);
  if (claims['iss'] !== apiAudience) return undefined;
  if (
    (number(claims['exp']) ?? 0) <= nowSeconds ||
    (number(claims['nbf']) ?? 0) > nowSeconds + 60
  ) {
    return undefined;
  }
  const own = record(claims['kubernetes.io']);
  return {
    id: text(claims['jti']),
    namespace: text(own['namespace']),
    serviceAccount: text(at(own, 'serviceaccount', 'name')),
    serviceAccountUid: text(at(own, 'serviceaccount', 'uid')),
    audiences: list(claims['aud']).map(text),
    pod: reference(own['pod']),
    node: reference(own['node']),
  };
}

/** Reads or makes the keys in `dir`. */
export function createTokens(options: TokenOptions): SandboxTokens {
  mkdirSync(options.dir, { recursive: true, mode: 0o700 });
  const now = options.now ?? Date.now;
  const privateKey = createPrivateKey(keep(join(options.dir, 'service-account.key'), newKey));
  const publicKey = createPublicKey(privateKey);
  const adminToken = keep(join(options.dir, 'admin.token'), () =>
    randomBytes(32).toString('base64url'),
  ).trim();
  const der = publicKey.export({ type: 'spki', format: 'der' });
  const keyId = createHash('sha256').update(der).digest('base64url');
  const digest = (value: string) => createHash('sha256').update(value).digest();
  return {
    adminToken,
    isAdmin: (token) => timingSafeEqual(digest(token), digest(adminToken)),
    verify: (token) => readToken(token, publicKey, keyId, now() / 1000),
    keySet: () => ({
      keys: [{ ...publicKey.export({ format: 'jwk' }), use: 'sig', kid: keyId, alg: 'ES256' }],
    }),
    issue(claims) {
      const asked = claims.expirationSeconds || 3600;
      const seconds = Math.min(Math.max(asked, minLifetimeSeconds), maxLifetimeSeconds);
      const issuedAt = Math.floor(now() / 1000);
      const signed = `${base64({ alg: 'ES256', kid: keyId, typ: 'JWT' })}.${base64(payloadOf(claims, seconds, issuedAt))}`;
      const key = { key: privateKey, dsaEncoding: 'ieee-p1363' } as const;
      const token = `${signed}.${sign('sha256', Buffer.from(signed), key).toString('base64url')}`;
      return Promise.resolve({ token, expiresAt: new Date((issuedAt + seconds) * 1000) });
    },
  };
}
