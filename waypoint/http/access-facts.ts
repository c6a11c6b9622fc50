// What policies judge a request or an opaque connection by.
import type { AccessFacts } from '../l7/access.ts';
import type { Exchange, L7Connection } from './exchange.ts';

export function connectionFacts(c: L7Connection): AccessFacts {
  return {
    principal: c.peer.id?.slice('spiffe://'.length),
    identity: c.peer.identity,
    sourceIp: c.source.ip,
    destinationIp: c.target.ip,
    destinationPort: c.target.port,
    serverName: c.serverName,
  };
}

export function accessFacts({ connection, head, user, metadata }: Exchange): AccessFacts {
  return {
    ...connectionFacts(connection),
    http: {
      method: head.method,
      path: head.path,
      host: head.authority,
      headers: head.headers,
      user,
      metadata,
    },
  };
}
