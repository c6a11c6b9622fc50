// How ZDS messages travel, seen from both ends: packets with descriptors (as Istio's agent sends them), or
// frames on a byte stream where there are no namespaces to hand over (`addressed` mode).
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import {
  closeFd,
  connectSeqpacket,
  listenSeqpacket,
  type SeqpacketConnection,
} from '../linux/index.ts';
import { FrameReader, frame } from './frames.ts';

export interface LinkHandlers {
  /** Descriptors are the receiver's to close. */
  message(bytes: Uint8Array, fds: readonly number[]): void;
  /** Once, also when the connection was never made. */
  closed(error: Error | undefined): void;
}

export interface Link {
  readonly isOpen: boolean;
  /** False if it cannot be sent any more. The descriptor stays the caller's; a byte stream has no room for one. */
  send(bytes: Uint8Array, fd?: number): boolean;
  close(): void;
}

export type OpenLink = (path: string, handlers: LinkHandlers & { connected(): void }) => Link;

export interface LinkServer {
  /** Takes no new links; those there are stay open. */
  stop(): Promise<void>;
}

/** Listens at `path` (mode 0600), replacing a socket left there; rejects with `code`. */
export type ListenLinks = (
  path: string,
  onLink: (attach: (handlers: LinkHandlers) => Link) => void,
) => Promise<LinkServer>;

export const openStream: OpenLink = (path, handlers) => {
  const socket = net.connect(path);
  socket.once('connect', () => handlers.connected());
  return overStream(socket, handlers);
};

export const openPackets: OpenLink = (path, handlers) => {
  try {
    const link = overPackets(connectSeqpacket(path), handlers);
    setImmediate(() => handlers.connected());
    return link;
  } catch (error) {
    setImmediate(() => handlers.closed(error instanceof Error ? error : new Error(String(error))));
    return { isOpen: false, send: () => false, close: () => {} };
  }
};

export const listenStream: ListenLinks = async (path, onLink) => {
  fs.rmSync(path, { force: true });
  const server = net.createServer((socket) => onLink((handlers) => overStream(socket, handlers)));
  server.listen(path);
  await once(server, 'listening');
  fs.chmodSync(path, 0o600);
  return { stop: () => new Promise((done) => server.close(() => done())) };
};

export const listenPackets: ListenLinks = (path, onLink) =>
  Promise.resolve().then(() =>
    listenSeqpacket(path, (c) => onLink((handlers) => overPackets(c, handlers))),
  );

function overStream(socket: net.Socket, handlers: LinkHandlers): Link {
  const reader = new FrameReader();
  let failure: Error | undefined;
  socket.on('error', (error) => {
    failure = error;
  });
  socket.on('data', (chunk) => {
    const messages = reader.push(chunk as Buffer);
    if (!messages) socket.destroy(new Error('a message is too long'));
    for (const bytes of messages ?? []) handlers.message(bytes, []);
  });
  socket.once('close', () => handlers.closed(failure));
  return {
    get isOpen() {
      return !socket.destroyed;
    },
    send(bytes) {
      if (!socket.destroyed) socket.write(frame(bytes));
      return !socket.destroyed;
    },
    close: () => void socket.end(() => socket.destroy()),
  };
}

function overPackets(connection: SeqpacketConnection, handlers: LinkHandlers): Link {
  connection.on({
    packet({ bytes, fds, truncated }) {
      if (!truncated) return handlers.message(bytes, fds);
      for (const fd of fds) closeFd(fd);
      connection.close();
    },
    close: (error) => handlers.closed(error),
  });
  return {
    get isOpen() {
      return connection.isOpen;
    },
    send: (bytes, fd) => connection.send(bytes, fd),
    close: () => connection.close(),
  };
}
