// SPIFFE identities: strict parsing (checklist 1.4) and the mesh form td/ns/N/sa/S (S17).
import type { Brand } from '../base/index.ts';

/** A well-formed SPIFFE id with a non-empty path, the whole URI. Compared byte by byte. */
export type SpiffeId = Brand<string, 'SpiffeId'>;

/** The parts policy is written in. */
export interface Identity {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

const inSet = (text: string, extra: (c: string) => boolean): boolean => {
  for (const c of text) {
    const good =
      (c >= 'a' && c <= 'z') ||
      (c >= '0' && c <= '9') ||
      c === '.' ||
      c === '_' ||
      c === '-' ||
      extra(c);
    if (!good) return false;
  }
  return true;
};
const never = (): boolean => false;
const upper = (c: string): boolean => c >= 'A' && c <= 'Z';

export function isTrustDomain(text: string): boolean {
  return text.length > 0 && text.length <= 255 && inSet(text, never);
}

/** Any SPIFFE id with a path; `undefined` for every spelling the checklist refuses. */
export function parseSpiffeId(uri: string): SpiffeId | undefined {
  if (uri.length > 2048 || !uri.startsWith('spiffe://')) return undefined;
  const [trustDomain, ...segments] = uri.slice('spiffe://'.length).split('/');
  if (trustDomain === undefined || !isTrustDomain(trustDomain) || segments.length === 0) {
    return undefined;
  }
  for (const s of segments) {
    if (s === '' || s === '.' || s === '..' || !inSet(s, upper)) return undefined;
  }
  return uri as SpiffeId;
}

export function trustDomainOf(id: SpiffeId): string {
  return id.slice('spiffe://'.length).split('/', 1)[0] ?? '';
}

/** The mesh parts of an id, or `undefined` if its path is not exactly /ns/N/sa/S (S17). */
export function parseIdentity(uri: string): Identity | undefined {
  const id = parseSpiffeId(uri);
  if (!id) return undefined;
  const parts = id.slice('spiffe://'.length).split('/');
  const [trustDomain, ns, namespace, sa, serviceAccount, more] = parts;
  if (ns !== 'ns' || sa !== 'sa' || more !== undefined) return undefined;
  if (!trustDomain || !namespace || !serviceAccount) return undefined;
  return { trustDomain, namespace, serviceAccount };
}

export function printIdentity(i: Identity): SpiffeId {
  return `spiffe://${i.trustDomain}/ns/${i.namespace}/sa/${i.serviceAccount}` as SpiffeId;
}
