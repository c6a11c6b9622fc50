// How messages of the node agent reach us: packets with descriptors (as Istio's agent sends them), or
// frames on a byte stream where there are no namespaces to hand over (`addressed` mode).
import net from 'node:net';
import { closeFd, connectSeqpacket, type SeqpacketConnection } from '../../core/linux/index.ts';
import { FrameReader, frame } from './frames.ts';

export interface LinkHandlers {
  connected(): void;
  /** Descriptors are the receiver's to close. */
  message(bytes: Uint8Array, fds: readonly number[]): void;
  /** Once, also when the connection was never made. */
  closed(error: Error | undefined): void;
}

export interface Link {
  readonly isOpen: boolean;
  send(bytes: Uint8Array): void;
  close(): void;
}

export type OpenLink = (path: string, handlers: LinkHandlers) => Link;

export const openStream: OpenLink = (path, handlers) => {
  const socket = net.connect(path);
  const reader = new FrameReader();
  let failure: Error | undefined;
  socket.on('error', (error) => {
    failure = error;
  });
  socket.once('connect', () => handlers.connected());
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
    send: (bytes) => void socket.write(frame(bytes)),
    close: () => void socket.end(() => socket.destroy()),
  };
};

export const openPackets: OpenLink = (path, handlers) => {
  let connection: SeqpacketConnection | undefined;
  try {
    connection = connectSeqpacket(path);
  } catch (error) {
    setImmediate(() => handlers.closed(error instanceof Error ? error : new Error(String(error))));
  }
  connection?.on({
    packet({ bytes, fds, truncated }) {
      if (!truncated) return handlers.message(bytes, fds);
      for (const fd of fds) closeFd(fd);
      connection?.close();
    },
    close: (error) => handlers.closed(error),
  });
  if (connection) setImmediate(() => handlers.connected());
  return {
    get isOpen() {
      return connection?.isOpen === true;
    },
    // Unsent means that nobody is there any more: the close tells.
    send: (bytes) => void connection?.send(bytes),
    close: () => connection?.close(),
  };
};
