// Our own path without HTTP/2 (tls-process.ts), as a peer of the same cases.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { type CertificateAuthority, createCsr } from '../certs/index.ts';
import { printIdentity } from '../core/model/index.ts';
import type { Peer } from './haproxy.ts';
import type { TlsSetup } from './tls-process.ts';
import { appPort, child, ready, usageOf, type World } from './world.ts';

const front = { host: '127.63.3.1', port: 15_001 };
const back = { host: '127.63.3.2', port: 15_008 };
const app = { host: '127.63.1.3', port: appPort };

export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  readonly roots: string;
}

/** A workload certificate: it serves both purposes, as both ends of ours do. */
export async function tlsFiles(ca: CertificateAuthority): Promise<TlsFiles> {
  const identity = printIdentity({
    trustDomain: 'cluster.local',
    namespace: 'b',
    serviceAccount: 'b',
  });
  const { csr, keyPem } = await createCsr(identity);
  const signed = await ca.signWorkload({ csr, identity, ttlSeconds: 3600 });
  return { cert: signed.chain.join(''), key: keyPem, roots: ca.material.rootPem };
}

/** Where the pair's far end takes TLS. */
export const tlsBack = back;

/** `between` stands in the middle, where there is one: the near end dials it, and it dials the far end. */
export async function startTlsPair(
  world: Pick<World, 'ca'>,
  options: { readonly between?: typeof back; readonly app?: typeof app } = {},
): Promise<Peer> {
  const files = await tlsFiles(world.ca);
  const setups: TlsSetup[] = [
    { side: 'far', ...back, to: options.app ?? app, ...files },
    { side: 'near', ...front, to: options.between ?? back, ...files },
  ];
  const processes: ChildProcess[] = [];
  for (const setup of setups) {
    const p = await child('tls-process.ts', []);
    p.send(setup);
    await ready(p);
    processes.push(p);
  }
  return {
    async dial() {
      const socket = connect({ ...front, noDelay: true, allowHalfOpen: true });
      socket.on('error', () => {});
      await once(socket, 'connect');
      return socket;
    },
    usage: () => usageOf(processes),
    stop() {
      for (const p of processes) p.disconnect();
    },
  };
}
