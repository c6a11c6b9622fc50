// What policies judge a request by.
import type { AccessFacts } from '../l7/access.ts';
import type { Exchange } from './exchange.ts';

export function accessFacts({ connection: c, head, user }: Exchange): AccessFacts {
  return {
    principal: c.peer.id?.slice('spiffe://'.length),
    identity: c.peer.identity,
    sourceIp: c.source.ip,
    destinationIp: c.target.ip,
    destinationPort: c.target.port,
    http: {
      method: head.method,
      path: head.path,
      host: head.authority,
      headers: head.headers,
      user,
    },
  };
}
