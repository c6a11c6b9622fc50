// RequestAuthentication with targetRefs → what a waypoint checks tokens by (waypoint-l7.md 7). Keys go with the rules;
// a rule that cannot be read, or whose keys cannot be had, refuses the tokens of its issuer.
import type { KubeObject } from '../../core/kube/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import {
  type Condition,
  field,
  list,
  type Meta,
  readConditions,
  readMeta,
  readTargets,
  type ServiceFacts,
  text,
  texts,
} from '../cluster/index.ts';
import type { KeyAnswer, KeySource } from '../keys/key-sets.ts';
import { readKeySet } from '../keys/key-set.ts';
import type { World } from './binding.ts';
import { ms } from './hosts.ts';
import { authenticationsFor, type TargetRef } from './targets.ts';

export interface JwtRuleFacts {
  readonly issuer: string;
  readonly audiences: readonly string[];
  readonly keys: { readonly inline: string } | { readonly source: KeySource };
  readonly fromHeaders: readonly { readonly name: string; readonly prefix: string }[];
  readonly fromParams: readonly string[];
  readonly fromCookies: readonly string[];
  readonly forward: boolean;
  readonly payloadHeader: string;
  readonly claimHeaders: readonly { readonly header: string; readonly claim: string }[];
  readonly spaceDelimited: readonly string[];
  /** What of it cannot be read; then its tokens are refused. */
  readonly faults: readonly string[];
}

export interface RequestAuthenticationFacts extends Meta {
  readonly targetRefs: readonly TargetRef[];
  readonly rules: readonly JwtRuleFacts[];
  readonly conditions: readonly Condition[];
}

const defaultTimeoutMs = 5_000;
const maxTimeoutMs = 60_000;
const token = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
const reserved = new Set(['host', 'connection', 'content-length', 'te', 'upgrade', 'cookie']);

/** Header names in lower case; what must not be set from a claim is a fault. */
function headerName(v: unknown, faults: string[], output: boolean): string {
  const name = text(v).toLowerCase();
  const bad = !token.test(name) || (output && (reserved.has(name) || name === 'transfer-encoding'));
  if (bad) faults.push(`header ${JSON.stringify(name.slice(0, 60))}`);
  return name;
}

function keysOf(r: unknown, issuer: string, faults: string[]): JwtRuleFacts['keys'] {
  const inline = text(field(r, 'jwks'));
  const uri = text(field(r, 'jwksUri')) || text(field(r, 'jwks_uri'));
  if (inline !== '' && uri !== '') faults.push('jwks and jwksUri exclude each other');
  if (inline !== '') {
    const read = readKeySet(inline);
    if ('fault' in read) faults.push(`jwks: ${read.fault}`);
    return { inline: 'keys' in read ? read.keys : '' };
  }
  const timeoutMs = Math.min(ms(field(r, 'timeout')) || defaultTimeoutMs, maxTimeoutMs);
  const url = uri || issuer;
  if (!/^https?:\/\//i.test(url))
    faults.push(uri === '' ? 'no jwks, no jwksUri, and the issuer is no URL' : 'jwksUri is no URL');
  return { source: { kind: uri === '' ? 'issuer' : 'jwks', url, timeoutMs } };
}

function readRule(r: unknown): JwtRuleFacts {
  const faults: string[] = [];
  const issuer = text(field(r, 'issuer'));
  if (issuer === '') faults.push('issuer is missing');
  const output = field(r, 'outputPayloadToHeader');
  return {
    issuer,
    audiences: texts(field(r, 'audiences')),
    keys: keysOf(r, issuer, faults),
    fromHeaders: list(field(r, 'fromHeaders')).map((h) => ({
      name: headerName(field(h, 'name'), faults, false),
      prefix: text(field(h, 'prefix')),
    })),
    fromParams: texts(field(r, 'fromParams')),
    fromCookies: texts(field(r, 'fromCookies')),
    forward: field(r, 'forwardOriginalToken') === true,
    payloadHeader: output === undefined ? '' : headerName(output, faults, true),
    claimHeaders: list(field(r, 'outputClaimToHeaders')).map((c) => ({
      header: headerName(field(c, 'header'), faults, true),
      claim: text(field(c, 'claim')),
    })),
    spaceDelimited: texts(field(r, 'spaceDelimitedClaims')).slice(0, 64),
    faults,
  };
}

export function readRequestAuthentication(o: KubeObject): RequestAuthenticationFacts {
  const spec = o['spec'];
  return {
    ...readMeta(o.metadata),
    targetRefs: readTargets(spec),
    rules: list(field(spec, 'jwtRules')).map(readRule),
    conditions: readConditions(o),
  };
}

/** Key sets that must be fetched for these. */
export function* keySources(
  all: Iterable<RequestAuthenticationFacts>,
): IterableIterator<KeySource> {
  for (const p of all) {
    if (p.targetRefs.length === 0) continue;
    for (const r of p.rules) if ('source' in r.keys && r.faults.length === 0) yield r.keys.source;
  }
}

const noKeys: KeyAnswer = { fault: 'nobody fetches keys here' };

/** Keys of a rule, with why there are none. */
export function keysFor(world: World, r: JwtRuleFacts): KeyAnswer {
  if (r.faults.length > 0) return { fault: r.faults.join(', ') };
  if ('inline' in r.keys) return { keys: r.keys.inline };
  return world.keys?.(r.keys.source) ?? noKeys;
}

/** Sorted by issuer; equal issuers stay apart (7.1). */
export function jwtRules(
  world: World,
  service: ServiceFacts | undefined,
  gateway: string,
): Draft<wire.L7JwtRule>[] {
  const all = authenticationsFor(world, service, gateway).flatMap((p) =>
    p.rules.map((r) => ({ policy: `${p.namespace}/${p.name}`, r })),
  );
  const order = (x: (typeof all)[number]): string => `${x.r.issuer}\0${x.policy}`;
  return all
    .toSorted((a, b) => (order(a) < order(b) ? -1 : order(a) > order(b) ? 1 : 0))
    .map(({ policy, r }) => ({
      policy,
      issuer: r.issuer,
      audiences: r.audiences,
      jwks: keysFor(world, r).keys ?? '',
      fromHeaders: r.fromHeaders,
      fromParams: r.fromParams,
      fromCookies: r.fromCookies,
      forward: r.forward,
      payloadHeader: r.payloadHeader,
      claimHeaders: r.claimHeaders,
      spaceDelimited: r.spaceDelimited,
    }));
}
