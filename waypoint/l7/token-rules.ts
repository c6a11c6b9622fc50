// End users' tokens of a request (waypoint-l7.md 7): where they are looked for, whether they hold, what the request
// carries on. One good token is enough; a bad one beside no good one refuses; none at all is for policy to judge.
import type * as wire from '../../core/proto/index.ts';
import { type HeaderList, headerOf } from '../http/exchange.ts';
import { cookieOf } from '../upstream/hash-key.ts';
import {
  audienceKey,
  type Claims,
  claimAt,
  claimsRefusal,
  type Expectation,
  parseToken,
  refusals,
  type Token,
} from './token.ts';
import { TokenKeys } from './token-keys.ts';

/** For whom a request is made, as a checked token says. */
export interface EndUser {
  readonly issuer: string;
  readonly subject: string;
  readonly claims: Claims;
  /** Claims of one text that are lists of words. */
  readonly spaceDelimited: ReadonlySet<string>;
}

/** The parts of a request that may carry tokens. */
interface Carrier {
  readonly method: string;
  /** With its `?`, or empty. */
  readonly query: string;
  readonly headers: HeaderList;
}

interface TokenRule {
  readonly expect: Expectation;
  readonly keys: TokenKeys;
  readonly headers: readonly { readonly name: string; readonly prefix: string }[];
  readonly params: readonly string[];
  readonly cookies: readonly string[];
  readonly forward: boolean;
  readonly payloadHeader: string;
  readonly claimHeaders: readonly { readonly header: string; readonly path: readonly string[] }[];
  readonly spaceDelimited: ReadonlySet<string>;
}

export interface TokenRules {
  readonly rules: readonly TokenRule[];
  /** Headers that only a checked token may set. */
  readonly outputs: ReadonlySet<string>;
}

/** More than this in the places of one rule is not looked at. */
const maxTokens = 8;

export function compileTokenRules(all: readonly wire.L7JwtRule[]): TokenRules | undefined {
  if (all.length === 0) return undefined;
  const rules = all.map((r): TokenRule => {
    const headers = r.fromHeaders.map((h) => ({ name: h.name.toLowerCase(), prefix: h.prefix }));
    const anywhere = headers.length + r.fromParams.length + r.fromCookies.length > 0;
    return {
      expect: { issuer: r.issuer, audiences: new Set(r.audiences.map(audienceKey)) },
      keys: new TokenKeys(r.jwks),
      headers: anywhere ? headers : [{ name: 'authorization', prefix: 'Bearer ' }],
      params: anywhere ? r.fromParams : ['access_token'],
      cookies: r.fromCookies,
      forward: r.forward,
      payloadHeader: r.payloadHeader,
      claimHeaders: r.claimHeaders.map((c) => ({ header: c.header, path: c.claim.split('.') })),
      spaceDelimited: new Set(['scope', 'permission', ...r.spaceDelimited]),
    };
  });
  const outputs = rules.flatMap((r) => [r.payloadHeader, ...r.claimHeaders.map((c) => c.header)]);
  return { rules, outputs: new Set(outputs.filter((n) => n !== '')) };
}

// --- places

interface Found {
  readonly text: string;
  readonly place: 'header' | 'param' | 'cookie';
  readonly name: string;
}

const paramName = (part: string): string => {
  const [first] = new URLSearchParams(part).keys();
  return first ?? '';
};

function* find(r: TokenRule, c: Carrier): IterableIterator<Found> {
  for (const { name, prefix } of r.headers) {
    for (const [n, value] of c.headers) {
      const at = n === name ? value.indexOf(prefix) : -1;
      if (at < 0) continue;
      const rest = value.slice(at + prefix.length);
      // From the first character that a token may have to the end (Envoy 1.28).
      const start = rest.search(/[A-Za-z0-9_.-]/);
      yield { text: start < 0 ? '' : rest.slice(start), place: 'header', name };
    }
  }
  if (c.query.length > 1) {
    const given = new URLSearchParams(c.query.slice(1));
    for (const name of r.params) {
      for (const text of given.getAll(name)) yield { text, place: 'param', name };
    }
  }
  for (const name of r.cookies) {
    const text = cookieOf(c.headers, name);
    if (text !== undefined) yield { text, place: 'cookie', name };
  }
}

/** Cookies stay. */
function strip<C extends Carrier>(c: C, { place, name }: Found): C {
  if (place === 'header') return { ...c, headers: c.headers.filter(([n]) => n !== name) };
  if (place === 'cookie') return c;
  const left = c.query
    .slice(1)
    .split('&')
    .filter((p) => paramName(p) !== name);
  return { ...c, query: left.length > 0 ? `?${left.join('&')}` : '' };
}

// --- judgement

type Checked =
  | { readonly kind: 'missing' }
  | { readonly kind: 'good'; readonly token: Token; readonly found: readonly Found[] }
  | { readonly kind: 'bad'; readonly refusal: string; readonly found: readonly Found[] };

/** All tokens in the places of a rule must hold. */
async function check(r: TokenRule, c: Carrier, nowMs: number): Promise<Checked> {
  const found: Found[] = [];
  for (const f of find(r, c)) {
    found.push(f);
    if (found.length > maxTokens) return { kind: 'bad', refusal: refusals.form, found };
  }
  let good: Token | undefined;
  for (const { text } of found) {
    const token = parseToken(text);
    const refusal =
      'refused' in token
        ? token.refused
        : (claimsRefusal(token, r.expect, nowMs) ?? (await r.keys.refusal(text, token)));
    if (refusal !== undefined || 'refused' in token)
      return { kind: 'bad', refusal: refusal ?? refusals.form, found };
    good ??= token;
  }
  return good ? { kind: 'good', token: good, found } : { kind: 'missing' };
}

const isPreflight = (c: Carrier): boolean =>
  c.method === 'OPTIONS' &&
  headerOf(c.headers, 'origin') !== undefined &&
  headerOf(c.headers, 'access-control-request-method') !== undefined;

/** Text of a claim as a header's value; what cannot stand in a header is left out. */
function claimHeader(v: unknown): string | undefined {
  if (typeof v !== 'string' && typeof v !== 'number' && typeof v !== 'boolean') return undefined;
  const text = Buffer.from(String(v), 'utf8').toString('latin1');
  return /^[\x20-\x7e\x80-\xff]*$/.test(text) ? text : undefined;
}

function outputs(r: TokenRule, t: Token): HeaderList {
  const out: [string, string][] = [];
  if (r.payloadHeader !== '') out.push([r.payloadHeader, t.payload]);
  for (const { header, path } of r.claimHeaders) {
    const value = claimHeader(claimAt(t.claims, path));
    if (value !== undefined) out.push([header, value]);
  }
  return out;
}

export type Authenticated<C> =
  | { readonly ok: true; readonly carrier: C; readonly user: EndUser | undefined }
  | { readonly ok: false; readonly refusal: string };

/** What the request is as all that follows sees it: tokens away, claims in headers, who asks. */
export async function authenticate<C extends Carrier>(
  { rules, outputs: reserved }: TokenRules,
  given: C,
  nowMs: number,
): Promise<Authenticated<C>> {
  const headers = given.headers.filter(([n]) => !reserved.has(n));
  let carrier: C = { ...given, headers };
  if (isPreflight(given)) return { ok: true, carrier, user: undefined };
  const checked = await Promise.all(rules.map((r) => check(r, carrier, nowMs)));
  const anyGood = checked.some((c) => c.kind === 'good');
  const bad = checked.filter((c) => c.kind === 'bad').map((c) => c.refusal);
  if (!anyGood && bad.length > 0) {
    // A rule for another issuer has the least to say.
    const told = bad.findLast((t) => t !== refusals.issuer) ?? refusals.issuer;
    return { ok: false, refusal: told };
  }
  const vouched = new Set(
    checked.flatMap((c) => (c.kind === 'good' ? c.found.map((f) => f.text) : [])),
  );
  let user: EndUser | undefined;
  const made: (readonly [string, string])[] = [];
  for (const [i, c] of checked.entries()) {
    const rule = rules[i];
    if (!rule || c.kind === 'missing') continue;
    for (const f of c.found) {
      // A token that another rule vouches for is that rule's to keep or take away.
      if (!rule.forward && (c.kind === 'good' || !vouched.has(f.text))) carrier = strip(carrier, f);
    }
    if (c.kind !== 'good') continue;
    const { issuer, subject, claims } = c.token;
    user ??= { issuer, subject, claims, spaceDelimited: rule.spaceDelimited };
    made.push(...outputs(rule, c.token));
  }
  if (made.length === 0) return { ok: true, carrier, user };
  const set = new Map(made);
  return { ok: true, carrier: { ...carrier, headers: [...carrier.headers, ...set] }, user };
}
