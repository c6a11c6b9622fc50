// exec and attach over WebSocket (v5 and v4.channel.k8s.io): the first byte of a message is its channel.
import { PassThrough, Writable } from 'node:stream';
import type { WebSocket } from 'ws';
import type { Channels, ExecAsk } from './exec.ts';

export const channelProtocols = ['v5.channel.k8s.io', 'v4.channel.k8s.io'] as const;

const stdinChannel = 0;
const stdoutChannel = 1;
const stderrChannel = 2;
const statusChannel = 3;
/** v5: `FF n` closes channel n. */
const closeMark = 255;

export function bytesOf(data: unknown): Buffer {
  if (Buffer.isBuffer(data)) return data;
  if (Array.isArray(data)) return Buffer.concat(data as Buffer[]);
  return data instanceof ArrayBuffer ? Buffer.from(data) : Buffer.alloc(0);
}

/** A sink that puts `channel` before each chunk. */
export function channelSink(socket: WebSocket, channel: number): Writable {
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      // A client that is gone must not stop the process's output from being drained.
      if (socket.readyState !== socket.OPEN) return done();
      socket.send(Buffer.concat([Buffer.from([channel]), chunk]), { binary: true }, () => done());
    },
  });
  sink.on('error', () => {});
  return sink;
}

export function webSocketChannels(socket: WebSocket, ask: ExecAsk): Channels {
  const stdin = ask.stdin ? new PassThrough() : undefined;
  stdin?.on('error', () => {});
  stdin?.on('drain', () => socket.resume());
  socket.on('error', () => socket.terminate());
  socket.on('message', (data: unknown) => {
    const bytes = bytesOf(data);
    if (bytes[0] === closeMark && bytes[1] === stdinChannel) stdin?.end();
    else if (bytes[0] === stdinChannel && stdin?.writable && bytes.length > 1) {
      if (!stdin.write(bytes.subarray(1))) socket.pause();
    }
  });
  socket.once('close', () => stdin?.end());
  return {
    stdin,
    stdout: ask.stdout ? channelSink(socket, stdoutChannel) : undefined,
    stderr: ask.stderr ? channelSink(socket, stderrChannel) : undefined,
    finish(status) {
      if (socket.readyState !== socket.OPEN) return;
      const text = Buffer.from(JSON.stringify(status));
      socket.send(Buffer.concat([Buffer.from([statusChannel]), text]), () => socket.close(1000));
    },
    onGone: (listener) => void socket.once('close', listener),
  };
}
