// Questions a request raises before it goes on: to a service of the mesh, one answer, bounded in time and size. They go as
// all else goes: to an endpoint, over HBONE where it has a tunnel.
import type { Readable, Writable } from 'node:stream';
import { Cancellation } from '../../core/base/index.ts';
import type { WorkloadUid } from '../../core/model/index.ts';
import type { WaypointContext } from '../context.ts';
import type { Cluster } from '../l7/cluster.ts';
import { type Attempted, UpstreamFailure } from '../upstream/attempt.ts';
import type { AttemptBody } from '../upstream/body.ts';
import { pickTarget } from '../upstream/pick.ts';
import {
  type Exchange,
  headerOf,
  type L7Connection,
  type RequestHead,
  type ResponseHead,
} from './exchange.ts';

const maxAnswer = 1 << 20;
/** Calls to one name that wait; more are not made. */
const maxWaiting = 1_000;
/** Between two lines about one name. */
const logEveryMs = 1_000;

/** Why there was no answer: a word for logs and metrics. */
export class NoAnswer extends Error {}

export interface SideTarget {
  readonly cluster: Cluster;
  readonly timeoutMs: number;
  readonly stop: Cancellation;
}

/** On whose behalf: a request, or an opaque connection. */
export interface Asker {
  readonly connection: Pick<L7Connection, 'source' | 'traceparent'>;
  readonly down: Pick<Exchange['down'], 'gone'>;
}

class Bytes implements AttemptBody {
  readonly #bytes: Buffer;
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }
  get isEmpty(): boolean {
    return this.#bytes.length === 0;
  }
  attach(sink: Writable): void {
    sink.end(this.#bytes);
  }
  detach(): void {}
}

function collect(from: Readable, limit: number, stop: Cancellation): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    const end = (): void => resolve(Buffer.concat(parts));
    from.on('data', (part: Buffer) => {
      size += part.length;
      if (size > limit) reject(new NoAnswer('too long'));
      else parts.push(part);
    });
    from.once('end', end);
    from.once('error', () => reject(new NoAnswer('cut off')));
    from.once('close', () => reject(new NoAnswer('cut off')));
    stop.onAbort(() => reject(new NoAnswer('timeout')));
  });
}

const hostOf = (c: Cluster): string => c.service.split('/')[1] ?? '';

/** To one endpoint, and to another where nothing could be sent to the first. */
async function send(
  ctx: WaypointContext,
  x: Asker,
  { cluster, stop }: SideTarget,
  protocol: 'http' | 'http2',
  head: RequestHead,
  body: Buffer,
): Promise<Attempted> {
  const tried = new Set<WorkloadUid>();
  for (;;) {
    const endpoint = pickTarget(ctx, cluster, { tried });
    if (!endpoint || tried.has(endpoint.workload.uid)) throw new NoAnswer('no endpoint');
    tried.add(endpoint.workload.uid);
    try {
      return await ctx.upstreams.attempt({
        endpoint,
        cluster,
        breaker: ctx.clusters.breaker(cluster),
        protocol,
        head,
        body: new Bytes(body),
        trailers: () => [],
        client: x.connection.source,
        serviceHost: hostOf(cluster),
        traceparent: x.connection.traceparent,
        stop,
        inform: () => {},
      });
    } catch (error) {
      const unsent =
        error instanceof UpstreamFailure && /^(connect|refused|stale)/.test(error.kind);
      if (unsent && tried.size < 2 && !stop.aborted) continue;
      throw error;
    }
  }
}

/** Rejects with NoAnswer or UpstreamFailure. */
export async function call(
  ctx: WaypointContext,
  x: Asker,
  to: SideTarget,
  protocol: 'http' | 'http2',
  head: RequestHead,
  body: Buffer,
): Promise<{ readonly head: ResponseHead; readonly body: Buffer; readonly grpcStatus?: string }> {
  const answer = await send(ctx, x, to, protocol, head, body);
  try {
    // An answer without a body has no end to wait for.
    const all = answer.ended ? Buffer.alloc(0) : await collect(answer.body, maxAnswer, to.stop);
    const status =
      headerOf(answer.trailers(), 'grpc-status') ?? headerOf(answer.head.headers, 'grpc-status');
    return { head: answer.head, body: all, ...(status !== undefined && { grpcStatus: status }) };
  } finally {
    answer.body.on('error', () => {});
    if (answer.ended) answer.body.resume();
    else if (!answer.body.readableEnded) answer.abort();
  }
}

/** Length-prefixed, not compressed. */
function frame(message: Uint8Array): Buffer {
  const out = Buffer.alloc(5 + message.length);
  out.writeUInt32BE(message.length, 1);
  out.set(message, 5);
  return out;
}

/** The one message of the answer of a unary gRPC method; rejects unless its status is 0. */
export async function callGrpc(
  ctx: WaypointContext,
  x: Asker,
  to: SideTarget,
  path: string,
  message: Uint8Array,
): Promise<Buffer> {
  const head: RequestHead = {
    method: 'POST',
    path,
    query: '',
    authority: hostOf(to.cluster),
    headers: [
      ['content-type', 'application/grpc'],
      ['te', 'trailers'],
      ['grpc-timeout', `${to.timeoutMs}m`],
    ],
    version: '2',
    hasBody: true,
  };
  const { head: got, body, grpcStatus } = await call(ctx, x, to, 'http2', head, frame(message));
  if (got.status !== 200 || grpcStatus !== '0')
    throw new NoAnswer(`gRPC status ${grpcStatus ?? 'missing'}`);
  const whole = body.length >= 5 && body[0] === 0 && body.readUInt32BE(1) === body.length - 5;
  if (!whole) throw new NoAnswer('unusable');
  return body.subarray(5);
}

/** Time and number of calls to one name, and how often they are told of; a value of the context. */
export class SideCalls {
  readonly #waiting = new Map<string, number>();
  readonly #logged = new Map<string, number>();

  /** Runs `ask` within `timeoutMs`; what comes instead of an answer is a word. */
  async within<T>(
    ctx: WaypointContext,
    x: Asker,
    name: string,
    timeoutMs: number,
    ask: (stop: Cancellation) => Promise<T>,
  ): Promise<{ readonly answer: T } | { readonly failed: string }> {
    const waiting = this.#waiting.get(name) ?? 0;
    if (waiting >= maxWaiting) return { failed: 'overflow' };
    this.#waiting.set(name, waiting + 1);
    const limit = new Cancellation();
    const timer = ctx.clock.after(timeoutMs, () => limit.abort(new NoAnswer('timeout')));
    try {
      return { answer: await ask(Cancellation.any(limit, x.down.gone)) };
    } catch (error) {
      if (limit.aborted) return { failed: 'timeout' };
      const told = error instanceof NoAnswer || error instanceof UpstreamFailure;
      return { failed: told ? error.message : 'internal error' };
    } finally {
      timer.cancel();
      this.#waiting.set(name, (this.#waiting.get(name) ?? 1) - 1);
    }
  }

  mayLog(name: string, nowMs: number): boolean {
    if (nowMs - (this.#logged.get(name) ?? Number.NEGATIVE_INFINITY) < logEveryMs) return false;
    this.#logged.set(name, nowMs);
    return true;
  }
}
