// The kubeconfig that kubectl and the mesh programs read: JSON is YAML, so no printer is needed.
import { writeFileSync } from 'node:fs';

export interface KubeconfigOptions {
  /** `https://127.0.0.1:6443` */
  readonly url: string;
  readonly caPem: string;
  readonly token: string;
  /** Context name. Default `sandbox`. */
  readonly name?: string;
  /** Default `default`. */
  readonly namespace?: string;
}

export function kubeconfig(options: KubeconfigOptions): string {
  const name = options.name ?? 'sandbox';
  const ca = Buffer.from(options.caPem).toString('base64');
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name, cluster: { server: options.url, 'certificate-authority-data': ca } }],
    users: [{ name, user: { token: options.token } }],
    contexts: [
      { name, context: { cluster: name, user: name, namespace: options.namespace ?? 'default' } },
    ],
    'current-context': name,
    preferences: {},
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

/** Writes it readable for its owner alone: it holds the admin token. */
export function writeKubeconfig(path: string, options: KubeconfigOptions): void {
  writeFileSync(path, kubeconfig(options), { mode: 0o600 });
}
