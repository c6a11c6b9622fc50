// What the proxy answers by itself, for HTTP and gRPC callers (waypoint-l7.md 8.7).
import {
  type HeaderList,
  isGrpc,
  type LocalReply,
  type RequestHead,
  type ResponseHead,
} from './exchange.ts';

export const serverName = 'istio-envoy';

const grpcOf: Readonly<Record<number, number>> = {
  400: 13,
  401: 16,
  403: 7,
  404: 12,
  429: 14,
  502: 14,
  503: 14,
  504: 14,
};

const httpStatuses = [
  200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401,
];

/** gRPC status → HTTP status. */
export const httpOfGrpc = (grpc: number): number => httpStatuses[grpc] ?? 500;

const percent = (text: string): string =>
  Array.from(text, (c) => (c >= ' ' && c <= '~' && c !== '%' ? c : encodeURIComponent(c))).join('');

export interface Rendered {
  readonly head: ResponseHead;
  readonly body: string;
  readonly grpcStatus: string;
}

export function renderReply(head: RequestHead, reply: LocalReply, date: string): Rendered {
  const common: HeaderList = [...(reply.headers ?? []), ['date', date], ['server', serverName]];
  if (isGrpc(head.headers)) {
    const status = String(reply.grpcStatus ?? grpcOf[reply.status] ?? 2);
    const message: HeaderList = reply.body === '' ? [] : [['grpc-message', percent(reply.body)]];
    const headers: HeaderList = [
      ['content-type', 'application/grpc'],
      ['grpc-status', status],
      ...message,
      ...common,
    ];
    return { head: { status: 200, headers }, body: '', grpcStatus: status };
  }
  const sized: HeaderList =
    reply.body === ''
      ? []
      : [
          ['content-length', String(Buffer.byteLength(reply.body))],
          ['content-type', reply.type ?? 'text/plain'],
        ];
  const headers: HeaderList = [...sized, ...common];
  return {
    head: {
      status: reply.status,
      headers: reply.body === '' ? [...headers, ['content-length', '0']] : headers,
    },
    body: reply.body,
    grpcStatus: '',
  };
}

export const reply = (
  status: number,
  body: string,
  flags: string,
  details: string,
  more: Partial<LocalReply> = {},
): LocalReply => ({ status, body, flags, details, ...more });
