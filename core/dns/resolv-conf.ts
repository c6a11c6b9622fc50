// resolv.conf(5): name servers, search list, time limits. Pure.
import { type IpPort, parseIp } from '../base/index.ts';

export interface ResolvConf {
  /** At most three, as the C library takes them. */
  readonly servers: readonly IpPort[];
  readonly search: readonly string[];
  readonly timeoutMs: number;
  readonly attempts: number;
}

const mostServers = 3;

export function parseResolvConf(text: string): ResolvConf {
  const servers: IpPort[] = [];
  let search: string[] = [];
  let timeout = 5;
  let attempts = 2;
  for (const line of text.split('\n')) {
    const [word, ...rest] = line
      .replace(/[#;].*$/, '')
      .trim()
      .split(/\s+/);
    if (word === 'nameserver') {
      const ip = parseIp((rest[0] ?? '').replace(/%.*$/, ''));
      if (ip && servers.length < mostServers) servers.push({ ip, port: 53 });
    }
    if (word === 'search' || word === 'domain') {
      search = rest.map((d) => d.toLowerCase().replace(/\.$/, '')).filter((d) => d !== '');
    }
    if (word !== 'options') continue;
    for (const option of rest) {
      const [, name, value] = /^(timeout|attempts):(\d+)$/.exec(option) ?? [];
      if (name === 'timeout') timeout = Math.min(30, Math.max(1, Number(value)));
      if (name === 'attempts') attempts = Math.min(5, Math.max(1, Number(value)));
    }
  }
  return { servers, search, timeoutMs: timeout * 1000, attempts };
}
