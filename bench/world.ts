// What every data-path case runs in: an application, two proxies with one identity each, and ways to dial
// through none (`direct`), one (`tcp`) or both (`hbone`) of them.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { type CertificateAuthority, createCa } from '../certs/index.ts';
import { systemClock } from '../core/runtime/index.ts';
import { testWorkload } from '../test/kit/index.ts';
import type { ProxySetup, ProxyUsage } from './proxy-process.ts';

export type Path = 'direct' | 'tcp' | 'hbone';

/** The pod whose traffic the first proxy carries. */
export const nearIp = '127.63.1.1';
const near = nearIp;
/** Where the second proxy and its application are. */
export const farIp = '127.63.1.2';
const far = farIp;
const outside = '127.63.1.3';
export const appPort = 9080;

const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

/** PROXY v2 as the sandbox's capture writes it, from the pod at `near`. */
export function header(destination: string, port: number): Buffer {
  const bytes = Buffer.alloc(28);
  signature.copy(bytes);
  bytes[12] = 0x21;
  bytes[13] = 0x11;
  bytes.writeUInt16BE(12, 14);
  Buffer.from(near.split('.').map(Number)).copy(bytes, 16);
  Buffer.from(destination.split('.').map(Number)).copy(bytes, 20);
  bytes.writeUInt16BE(port, 26);
  return bytes;
}

/** As manifests/base/ztunnel.yaml starts it. */
const ztunnelFlags = ['--max-semi-space-size=2'];

export async function child(
  file: string,
  args: readonly string[],
  flags: readonly string[] = ztunnelFlags,
): Promise<ChildProcess> {
  const path = join(import.meta.dirname, file);
  return fork(path, [...args], {
    serialization: 'advanced',
    // Its own flags, not those that `npm run bench` gives the cases in this process.
    execArgv: [...process.execArgv.filter((f) => !ztunnelFlags.includes(f)), ...flags],
    env: { ...process.env, MALLOC_ARENA_MAX: '1' },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
}

export async function ready(p: ChildProcess): Promise<void> {
  const ended = once(p, 'exit').then(([code]) => [`exit ${String(code)}`]);
  const [message] = (await Promise.race([once(p, 'message'), ended])) as [unknown];
  if (message !== 'ready') throw new Error(`a bench process did not start: ${String(message)}`);
}

export async function proxy(setup: ProxySetup): Promise<ChildProcess> {
  const p = await child('proxy-process.ts', []);
  p.send(setup);
  await ready(p);
  return p;
}

/** What processes that answer `usage` have used: CPU together, memory each. */
export async function usageOf(
  processes: readonly ChildProcess[],
): Promise<{ cpuMicros: number; rssBytes: readonly number[] }> {
  const all = await Promise.all(
    processes.map(async (p) => {
      const answer = once(p, 'message') as Promise<[ProxyUsage]>;
      p.send('usage');
      return (await answer)[0];
    }),
  );
  return {
    cpuMicros: all.reduce((n, u) => n + u.cpuMicros, 0),
    rssBytes: all.map((u) => u.rssBytes),
  };
}

export interface World {
  /** A connected socket to the application over the path; the application waits for its first byte. */
  dial(path: Path): Promise<Socket>;
  readonly ca: CertificateAuthority;
  /** CPU of both proxies so far, microseconds, and their memory. */
  usage(): Promise<{ cpuMicros: number; rssBytes: readonly number[] }>;
  stop(): void;
}

export async function startWorld(): Promise<World> {
  const ca = await createCa({ trustDomain: 'cluster.local', clock: systemClock });
  const workloads = [
    testWorkload('near', near),
    testWorkload('far', far),
    testWorkload('outside', outside, { protocol: 'TCP' }),
  ];
  const uid = (name: string): string => `Kubernetes//Pod/shop/${name}`;
  const apps: ChildProcess[] = [];
  for (const host of [far, outside]) {
    const app = await child('app-process.ts', [host, String(appPort)]);
    await ready(app);
    apps.push(app);
  }
  const proxies = [
    await proxy({ ca: ca.material, workloads, pod: uid('near') }),
    await proxy({ ca: ca.material, workloads, pod: uid('far') }),
  ];
  return {
    ca,
    async dial(path) {
      const target =
        path === 'direct' ? { host: outside, port: appPort } : { host: near, port: 15_001 };
      const socket = connect({ ...target, noDelay: true, allowHalfOpen: true });
      socket.on('error', () => {});
      await once(socket, 'connect');
      if (path !== 'direct') socket.write(header(path === 'tcp' ? outside : far, appPort));
      return socket;
    },
    usage: () => usageOf(proxies),
    stop() {
      for (const p of [...proxies, ...apps]) p.disconnect();
    },
  };
}
