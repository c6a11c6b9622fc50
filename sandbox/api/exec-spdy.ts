// exec and attach over SPDY/3.1 (kubectl before 1.30): one stream per channel, told apart by `streamtype`.
import type { Duplex } from 'node:stream';
import { statusError } from '../store/index.ts';
import type { Channels, ExecAsk } from './exec.ts';
import { serveSpdy, type SpdyStream } from './spdy.ts';

const waitMs = 30_000;

/** Resolves when the client has opened every stream the query speaks of. Rejects after 30 s. */
export function spdyChannels(wire: Duplex, ask: ExecAsk): Promise<Channels> {
  const wanted = ['error'];
  if (ask.stdin) wanted.push('stdin');
  if (ask.stdout) wanted.push('stdout');
  if (ask.stderr) wanted.push('stderr');
  const streams = new Map<string, SpdyStream>();
  return new Promise((resolve, reject) => {
    const fail = () => {
      reject(statusError(408, 'Timeout', 'the client did not open its streams in time'));
      wire.destroy();
    };
    const timer = setTimeout(fail, waitMs);
    wire.once('close', () => {
      clearTimeout(timer);
      reject(statusError(408, 'Timeout', 'the client went away before its streams were open'));
    });
    serveSpdy(wire, (stream) => {
      const type = stream.headers.get('streamtype') ?? '';
      streams.set(type, stream);
      if (type === 'error' || type === 'resize') stream.resume();
      if (!wanted.every((w) => streams.has(w))) return;
      clearTimeout(timer);
      resolve(channelsOf(wire, streams));
    });
  });
}

function channelsOf(wire: Duplex, streams: ReadonlyMap<string, SpdyStream>): Channels {
  return {
    stdin: streams.get('stdin'),
    stdout: streams.get('stdout'),
    stderr: streams.get('stderr'),
    finish(status) {
      const error = streams.get('error');
      const close = () => setTimeout(() => wire.end(), 100).unref();
      for (const name of ['stdout', 'stderr']) {
        const stream = streams.get(name);
        if (stream && !stream.writableEnded) stream.end();
      }
      if (error && !error.destroyed) error.end(JSON.stringify(status), close);
      else close();
    },
    onGone: (listener) => void wire.once('close', listener),
  };
}
