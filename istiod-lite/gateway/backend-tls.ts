// BackendTLSPolicy → how a gateway or waypoint speaks to the pods or servers behind a Service or ServiceEntry
// (Gateway API v1; waypoint-l7.md 5.1, 11). It fills what a DestinationRule leaves unset. What was asked for and cannot
// be had is sent as a fault: nothing is sent without it.
import { X509Certificate } from 'node:crypto';
import type { KubeObject } from '../../core/kube/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { dict, field, list, type ObjectKey, readMeta, text } from '../cluster/index.ts';
import type { World } from './binding.ts';
import type { Destination } from './destination-rules.ts';
import type { ObjectRef } from './objects.ts';
import type { WithAncestors } from './policy-ancestors.ts';
import { policies, readPolicyTargets } from './policy-targets.ts';

export interface BackendTlsFacts extends WithAncestors {
  /** In lower case. */
  readonly hostname: string;
  readonly caRefs: readonly ObjectRef[];
  /** `wellKnownCACertificates`; empty = not given. */
  readonly wellKnown: string;
  /** Names and URIs. */
  readonly subjectAltNames: readonly string[];
  /** What cannot be read or is not understood. */
  readonly faults: readonly string[];
}

/** Certificates of a ConfigMap, key `ca.crt`. */
export interface RootsFacts {
  /** PEM. */
  readonly roots: string;
  readonly fault: string | undefined;
}

const isDnsName = (name: string): boolean =>
  name.length <= 253 &&
  name.split('.').every((l) => /^[a-z0-9][-a-z0-9]{0,62}$/.test(l) && !l.endsWith('-'));

/** A name or URI, or what is wrong with it. */
function readAltName(v: unknown): { readonly name: string } | { readonly fault: string } {
  const type = text(field(v, 'type'));
  if (type === 'Hostname') {
    const name = text(field(v, 'hostname')).toLowerCase();
    const fine = isDnsName(name.replace(/^\*\./, ''));
    return fine ? { name } : { fault: 'subjectAltNames: hostname is no DNS name' };
  }
  if (type === 'URI') {
    const name = text(field(v, 'uri'));
    const fine = /^[a-z][a-z0-9+.-]*:\S+$/i.test(name);
    return fine ? { name } : { fault: 'subjectAltNames: uri is no absolute URI' };
  }
  return { fault: 'subjectAltNames: type is neither Hostname nor URI' };
}

function readRef(r: unknown, namespace: string): ObjectRef {
  const [group, kind] = [text(field(r, 'group')), text(field(r, 'kind'))];
  return { group, kind, name: text(field(r, 'name')), namespace };
}

export function readBackendTlsPolicy(o: KubeObject): BackendTlsFacts {
  const meta = readMeta(o.metadata);
  const { spec } = o;
  const validation = field(spec, 'validation');
  const hostname = text(field(validation, 'hostname')).toLowerCase();
  const caRefs = list(field(validation, 'caCertificateRefs')).map((r) =>
    readRef(r, meta.namespace),
  );
  const wellKnown = text(field(validation, 'wellKnownCACertificates'));
  const names = list(field(validation, 'subjectAltNames')).map(readAltName);
  const [option] = dict(field(spec, 'options')).keys();
  const faults = [
    isDnsName(hostname) ? '' : 'validation.hostname is no DNS name',
    caRefs.length > 0 && wellKnown !== ''
      ? 'validation has both caCertificateRefs and wellKnownCACertificates'
      : '',
    wellKnown === '' || wellKnown === 'System'
      ? ''
      : 'wellKnownCACertificates may only be "System"',
    ...names.map((n) => ('fault' in n ? n.fault : '')),
    option === undefined ? '' : `options: "${option.slice(0, 60)}" is not supported`,
  ].filter((f) => f !== '');
  return {
    ...meta,
    targets: readPolicyTargets(spec),
    hostname,
    caRefs,
    wellKnown,
    subjectAltNames: names.flatMap((n) => ('name' in n ? [n.name] : [])),
    faults,
    statusAncestors: list(field(o['status'], 'ancestors')),
  };
}

const blocks = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

export function readRoots(o: KubeObject): RootsFacts {
  const roots = dict(o['data']).get('ca.crt') ?? '';
  if (roots === '') return { roots, fault: 'it has no key ca.crt' };
  const bad = { roots: '', fault: 'ca.crt is no PEM certificate' };
  const found = roots.match(blocks);
  if (!found) return bad;
  try {
    const whole = found.every((pem) => new X509Certificate(pem).raw.length > 0);
    return whole ? { roots: found.join('\n'), fault: undefined } : bad;
  } catch {
    return bad;
  }
}

const isConfigMap = (r: ObjectRef): boolean =>
  (r.group === '' || r.group === 'core') && r.kind === 'ConfigMap';

/** `namespace/name` of the ConfigMap that a policy's certificates are in: of the first reference. */
export function rootsKey(p: BackendTlsFacts): ObjectKey | undefined {
  const [ref] = p.caRefs;
  return ref && isConfigMap(ref) ? `${p.namespace}/${ref.name}` : undefined;
}

/** What is wrong with a policy itself, whatever it is for. */
export interface TlsFault {
  /** Of condition Accepted. */
  readonly reason: 'Invalid' | 'NoValidCACertificate';
  readonly message: string;
  /** Of condition ResolvedRefs; absent = it is true. */
  readonly refs?: 'InvalidCACertificateRef' | 'InvalidKind';
}

type Roots = { readonly roots: string } | { readonly fault: TlsFault };

function rootsOf(world: World, p: BackendTlsFacts): Roots {
  const [ref] = p.caRefs;
  const missing = (message: string, refs?: TlsFault['refs']): Roots => ({
    fault: { reason: 'NoValidCACertificate', message, ...(refs && { refs }) },
  });
  if (!ref) {
    return p.wellKnown === 'System'
      ? { roots: '' }
      : missing('neither caCertificateRefs nor wellKnownCACertificates');
  }
  const key = rootsKey(p);
  if (key === undefined) {
    const shown = `${ref.group || 'core'}/${ref.kind}`;
    return missing(
      `caCertificateRefs: ${shown} is not supported, only ConfigMap is`,
      'InvalidKind',
    );
  }
  const bad = (what: string): Roots =>
    missing(`ConfigMap ${key}: ${what}`, 'InvalidCACertificateRef');
  if (!world.gateways.roots.has(key)) return bad('not read yet');
  const found = world.gateways.roots.get(key);
  if (!found) return bad('it does not exist');
  return found.fault === undefined ? { roots: found.roots } : bad(found.fault);
}

export function policyFault(world: World, p: BackendTlsFacts): TlsFault | undefined {
  const found = rootsOf(world, p);
  if (p.faults.length > 0) {
    const refs = 'fault' in found && found.fault.refs ? { refs: found.fault.refs } : {};
    return { reason: 'Invalid', message: p.faults.slice(0, 8).join('; '), ...refs };
  }
  return 'fault' in found ? found.fault : undefined;
}

export const backendTlsPolicies = policies((world) => world.gateways.backendTls.values());

/** Absent = no policy says anything. */
export function backendTls(
  world: World,
  d: Destination,
): { readonly tls?: Draft<wire.L7OutsideTls> } {
  if (world.gateways.backendTls.size === 0) return {};
  const p = backendTlsPolicies.at(world, d);
  if (!p) return {};
  const fault = policyFault(world, p);
  const base = { sni: p.hostname, subjectAltNames: [...p.subjectAltNames] };
  const shown = `BackendTLSPolicy ${p.namespace}/${p.name}`;
  if (fault) return { tls: { ...base, fault: `${shown}: ${fault.message}` } };
  const found = rootsOf(world, p);
  return { tls: { ...base, roots: 'roots' in found ? found.roots : '' } };
}
