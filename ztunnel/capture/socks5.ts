// SOCKS5 (RFC 1928): asks the client for the target instead of recovering it; for clients that cannot be
// captured. No authentication, CONNECT only; names are resolved from the mesh (ztunnel-protocol.md 3.9).
import type { Socket } from 'node:net';
import {
  type Clock,
  formatIp,
  fromUnknown,
  type IpAddress,
  type IpPort,
  MeshError,
  parseIp,
} from '../../core/base/index.ts';
import { take } from './original-target.ts';

const version = 5;
const replies = { ok: 0, failure: 1, unreachable: 4, unsupported: 7 } as const;

/**
 * Greeting and request; the success reply is the caller's (`answerSocks`). Rejects after answering the
 * client: SOCKS_PROTOCOL (7), LOCAL_NAME_UNRESOLVED (4), NO_ORIGINAL_TARGET when the bytes do not come (1).
 */
export async function readSocksTarget(
  socket: Socket,
  clock: Clock,
  resolve: (host: string) => IpAddress | undefined,
): Promise<IpPort> {
  try {
    return await readRequest(socket, clock, resolve);
  } catch (error) {
    if (fromUnknown(error).code === 'NO_ORIGINAL_TARGET') answerSocks(socket, replies.failure);
    throw error;
  }
}

async function readRequest(
  socket: Socket,
  clock: Clock,
  resolve: (host: string) => IpAddress | undefined,
): Promise<IpPort> {
  const [greeting, count = 0] = await take(socket, 2, clock);
  if (greeting !== version) throw unsupported(socket, `version ${greeting}, only 5 is served`);
  const methods = count > 0 ? await take(socket, count, clock) : new Uint8Array();
  if (!methods.includes(0)) throw unsupported(socket, 'only "no authentication" is served');
  socket.write(new Uint8Array([version, 0]));
  const [again, command, , kind] = await take(socket, 4, clock);
  if (again !== version || command !== 1) throw unsupported(socket, 'only CONNECT is served');
  const ip = await readAddress(socket, clock, kind, resolve);
  const [high = 0, low = 0] = await take(socket, 2, clock);
  const port = high * 256 + low;
  if (port === 0) throw unsupported(socket, 'port 0');
  if (ip !== undefined) return { ip, port };
  answerSocks(socket, replies.unreachable);
  throw new MeshError('LOCAL_NAME_UNRESOLVED');
}

async function readAddress(
  socket: Socket,
  clock: Clock,
  kind: number | undefined,
  resolve: (host: string) => IpAddress | undefined,
): Promise<IpAddress | undefined> {
  switch (kind) {
    case 1:
      return formatIp(await take(socket, 4, clock));
    case 4:
      return formatIp(await take(socket, 16, clock));
    case 3: {
      const [length = 0] = await take(socket, 1, clock);
      if (length === 0) throw unsupported(socket, 'empty name');
      const host = Buffer.from(await take(socket, length, clock))
        .toString('latin1')
        .toLowerCase();
      return parseIp(host) ?? resolve(host);
    }
    default:
      throw unsupported(socket, 'unknown address type');
  }
}

function unsupported(socket: Socket, detail: string): MeshError {
  answerSocks(socket, replies.unsupported);
  return new MeshError('SOCKS_PROTOCOL', { detail });
}

/** The reply with the bound address 0.0.0.0:0, as Istio sends it. */
export function answerSocks(socket: Socket, code: number): void {
  socket.write(new Uint8Array([version, code, 0, 1, 0, 0, 0, 0, 0, 0]));
}
