// DestinationRule tls → how a waypoint speaks to servers outside the mesh (waypoint-l7.md 1.5, 11). What was asked for and
// cannot be had is sent as a fault, so that nothing leaves without it.
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { field, text, texts } from '../cluster/index.ts';
import type { World } from './binding.ts';
import { certificateFault } from './certificate.ts';
import { tlsModes } from './policy-values.ts';

/** Secrets are of `client`, the proxy's own namespace. */
export function outsideTls(
  world: World,
  v: unknown,
  client: string,
): { readonly tls?: Draft<wire.L7OutsideTls> } {
  const given = field(v, 'mode') ?? 'DISABLE';
  const mode = text(given);
  if (typeof v !== 'object' || !tlsModes.includes(mode)) {
    const shown = JSON.stringify(typeof v === 'object' ? given : v).slice(0, 60);
    return { tls: { fault: `mode ${shown} is not known` } };
  }
  // DISABLE and ISTIO_MUTUAL have no effect here: the transport is HBONE.
  if (mode !== 'SIMPLE' && mode !== 'MUTUAL') return {};
  const base = {
    sni: text(field(v, 'sni')),
    subjectAltNames: [...texts(field(v, 'subjectAltNames'))],
  };
  const broken = (fault: string) => ({ tls: { ...base, fault } });
  const file = text(field(v, 'caCertificates'));
  if (file !== '' && file !== 'system') return broken('caCertificates may only be "system"');
  const name = text(field(v, 'credentialName'));
  if (name === '') {
    return mode === 'MUTUAL' ? broken('MUTUAL needs a credentialName') : { tls: base };
  }
  const secret = world.gateways.secrets.get(`${client}/${name}`);
  if (!secret) return broken(`Secret ${client}/${name} of type kubernetes.io/tls not found`);
  const { roots, certificates, privateKey } = secret;
  if (mode === 'SIMPLE') {
    return roots === ''
      ? broken(`Secret ${client}/${name} has no ca.crt`)
      : { tls: { ...base, roots } };
  }
  const wrong = certificateFault(secret);
  if (wrong !== undefined) return broken(`Secret ${client}/${name}: ${wrong}`);
  return { tls: { ...base, roots, certificates, privateKey } };
}
