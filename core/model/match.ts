// String, CIDR and account matchers shared by every place that evaluates policy (ztunnel-protocol.md 5.4).
import { type Cidr, cidrContains } from '../base/index.ts';
import type { Pair, ServiceAccountMatch, StringMatch } from './policy.ts';
import type { Identity } from './identity.ts';

export function matchString(m: StringMatch, text: string): boolean {
  switch (m.kind) {
    case 'exact':
      return text === m.text;
    case 'prefix':
      return text.startsWith(m.text);
    case 'suffix':
      return text.endsWith(m.text);
    case 'presence':
      return text !== '';
  }
}

/** A positive list needs a hit or must be empty; a negated list must have none. */
export function matchPair<T>(pair: Pair<T>, hit: (value: T) => boolean): boolean {
  return (pair.any.length === 0 || pair.any.some(hit)) && !pair.none.some(hit);
}

export const matchCidr =
  (address: Uint8Array) =>
  (cidr: Cidr): boolean =>
    cidrContains(cidr, address);

/** Trust domain ignored. */
export const matchAccount =
  (identity: Identity | undefined) =>
  (m: ServiceAccountMatch): boolean =>
    identity?.namespace === m.namespace && identity.serviceAccount === m.serviceAccount;
