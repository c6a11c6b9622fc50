// Names that callers choose (wildcard hosts), resolved when they are dialled. What is dialled is what was checked: an
// address of this machine, of its link or of the cluster is none that may be called through a name from outside.
import { NODATA, NOTFOUND, Resolver } from 'node:dns/promises';
import {
  type Cidr,
  cidrContains,
  formatIp,
  type IpAddress,
  MeshError,
  parseIp,
  parseIpBytes,
} from '../../core/base/index.ts';
import type { MeshView } from '../../core/model/index.ts';

/** Names that are resolved at a time. */
const maxRunning = 256;
/** Addresses of one name that are tried. */
const maxAddresses = 3;

export interface NamesOptions {
  /** `address:port` of name servers; none = the system's. */
  readonly servers: readonly string[];
  readonly blocked: readonly Cidr[];
  readonly view: MeshView;
  readonly network: string;
}

/** `64:ff9b::/96`: the last four bytes are an IPv4 address (RFC 6052). */
const isTranslated = (b: Uint8Array): boolean =>
  b.length === 16 &&
  b[0] === 0 &&
  b[1] === 0x64 &&
  b[2] === 0xff &&
  b[3] === 0x9b &&
  b.subarray(4, 12).every((x) => x === 0);

export class Names {
  readonly #o: NamesOptions;
  readonly #resolver = new Resolver({ timeout: 2_000, tries: 2 });
  readonly #running = new Map<string, Promise<readonly IpAddress[]>>();

  constructor(o: NamesOptions) {
    this.#o = o;
    if (o.servers.length > 0) this.#resolver.setServers(o.servers);
  }

  /** Addresses that may be called, a few, of the one family or else the other; rejects with DIAL_REFUSED or NAME_NOT_ALLOWED. */
  async resolve(host: string, ipv6First: boolean): Promise<readonly IpAddress[]> {
    let found = await this.#lookUp(host, ipv6First);
    if (found.length === 0) found = await this.#lookUp(host, !ipv6First);
    if (found.length === 0) {
      throw new MeshError('DIAL_REFUSED', { detail: `${host} has no address` });
    }
    const allowed = found.filter((ip) => !this.#isBlocked(ip));
    if (allowed.length === 0) throw new MeshError('NAME_NOT_ALLOWED', { detail: host });
    return allowed.slice(0, maxAddresses);
  }

  #lookUp(host: string, ipv6: boolean): Promise<readonly IpAddress[]> {
    const key = `${host} ${ipv6}`;
    const known = this.#running.get(key);
    if (known) return known;
    if (this.#running.size >= maxRunning) {
      throw new MeshError('DIAL_REFUSED', { detail: 'too many names are being resolved' });
    }
    const made = this.#ask(host, ipv6).finally(() => this.#running.delete(key));
    this.#running.set(key, made);
    return made;
  }

  async #ask(host: string, ipv6: boolean): Promise<readonly IpAddress[]> {
    try {
      const r = this.#resolver;
      const texts = await (ipv6 ? r.resolve6(host) : r.resolve4(host));
      return texts.map(parseIp).filter((ip) => ip !== undefined);
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? cause.code : '';
      if (code === NODATA || code === NOTFOUND) return [];
      throw new MeshError('DIAL_REFUSED', { detail: `cannot resolve ${host}`, cause });
    }
  }

  #isBlocked(ip: IpAddress): boolean {
    const bytes = parseIpBytes(ip);
    if (!bytes || this.#isForbidden(ip, bytes)) return true;
    const inner = isTranslated(bytes) ? bytes.subarray(12) : undefined;
    const meant = inner && formatIp(inner);
    return inner !== undefined && (!meant || this.#isForbidden(meant, inner));
  }

  #isForbidden(ip: IpAddress, bytes: Uint8Array): boolean {
    return this.#isOfCluster(ip) || this.#o.blocked.some((c) => cidrContains(c, bytes));
  }

  /** Pods and Services; what a ServiceEntry claims is not believed to be one. */
  #isOfCluster(ip: IpAddress): boolean {
    const { view, network } = this.#o;
    const w = view.workloadByAddress(network, ip);
    if (w && (w.node !== '' || w.protocol === 'HBONE')) return true;
    const s = view.serviceByVip(network, ip, undefined);
    const exact = s?.vips.some((v) => v.ip === ip) === true;
    return exact && s.hostname.startsWith(`${s.name}.${s.namespace}.svc.`);
  }
}
