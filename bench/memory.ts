// memory: what a proxy holds at rest, for each idle tunnel, and after many connections came and went. The tunnels
// are ours: certificates of one identity, connected to the far proxy's 15008 and left alone.
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { bundleOf, type CertificateAuthority, connectTls, createCsr } from '../certs/index.ts';
import { silentLog } from '../core/base/index.ts';
import { openHbone } from '../core/hbone/index.ts';
import { printIdentity } from '../core/model/index.ts';
import { systemClock } from '../core/runtime/index.ts';
import type { Result } from './data-path.ts';
import { farIp, type World } from './world.ts';

const identityOf = (serviceAccount: string) =>
  printIdentity({ trustDomain: 'cluster.local', namespace: 'shop', serviceAccount });

/** Opens `count` tunnels without a stream; the returned function closes them. */
async function idleTunnels(ca: CertificateAuthority, count: number): Promise<() => void> {
  const id = identityOf('idle');
  const { csr, keyPem } = await createCsr(id);
  const { chain } = await ca.signWorkload({ csr, identity: id, ttlSeconds: 3600 });
  const roots = bundleOf([ca.material.rootPem]);
  const cert = { id, keyPem, chain, roots, serial: '', notBeforeMs: 0, notAfterMs: 0 };
  const open: { destroy(): void }[] = [];
  for (let i = 0; i < count; i++) {
    const socket: Socket = connect({ host: farIp, port: 15_008, noDelay: true });
    await once(socket, 'connect');
    const { stream } = await connectTls(socket, cert, [identityOf('far')], { clock: systemClock });
    open.push(openHbone(stream, { clock: systemClock, log: silentLog }));
  }
  return () => {
    for (const tunnel of open) tunnel.destroy();
  };
}

/** The larger of both proxies, bytes; the least of several looks, so that garbage not yet collected counts less. */
async function settled(world: World): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) {
    least = Math.min(least, (await world.usage()).rssBytes[1] ?? 0);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return least;
}

export async function memory(
  world: World,
  connections: number,
  report: (r: Result) => void,
): Promise<void> {
  const idle = await settled(world);
  report({ name: 'memory/idle', unit: 'MB RSS', value: idle / 1e6 });
  for (let i = 0; i < connections; i++) {
    const socket = await world.dial('hbone');
    const answer = once(socket, 'data');
    socket.write('Ex');
    await answer;
    socket.destroy();
  }
  const after = await settled(world);
  const name = `memory/after${connections}`;
  report({ name, unit: 'MB RSS', value: after / 1e6, more: { toIdle: after / idle } });
  const close = await idleTunnels(world.ca, 1_000);
  const held = await settled(world);
  close();
  report({ name: 'memory/tunnel', unit: 'KB each', value: (held - after) / 1e6 });
}
