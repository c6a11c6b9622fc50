// host:port pairs and the CONNECT authority (ztunnel-protocol.md 2.2, checklist C2).
import { type IpAddress, isIpv6, parseIp } from './ip.ts';

/** An address that can be dialled. Port 1…65535. */
export interface IpPort {
  readonly ip: IpAddress;
  readonly port: number;
}

/** What a CONNECT asks for: an address, or a host name that state must resolve. */
export type Authority =
  | { readonly kind: 'ip'; readonly ip: IpAddress; readonly port: number }
  | { readonly kind: 'host'; readonly host: string; readonly port: number };

export function printIpPort(at: IpPort): string {
  return isIpv6(at.ip) ? `[${at.ip}]:${at.port}` : `${at.ip}:${at.port}`;
}

export function parsePort(text: string): number | undefined {
  if (text.length === 0 || text.length > 5) return undefined;
  for (const c of text) if (c < '0' || c > '9') return undefined;
  const port = Number(text);
  return port >= 1 && port <= 65535 ? port : undefined;
}

function isHostname(text: string): boolean {
  if (text.length === 0 || text.length > 255) return false;
  for (const label of text.split('.')) {
    if (label.length === 0 || label.length > 63) return false;
    for (const c of label) {
      const good =
        (c >= 'a' && c <= 'z') ||
        (c >= 'A' && c <= 'Z') ||
        (c >= '0' && c <= '9') ||
        c === '-' ||
        c === '_' ||
        c === '*';
      if (!good) return false;
    }
  }
  return true;
}

/**
 * `ip:port`, `[v6]:port` or `hostname:port`. User info, path, spaces, zone ids, a missing or zero
 * port and names over 255 bytes give `undefined` (checklist C2). Host names come back lower-case.
 */
export function parseAuthority(text: string): Authority | undefined {
  const colon = text.lastIndexOf(':');
  if (colon <= 0) return undefined;
  const port = parsePort(text.slice(colon + 1));
  if (port === undefined) return undefined;
  const host = text.slice(0, colon);
  if (host.startsWith('[')) {
    if (!host.endsWith(']')) return undefined;
    const inner = host.slice(1, -1);
    const ip = inner.includes(':') ? parseIp(inner) : undefined;
    return ip && { kind: 'ip', ip, port };
  }
  if (host.includes(':')) return undefined;
  const ip = parseIp(host);
  if (ip) return { kind: 'ip', ip, port };
  const lastLabel = host.slice(host.lastIndexOf('.') + 1);
  if (lastLabel !== '' && Array.from(lastLabel).every((c) => c >= '0' && c <= '9'))
    return undefined;
  return isHostname(host) ? { kind: 'host', host: host.toLowerCase(), port } : undefined;
}

export function printAuthority(a: Authority): string {
  return a.kind === 'ip' ? printIpPort(a) : `${a.host}:${a.port}`;
}

/** `ip:port` only. */
export function parseIpPort(text: string): IpPort | undefined {
  const a = parseAuthority(text);
  return a?.kind === 'ip' ? { ip: a.ip, port: a.port } : undefined;
}
