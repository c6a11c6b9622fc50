// A token of an end user, taken apart (waypoint-l7.md 7.2; RFC 7519): what it says, and the exact words for what is
// wrong with its form. Nothing here proves anything: signatures are checked in token-keys.ts.

export type Claims = Readonly<Record<string, unknown>>;

export interface Token {
  readonly alg: string;
  readonly kid: string | undefined;
  readonly issuer: string;
  readonly subject: string;
  readonly audiences: readonly string[];
  /** Seconds since the epoch; absent = no limit. */
  readonly notBefore: number | undefined;
  readonly expires: number | undefined;
  readonly claims: Claims;
  /** The middle part, as it came. */
  readonly payload: string;
  readonly signatureBytes: number;
}

/** Texts that callers are told, and that tests hold (waypoint-l7.md 7.2). */
export const refusals = {
  form: 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections',
  headerCoding: 'Jwt header is an invalid Base64url encoded',
  headerJson: 'Jwt header is an invalid JSON',
  algMissing: 'Jwt header [alg] field is required and must be a string',
  algUnknown: 'Jwt header [alg] is not supported',
  kid: 'Jwt header [kid] field is not a string',
  payloadCoding: 'Jwt payload is an invalid Base64url encoded',
  payloadJson: 'Jwt payload is an invalid JSON',
  audience: 'Jwt payload [aud] field is not a string or string list',
  signatureCoding: 'Jwt signature is an invalid Base64url encoded',
  issuer: 'Jwt issuer is not configured',
  early: 'Jwt not yet valid',
  expired: 'Jwt is expired',
  audienceNotAllowed: 'Audiences in Jwt are not allowed',
  noKey: "Jwks doesn't have key to match kid or alg from Jwt",
  noKeys: "Jwks doesn't have any valid public key",
  notFetched: 'Jwks remote fetch is failed',
  ed25519: 'Jwt ED25519 signature is wrong length',
  verification: 'Jwt verification fails',
} as const;

/** Signature algorithms that are known; `none` never is. */
export const algorithms: ReadonlySet<string> = new Set(
  ['ES', 'HS', 'RS', 'PS'].flatMap((f) => ['256', '384', '512'].map((n) => f + n)).concat('EdDSA'),
);

const skewSeconds = 60;
/** Objects and lists inside each other. */
const maxDepth = 32;

class Refused extends Error {}

function refuse(text: string): never {
  throw new Refused(text);
}

/** Unpadded, canonical: one text for one sequence of bytes. */
function bytesOf(part: string, text: string): Buffer {
  if (!/^[A-Za-z0-9_-]*$/.test(part)) refuse(text);
  const bytes = Buffer.from(part, 'base64url');
  if (bytes.toString('base64url') !== part) refuse(text);
  return bytes;
}

/**
 * Whether no object names a member twice and nothing is nested too deeply: `JSON.parse` takes the last of two
 * members, another reader the first. `json` is known to be JSON.
 */
function isPlain(json: string): boolean {
  const open: (Set<string> | undefined)[] = [];
  const pattern = /"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/gs;
  for (const [found, colon] of json.matchAll(pattern)) {
    if (found === '{' || found === '[') {
      if (open.push(found === '{' ? new Set() : undefined) > maxDepth) return false;
    } else if (found === '}' || found === ']') open.pop();
    else if (colon !== undefined) {
      const name = JSON.parse(found.slice(0, found.lastIndexOf('"') + 1)) as string;
      const names = open.at(-1);
      if (names?.has(name)) return false;
      names?.add(name);
    }
  }
  return true;
}

function objectOf(bytes: Buffer, text: string): Claims {
  try {
    const json = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    const value: unknown = JSON.parse(json);
    if (typeof value === 'object' && value !== null && !Array.isArray(value) && isPlain(json))
      return value as Claims;
  } catch {
    // Not UTF-8, or not JSON: said below.
  }
  return refuse(text);
}

const own = (o: Claims, name: string): unknown => (Object.hasOwn(o, name) ? o[name] : undefined);

function textClaim(claims: Claims, name: string): string {
  const v = own(claims, name);
  if (v === undefined) return '';
  return typeof v === 'string' ? v : refuse(`Jwt payload [${name}] field is not a string`);
}

function timeClaim(claims: Claims, name: string): number | undefined {
  const v = own(claims, name);
  if (v === undefined) return undefined;
  if (typeof v !== 'number' || !Number.isInteger(v))
    return refuse(`Jwt payload [${name}] field is not an integer`);
  if (v < 0 || v >= 2 ** 63)
    return refuse(`Jwt payload [${name}] field is not a positive 64 bit integer`);
  return v;
}

function audienceClaim(claims: Claims): readonly string[] {
  const v = own(claims, 'aud');
  if (v === undefined) return [];
  const all: unknown[] = Array.isArray(v) ? v : [v];
  return all.every((a) => typeof a === 'string') ? all : refuse(refusals.audience);
}

function read(text: string): Token {
  const parts = text.split('.', 4);
  const [head = '', payload = '', signature = ''] = parts;
  if (parts.length !== 3 || head === '' || payload === '') refuse(refusals.form);
  const header = objectOf(bytesOf(head, refusals.headerCoding), refusals.headerJson);
  const alg = own(header, 'alg');
  if (typeof alg !== 'string') return refuse(refusals.algMissing);
  if (!algorithms.has(alg)) refuse(refusals.algUnknown);
  const kid = own(header, 'kid');
  if (kid !== undefined && typeof kid !== 'string') return refuse(refusals.kid);
  const claims = objectOf(bytesOf(payload, refusals.payloadCoding), refusals.payloadJson);
  const token = {
    alg,
    kid,
    issuer: textClaim(claims, 'iss'),
    subject: textClaim(claims, 'sub'),
    expires: timeClaim(claims, 'exp'),
    notBefore: timeClaim(claims, 'nbf'),
    audiences: audienceClaim(claims),
    claims,
    payload,
  };
  timeClaim(claims, 'iat');
  textClaim(claims, 'jti');
  const signatureBytes = bytesOf(signature, refusals.signatureCoding).length;
  // A header that must be understood and is not (RFC 7515 4.1.11): we understand none.
  if (own(header, 'crit') !== undefined) refuse(refusals.verification);
  return { ...token, signatureBytes };
}

/** The token, or why it is none. */
export function parseToken(text: string): Token | { readonly refused: string } {
  try {
    return read(text);
  } catch (error) {
    if (error instanceof Refused) return { refused: error.message };
    throw error;
  }
}

/** Audiences are often hosts: scheme and a slash at the end do not count. */
export const audienceKey = (s: string): string => s.replace(/^https?:\/\//, '').replace(/\/$/, '');

export interface Expectation {
  readonly issuer: string;
  /** As `audienceKey` makes them; empty = any. */
  readonly audiences: ReadonlySet<string>;
}

/** What is wrong with a token's claims at `nowMs`, before its signature is looked at; `undefined` = nothing. */
export function claimsRefusal(t: Token, e: Expectation, nowMs: number): string | undefined {
  const now = Math.floor(nowMs / 1000);
  if (t.issuer === '' || t.issuer !== e.issuer) return refusals.issuer;
  if (t.notBefore !== undefined && now + skewSeconds < t.notBefore) return refusals.early;
  if (t.expires !== undefined && now > t.expires + skewSeconds) return refusals.expired;
  if (e.audiences.size === 0 || t.audiences.some((a) => e.audiences.has(audienceKey(a))))
    return undefined;
  return refusals.audienceNotAllowed;
}

/** Only the audience is a matter of permission. */
export const statusOf = (refusal: string): number =>
  refusal === refusals.audienceNotAllowed ? 403 : 401;

/** The claim at `path`, or nothing; only an object's own members count. */
export function claimAt(claims: Claims, path: readonly string[]): unknown {
  let at: unknown = claims;
  for (const name of path) {
    if (typeof at !== 'object' || at === null || Array.isArray(at)) return undefined;
    at = own(at as Claims, name);
  }
  return at;
}

/** Texts to compare: a text, or each text of a list; `split` = words of a text, too. */
export function claimTexts(value: unknown, split: boolean): readonly string[] {
  if (typeof value === 'string')
    return split ? [value, ...value.split(' ').filter((w) => w !== '' && w !== value)] : [value];
  return Array.isArray(value) ? value.filter((v) => typeof v === 'string') : [];
}
