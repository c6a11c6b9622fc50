// One request and what becomes of it: plain values that the phases read and fill in.
import type { Readable, Writable } from 'node:stream';
import type { Duplex } from 'node:stream';
import type { Cancellation, FaultCode, IpPort } from '../../core/base/index.ts';
import type { Identity, NamespacedHost, SpiffeId, Workload } from '../../core/model/index.ts';
import type { CompiledPort, CompiledService } from '../l7/compile.ts';
import type { Mark } from '../l7/access.ts';
import type { CompiledRule } from '../l7/routes.ts';
import type { EndUser } from '../l7/token-rules.ts';

/** Names in lower case, order and repetition kept; never pseudo headers, never `host`. */
export type HeaderList = readonly (readonly [string, string])[];

export interface RequestHead {
  readonly method: string;
  /** Normalised, without query. */
  readonly path: string;
  /** With its `?`, or empty. */
  readonly query: string;
  readonly authority: string;
  readonly headers: HeaderList;
  readonly version: '1.1' | '2';
  readonly hasBody: boolean;
  /** The protocol asked for, in lower case: `websocket`. */
  readonly upgrade?: string | undefined;
}

export interface ResponseHead {
  readonly status: number;
  readonly headers: HeaderList;
}

/** The caller's side, HTTP/1.1 or HTTP/2. */
export interface Downstream {
  readonly body: Readable;
  /** The request's, once the body has ended. */
  trailers(): HeaderList;
  /** Sends the head; the body goes to what is returned. `end` = there is none. */
  respond(head: ResponseHead, end: boolean): Writable;
  /** Sets trailers; before the end of the body. */
  trail(trailers: HeaderList): void;
  inform(head: ResponseHead): void;
  /** Answers an upgrade and gives the raw stream. */
  switch(head: ResponseHead): Duplex;
  /** The abrupt end, after the head went out. */
  abort(): void;
  /** Aborted when the caller has left before the response was complete. */
  readonly gone: Cancellation;
}

/** The tunnel stream a request came in on, or the caller's own connection at an ingress gateway. */
export interface L7Connection {
  readonly source: IpPort;
  /** `id` is absent where nobody has proven any. */
  readonly peer: { readonly id?: SpiffeId | undefined; readonly identity?: Identity | undefined };
  /** From outside the mesh, with the scheme that was spoken. */
  readonly edge?: { readonly scheme: 'http' | 'https' } | undefined;
  readonly sourceWorkload: Workload | undefined;
  readonly target: IpPort;
  /** Of TLS that passes through or was ended here, in lower case; empty = none. Absent = nobody has looked. */
  readonly serverName?: string | undefined;
  readonly service: CompiledService;
  readonly port: CompiledPort;
  /** Of the CONNECT. */
  readonly traceparent: string;
  readonly trace: string;
}

/** What a proxy answers by itself (waypoint-l7.md 8.7). */
export interface LocalReply {
  readonly status: number;
  readonly body: string;
  readonly flags: string;
  readonly details: string;
  readonly headers?: HeaderList;
  readonly reason?: FaultCode;
  readonly policy?: string;
  /** Content type of the body; plain text by default. */
  readonly type?: string;
  /** gRPC status where it differs from the table. */
  readonly grpcStatus?: number;
}

export interface Exchange {
  /** As it is when the request begins: a change of routes meets a whole request or none. */
  readonly connection: L7Connection;
  readonly down: Downstream;
  readonly startedMs: number;
  /** As it came, after sanitising: what is logged and judged. */
  head: RequestHead;
  /** What goes upstream. */
  upstream: RequestHead;
  rule: CompiledRule | undefined;
  /** Whom a checked token names. */
  user: EndUser | undefined;
  /** What external authorizers said for those who come later, by key. */
  metadata: Readonly<Record<string, unknown>>;
  /** Of the request: the caller's, or what is left of it after a look at its start. */
  body: Readable;
  readonly responseHeaders: ((headers: HeaderList) => HeaderList)[];
  readonly outcome: Outcome;
}

export interface Outcome {
  status: number;
  flags: string;
  details: string;
  bytesReceived: number;
  bytesSent: number;
  attempts: number;
  upstreamMs: number | undefined;
  endpoint: Workload | undefined;
  endpointAddress: string;
  /** `namespace/hostname` of the backend chosen. */
  backend: NamespacedHost | undefined;
  route: string;
  policy: string | undefined;
  reason: FaultCode | undefined;
  grpcStatus: string;
  /** Policies that matched and decide nothing. */
  marks: readonly Mark[];
}

export const newOutcome = (): Outcome => ({
  status: 0,
  flags: '-',
  details: '',
  bytesReceived: 0,
  bytesSent: 0,
  attempts: 0,
  upstreamMs: undefined,
  endpoint: undefined,
  endpointAddress: '',
  backend: undefined,
  route: 'default',
  policy: undefined,
  reason: undefined,
  grpcStatus: '',
  marks: [],
});

export function headerOf(headers: HeaderList, name: string): string | undefined {
  return headers.find(([n]) => n === name)?.[1];
}

export const isGrpc = (headers: HeaderList): boolean => {
  const type = headerOf(headers, 'content-type') ?? '';
  return type === 'application/grpc' || type.startsWith('application/grpc+');
};
