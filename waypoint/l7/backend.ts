// Where a route sends to, prepared.
import { type NamespacedHost, namespacedHost } from '../../core/model/index.ts';
import { L7PortProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';

export type PortClass = 'detect' | 'http' | 'http2' | 'tcp';

export interface Backend {
  readonly service: NamespacedHost;
  readonly port: number;
  readonly weight: number;
  readonly invalid: boolean;
  readonly protocol: PortClass;
  readonly requestHeaders: wire.L7HeaderChange | undefined;
  readonly responseHeaders: wire.L7HeaderChange | undefined;
}

const classes: Record<number, PortClass> = {
  [L7PortProtocol.DETECT]: 'detect',
  [L7PortProtocol.HTTP]: 'http',
  [L7PortProtocol.HTTP2]: 'http2',
  [L7PortProtocol.TCP]: 'tcp',
};

export const classOf = (protocol: number): PortClass => classes[protocol] ?? 'detect';

export function compileBackend(b: wire.L7RouteBackend): Backend {
  return {
    service: namespacedHost(b.namespace, b.hostname),
    port: b.port,
    weight: b.weight,
    invalid: b.invalid,
    protocol: classOf(b.protocol),
    requestHeaders: b.requestHeaders ?? undefined,
    responseHeaders: b.responseHeaders ?? undefined,
  };
}
