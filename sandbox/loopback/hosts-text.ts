// The text of a pod's /etc/hosts: every service under the names that resolve in a cluster, as seen
// from the pod's namespace. Pure.

export interface NamedService {
  readonly name: string;
  readonly namespace: string;
  /** The cluster IP; for a headless service its ready pods. */
  readonly addresses: readonly string[];
}

/** A name outside the cluster. */
export interface OutsideName {
  readonly host: string;
  readonly addresses: readonly string[];
}

/** Services sorted by the caller's order; a line per address and service. */
export function hostsText(
  pod: { readonly ip: string; readonly hostname: string; readonly namespace: string },
  services: readonly NamedService[],
  outside: readonly OutsideName[] = [],
): string {
  const lines = ['127.0.0.1\tlocalhost', `${pod.ip}\t${pod.hostname}`];
  for (const s of services) {
    const full = `${s.name}.${s.namespace}`;
    const names = [`${full}.svc.cluster.local`, `${full}.svc`, full];
    if (s.namespace === pod.namespace && s.name !== 'localhost') names.push(s.name);
    for (const address of s.addresses) lines.push(`${address}\t${names.join(' ')}`);
  }
  for (const { host, addresses } of outside)
    for (const address of addresses) lines.push(`${address}\t${host}`);
  return `${lines.join('\n')}\n`;
}
