// The gRPC methods of the mesh, by name: their path and their message types.
import type { Messages } from '../proto/index.ts';
import { type Draft, decode, encode, type MessageName } from './codecs.ts';

export const methods = {
  deltaAggregatedResources: {
    path: '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
    request: 'envoy.service.discovery.v3.DeltaDiscoveryRequest',
    response: 'envoy.service.discovery.v3.DeltaDiscoveryResponse',
    received: 'envoy.service.discovery.v3.DeltaDiscoveryOutline',
    kind: 'bidi',
  },
  createCertificate: {
    path: '/istio.v1.auth.IstioCertificateService/CreateCertificate',
    request: 'istio.v1.auth.IstioCertificateRequest',
    response: 'istio.v1.auth.IstioCertificateResponse',
    received: 'istio.v1.auth.IstioCertificateResponse',
    kind: 'unary',
  },
  shouldRateLimit: {
    path: '/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit',
    request: 'envoy.service.ratelimit.v3.RateLimitRequest',
    response: 'envoy.service.ratelimit.v3.RateLimitResponse',
    received: 'envoy.service.ratelimit.v3.RateLimitResponse',
    kind: 'unary',
  },
} as const satisfies Record<
  string,
  {
    path: string;
    request: MessageName;
    response: MessageName;
    /** What a client reads the response as. */
    received: MessageName;
    kind: 'bidi' | 'unary';
  }
>;

export type MethodName = keyof typeof methods;
type Of<
  M extends MethodName,
  K extends 'request' | 'response' | 'received',
> = Messages[(typeof methods)[M][K]];
export type RequestOf<M extends MethodName> = Of<M, 'request'>;
export type ResponseOf<M extends MethodName> = Of<M, 'response'>;
export type ReceivedOf<M extends MethodName> = Of<M, 'received'>;
export type BidiMethod = 'deltaAggregatedResources';
export type UnaryMethod = 'createCertificate' | 'shouldRateLimit';

/** How grpc-js is told to read and write a method's messages. */
export function serializers<M extends MethodName>(name: M) {
  const { request, response, received } = methods[name];
  return {
    writeRequest: (m: Draft<RequestOf<M>>): Buffer =>
      encode(request, m as Draft<Messages[typeof request]>),
    readRequest: (b: Buffer): RequestOf<M> => decode(request, b) as RequestOf<M>,
    writeResponse: (m: Draft<ResponseOf<M>>): Buffer =>
      encode(response, m as Draft<Messages[typeof response]>),
    readResponse: (b: Buffer): ReceivedOf<M> => decode(received, b) as ReceivedOf<M>,
  };
}
