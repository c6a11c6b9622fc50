// A proxy's channel to the control plane. Roots and token are files, read anew for every channel and call, so that
// their rotation needs no restart (ztunnel-protocol.md 7.1).
import { readFileSync } from 'node:fs';
import { openChannel, type RpcChannel } from './channel.ts';

export interface ControlPlaneAddress {
  /** `host:port`; only TLS is spoken. */
  readonly address: string;
  /** File of PEM certificates. */
  readonly roots: string;
  /** What its certificate must name; empty = the host of the address. */
  readonly serverName: string;
  /** File of a ServiceAccount's token. */
  readonly tokenFile: string;
  readonly clusterId: string;
}

/** Throws where the roots cannot be read. */
export function openControlPlane(to: ControlPlaneAddress): RpcChannel {
  return openChannel({
    address: to.address,
    roots: () => readFileSync(to.roots, 'utf8'),
    serverName: to.serverName === '' ? undefined : to.serverName,
    token: () => readToken(to.tokenFile),
    headers: { clusterid: to.clusterId },
  });
}

/** A missing token file is the control plane's to refuse, with a clearer text than ours. */
function readToken(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}
