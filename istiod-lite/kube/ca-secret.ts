// The CA's material in the Secret `istio-ca-secret` (control-plane.md 5.5): the first writer wins, every
// replica and every restart uses what is there.
import { type CaMaterial, type CertificateAuthority, createCa, loadCa } from '../../certs/index.ts';
import type { Clock, Log } from '../../core/base/index.ts';
import { type KubeClient, KubeError, type KubeObject, resources } from '../../core/kube/index.ts';

const secretName = 'istio-ca-secret';

const b64 = (text: string): string => Buffer.from(text).toString('base64');

function toSecret(namespace: string, m: CaMaterial): KubeObject {
  return {
    metadata: { name: secretName, namespace, labels: { 'istio.io/config': 'true' } },
    type: 'istio.io/ca-root',
    data: {
      'ca-cert.pem': b64(m.certPem),
      'ca-key.pem': b64(m.keyPem),
      'cert-chain.pem': b64(m.chainPem),
      'root-cert.pem': b64(m.rootPem),
      'key.pem': '',
    },
  };
}

function fromSecret(secret: KubeObject): CaMaterial {
  const data = (secret['data'] ?? {}) as Record<string, string | undefined>;
  const text = (name: string): string => Buffer.from(data[name] ?? '', 'base64').toString('utf8');
  const certPem = text('ca-cert.pem');
  const keyPem = text('ca-key.pem');
  if (certPem === '' || keyPem === '') {
    throw new Error(
      `Secret ${secretName} lacks ca-cert.pem or ca-key.pem; restore it, or delete it to start a new root`,
    );
  }
  return {
    certPem,
    keyPem,
    chainPem: text('cert-chain.pem'),
    rootPem: text('root-cert.pem') || certPem,
  };
}

export async function openCa(
  kube: KubeClient,
  namespace: string,
  trustDomain: string,
  clock: Clock,
  log: Log,
): Promise<CertificateAuthority> {
  const existing = await kube.get(resources.secrets, namespace, secretName);
  if (existing) return loadCa(fromSecret(existing), { clock });
  const made = await createCa({ trustDomain, clock });
  try {
    await kube.create(resources.secrets, toSecret(namespace, made.material));
    log.info('created a self-signed root', { secret: `${namespace}/${secretName}` });
    return made;
  } catch (error) {
    if (!(error instanceof KubeError) || error.code !== 409) throw error;
    const winner = await kube.get(resources.secrets, namespace, secretName);
    if (!winner) throw error;
    return loadCa(fromSecret(winner), { clock });
  }
}
