// The public peer where it is installed: HAProxy, twice, mutual TLS 1.3 over TCP between them. Run in the
// same minute as ours.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createCa } from '../certs/index.ts';
import { systemClock } from '../core/runtime/index.ts';
import { tlsFiles } from './tls-pair.ts';
import { appPort } from './world.ts';

const front = '127.63.2.1';
const back = '127.63.2.2';
const app = '127.63.1.3';

/** What stands in for our pair of proxies in the same cases. */
export interface Peer {
  dial(): Promise<Socket>;
  /** As the world's; absent where its processes cannot be asked. */
  usage?(): Promise<{ cpuMicros: number; rssBytes: readonly number[] }>;
  stop(): void;
}

export function haproxyVersion(): string | undefined {
  try {
    return execFileSync('haproxy', ['-v'], { encoding: 'utf8' }).split('\n', 1)[0];
  } catch {
    return undefined;
  }
}

function config(dir: string): string {
  const tls = `crt ${dir}/cert.pem ca-file ${dir}/ca.pem`;
  return `global
  nbthread 1
  maxconn 2000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen near
  bind ${front}:15001
  server far ${back}:15008 ssl verify required ${tls} ssl-min-ver TLSv1.3
listen far
  bind ${back}:15008 ssl verify required ${tls} ssl-min-ver TLSv1.3
  server app ${app}:${appPort}
`;
}

/** Rejects if it does not accept within 5 s. */
export async function startHaproxy(): Promise<Peer> {
  const dir = mkdtempSync(join(tmpdir(), 'ambient-bench-'));
  const ca = await createCa({ trustDomain: 'cluster.local', clock: systemClock });
  const { cert, key, roots } = await tlsFiles(ca);
  writeFileSync(join(dir, 'cert.pem'), cert + key, { mode: 0o600 });
  writeFileSync(join(dir, 'ca.pem'), roots);
  writeFileSync(join(dir, 'haproxy.cfg'), config(dir));
  const child: ChildProcess = spawn('haproxy', ['-f', join(dir, 'haproxy.cfg'), '-db'], {
    stdio: 'ignore',
  });
  const dial = async (): Promise<Socket> => {
    const socket = connect({ host: front, port: 15_001, noDelay: true, allowHalfOpen: true });
    await once(socket, 'connect');
    socket.on('error', () => {});
    return socket;
  };
  const stop = (): void => {
    child.kill();
    rmSync(dir, { recursive: true, force: true });
  };
  for (let i = 0; i < 50; i++) {
    try {
      (await dial()).destroy();
      return { dial, stop };
    } catch {
      await pause(100);
    }
  }
  stop();
  throw new Error('haproxy did not start');
}
