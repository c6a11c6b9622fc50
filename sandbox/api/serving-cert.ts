// The API's own serving certificate: a CA of the sandbox, not the mesh's, kept in its directory so that
// kubeconfigs stay valid over restarts.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createCa, loadCa } from '../../certs/index.ts';
import type { Clock } from '../../core/base/index.ts';

export interface ServingCertificate {
  readonly keyPem: string;
  /** Leaf first. */
  readonly certPem: string;
  /** What clients must trust. */
  readonly caPem: string;
}

const leafSeconds = 90 * 24 * 3600;

async function servingCa(dir: string, clock: Clock) {
  const certPath = join(dir, 'serving-ca.crt');
  const keyPath = join(dir, 'serving-ca.key');
  try {
    const certPem = readFileSync(certPath, 'utf8');
    const keyPem = readFileSync(keyPath, 'utf8');
    return loadCa({ certPem, keyPem, chainPem: '', rootPem: certPem }, { clock });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const ca = await createCa({ trustDomain: 'sandbox-api', clock });
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  writeFileSync(keyPath, ca.material.keyPem, { mode: 0o600 });
  writeFileSync(certPath, ca.material.certPem, { mode: 0o644 });
  return ca;
}

/** A fresh leaf for 90 days, signed by the CA kept in `dir` (made there if absent). */
export async function makeServingCertificate(options: {
  readonly dir: string;
  readonly clock: Clock;
  /** Addresses beside 127.0.0.1. */
  readonly ips?: readonly string[];
  /** Names beside `localhost` and `kubernetes.default.svc`. */
  readonly dns?: readonly string[];
}): Promise<ServingCertificate> {
  const ca = await servingCa(options.dir, options.clock);
  const dns = [
    'localhost',
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    'kubernetes.default.svc.cluster.local',
  ];
  const { keyPem, chainPem } = await ca.signServer({
    dns: [...dns, ...(options.dns ?? [])],
    ips: ['127.0.0.1', ...(options.ips ?? [])],
    ttlSeconds: leafSeconds,
  });
  return { keyPem, certPem: chainPem, caPem: ca.material.certPem };
}
