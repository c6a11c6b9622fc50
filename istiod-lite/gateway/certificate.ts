// Whether a pair of certificate and key can be shown to callers; looked at once per Secret.
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import type { SecretFacts } from './objects.ts';

const known = new WeakMap<SecretFacts, { readonly fault: string | undefined }>();

const keyTypes = ['rsa', 'rsa-pss', 'ec', 'ed25519'];
const leastRsaBits = 2048;

/** Of what no caller would take, or the TLS library would not show. */
function keyFault({
  asymmetricKeyType: type,
  asymmetricKeyDetails,
}: KeyObject): string | undefined {
  if (!keyTypes.includes(type ?? '')) return `a key of type ${type} is not supported`;
  const bits = asymmetricKeyDetails?.modulusLength;
  return bits !== undefined && bits < leastRsaBits
    ? `its RSA key has ${bits} bits, at least ${leastRsaBits} are needed`
    : undefined;
}

function look(s: SecretFacts): string | undefined {
  if (s.certificates === '') return 'it has no tls.crt';
  if (s.privateKey === '') return 'it has no tls.key';
  let leaf: X509Certificate;
  try {
    leaf = new X509Certificate(s.certificates);
  } catch {
    return 'tls.crt is no PEM certificate';
  }
  const weak = keyFault(leaf.publicKey);
  if (weak !== undefined) return weak;
  try {
    const fits = leaf.checkPrivateKey(createPrivateKey(s.privateKey));
    return fits ? undefined : 'tls.key is not the key of tls.crt';
  } catch {
    return 'tls.key is no PEM private key';
  }
}

/** What is wrong with it; never says what is in it. */
export function certificateFault(s: SecretFacts): string | undefined {
  let found = known.get(s);
  if (!found) {
    found = { fault: look(s) };
    known.set(s, found);
  }
  return found.fault;
}
