// An upstream's answer on its way down: headers, body with back-pressure, trailers, or the raw stream of an upgrade.
import type { Readable, Writable } from 'node:stream';
import type { Cancellation } from '../../core/base/index.ts';
import { pump } from '../../core/hbone/index.ts';
import type { Workload } from '../../core/model/index.ts';
import type { WaypointContext } from '../context.ts';
import type { Attempted } from '../upstream/attempt.ts';
import { type Exchange, headerOf } from './exchange.ts';
import { cleanResponse } from './headers.ts';
import { serverName } from './local-reply.ts';
import type { Way } from './way.ts';

/** What is said here and nowhere else. */
const ours = new Set(['server', 'x-envoy-upstream-service-time']);

const bodiless = (x: Exchange, status: number): boolean =>
  x.head.method === 'HEAD' || status === 204 || status === 304;

export async function respond(
  ctx: WaypointContext,
  x: Exchange,
  way: Way,
  endpoint: Workload,
  a: Attempted,
  limit: Cancellation,
): Promise<void> {
  const { outcome, down } = x;
  outcome.status = a.head.status;
  outcome.details = 'via_upstream';
  let headers = cleanResponse(a.head.headers);
  headers = way.change(headers);
  for (const change of x.responseHeaders) headers = change(headers);
  const own = headers.filter(([n]) => !ours.has(n));
  own.push(['server', serverName]);
  own.push(['x-envoy-upstream-service-time', String(Math.round(outcome.upstreamMs ?? 0))]);
  if (headerOf(own, 'date') === undefined) {
    own.push(['date', new Date(ctx.clock.now()).toUTCString()]);
  }
  if (way.setCookie !== undefined) own.push(['set-cookie', way.setCookie]);
  const token = way.sessionHeader(endpoint);
  if (token) own.push(token);
  headers = own;
  outcome.grpcStatus = headerOf(headers, 'grpc-status') ?? '';
  const head = { status: a.head.status, headers };
  if (a.switched) {
    const joined = pump(down.switch(head), a.switched);
    limit.onAbort(() => joined.abort(new Error('draining')));
    await joined.done;
    outcome.bytesSent = joined.counts.farToNear;
    return;
  }
  const end = a.ended === true || (bodiless(x, head.status) && way.protocol === 'http2');
  const sink = down.respond(head, end);
  if (end) {
    a.body.on('error', () => {});
    a.body.resume();
    return;
  }
  const cut = await copy(a, sink, x);
  if (!cut) return;
  const timedOut = limit.aborted;
  outcome.flags = down.gone.aborted ? 'DC' : timedOut ? 'UT' : 'UC';
  outcome.details = down.gone.aborted
    ? 'downstream_remote_disconnect'
    : 'upstream_reset_after_response_started';
  a.abort();
  down.abort();
}

/** With back-pressure; true = it did not end in order. */
function copy(a: Attempted, to: Writable, x: Exchange): Promise<boolean> {
  const from: Readable = a.body;
  return new Promise((resolve) => {
    let over = false;
    const done = (cut: boolean): void => {
      if (over) return;
      over = true;
      resolve(cut);
    };
    // It broke while plugins looked at the head.
    if (from.destroyed && !from.readableEnded) return done(true);
    from.on('data', (chunk: Buffer) => {
      x.outcome.bytesSent += chunk.length;
      if (to.destroyed) return;
      if (!to.write(chunk)) {
        from.pause();
        to.once('drain', () => from.resume());
      }
    });
    from.on('end', () => {
      if ('complete' in from && from.complete === false) return done(true);
      if ('rstCode' in from && typeof from.rstCode === 'number' && from.rstCode !== 0)
        return done(true);
      const trailers = a.trailers();
      x.down.trail(trailers);
      const status = headerOf(trailers, 'grpc-status');
      if (status !== undefined) x.outcome.grpcStatus = status;
      to.end(() => done(false));
    });
    from.on('error', () => done(true));
    from.on('close', () => {
      if (!from.readableEnded) done(true);
    });
    to.on('error', () => done(true));
    to.on('close', () => done(!to.writableFinished));
  });
}
