// What a pod's programs are told where the kernel does not help: the capture's view as a JSON file,
// and curl's configuration. Pure.
import type { CaptureView, Endpoint, PodView } from './decide.ts';

/** ztunnel's SOCKS5 port. */
export const socksPort = 15080;

/** The file DIR/pods/UID/view.json. */
export interface ViewFile {
  readonly block: number;
  readonly self: PodView;
  readonly pods: readonly (readonly [string, PodView])[];
  readonly services: readonly (readonly [string, readonly Endpoint[]])[];
  readonly outside: readonly string[];
}

export const viewFile = (view: CaptureView, self: PodView): ViewFile => ({
  block: view.block,
  self,
  pods: [...view.pods],
  services: [...view.services],
  outside: [...view.outside],
});

/** Addresses by name, from the text of a hosts file. */
export function hostsMap(text: string): Map<string, string> {
  const out = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [ip, ...names] = line.split(/\s+/);
    for (const name of names) if (ip && !out.has(name)) out.set(name, ip);
  }
  return out;
}

/**
 * `.curlrc` of a pod: its own source address; enrolled, everything through ztunnel's SOCKS5 with the
 * names resolved here; else each service name and cluster IP led to one of its ready endpoints.
 */
export function curlConfig(view: CaptureView, self: PodView, hosts: string): string {
  const lines = [`interface = "${self.ip}"`];
  if (self.outbound) {
    lines.push(`socks5 = "${self.ip}:${socksPort}"`, 'noproxy = "localhost,127.0.0.1"');
  }
  const names = new Map<string, string[]>();
  for (const [name, ip] of hostsMap(hosts)) names.set(ip, [...(names.get(ip) ?? []), name]);
  for (const [address, endpoints] of view.services) {
    const [ip = '', port = ''] = address.split(':');
    const target = endpoints[0];
    for (const name of names.get(ip) ?? []) lines.push(`resolve = "${name}:${port}:${ip}"`);
    if (self.outbound || !target) continue;
    for (const host of [ip, ...(names.get(ip) ?? [])]) {
      lines.push(`connect-to = "${host}:${port}:${target.ip}:${target.port}"`);
    }
  }
  return `${lines.join('\n')}\n`;
}
