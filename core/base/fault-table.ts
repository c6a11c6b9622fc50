// The one table of everything that can be refused or can fail on the data path and towards clients
// (design.md 8 "Refusal", sandbox.md D14). A new way to say no starts with a row here; docs/errors.md
// is held against this table by test/docs.test.ts.

/** Who started it: the peer that called us, the peer we call, or ourselves. */
export type FaultSide = 'downstream' | 'upstream' | 'internal';

export interface FaultRow {
  /** HTTP status of the CONNECT answer; 0 = no answer possible (handshake or capture side). */
  readonly status: number;
  /** Istio's access-log and metric flag (ztunnel-protocol.md 11.1). */
  readonly flag:
    | 'DENY'
    | 'CONNECT'
    | 'TLS_FAILURE'
    | 'H2_HANDSHAKE_FAILURE'
    | 'NETWORK_POLICY'
    | 'IDENTITY_ERROR'
    | 'CERT_REVOKED'
    | '-';
  readonly side: FaultSide;
  /** Whether another attempt may be made by the one who got it: nothing had been sent onward. */
  readonly retry: boolean;
  /** What it means and what to do next, in plain words. */
  readonly help: string;
}

export const faults = {
  // --- policy
  POLICY_DENIED: {
    status: 401,
    flag: 'DENY',
    side: 'downstream',
    retry: false,
    help: 'An AuthorizationPolicy or PeerAuthentication refuses this source. The policy is named beside the code.',
  },
  POLICY_NOT_ALLOWED: {
    status: 401,
    flag: 'DENY',
    side: 'downstream',
    retry: false,
    help: 'ALLOW policies exist for this workload and none of them allows this source.',
  },
  POLICY_CHANGED: {
    status: 401,
    flag: 'DENY',
    side: 'downstream',
    retry: false,
    help: 'The connection was open when a policy changed, and the new policy refuses it.',
  },
  POLICY_PENDING: {
    status: 503,
    flag: 'DENY',
    side: 'internal',
    retry: true,
    help: 'The workload names a policy that has not arrived yet, so nothing is let in. Check that istiod-lite is reachable.',
  },
  TOKEN_REFUSED: {
    status: 401,
    flag: 'DENY',
    side: 'downstream',
    retry: false,
    help: 'The request carries an end user’s token that a RequestAuthentication refuses. The answer says why; the key sets are in the object’s status.',
  },
  AUTHORIZER_DENIED: {
    status: 403,
    flag: 'DENY',
    side: 'downstream',
    retry: false,
    help: 'An external authorizer refuses this request; the policy that asks it is named beside the code.',
  },
  AUTHORIZER_UNAVAILABLE: {
    status: 403,
    flag: 'DENY',
    side: 'internal',
    retry: true,
    help: 'An external authorizer gave no usable answer within its time, and its provider does not fail open. The waypoint’s log says why.',
  },
  RATE_LIMITED: {
    status: 429,
    flag: 'DENY',
    side: 'downstream',
    retry: true,
    help: 'A RateLimitPolicy has no request left for this caller now; retry-after says when it has.',
  },
  RATE_LIMITER_UNAVAILABLE: {
    status: 500,
    flag: 'DENY',
    side: 'internal',
    retry: true,
    help: 'The service that counts requests for all waypoints gave no usable answer, and its policy fails closed.',
  },
  PLUGIN_DENIED: {
    status: 403,
    flag: 'DENY',
    side: 'downstream',
    retry: false,
    help: 'A plugin of the waypoint answered this request itself; it is named beside the code.',
  },
  PLUGIN_FAILED: {
    status: 500,
    flag: 'DENY',
    side: 'internal',
    retry: true,
    help: 'A plugin of the waypoint gave no usable answer within its time, and it fails closed. The waypoint’s log says why.',
  },
  // --- inbound CONNECT
  BAD_METHOD: {
    status: 400,
    flag: '-',
    side: 'downstream',
    retry: false,
    help: 'Only CONNECT is served on port 15008.',
  },
  BAD_AUTHORITY: {
    status: 400,
    flag: '-',
    side: 'downstream',
    retry: false,
    help: 'The CONNECT authority is not ip:port or hostname:port.',
  },
  ADDRESS_MISMATCH: {
    status: 400,
    flag: '-',
    side: 'downstream',
    retry: false,
    help: 'The CONNECT authority is an address this workload does not answer for; the caller may have stale configuration.',
  },
  UNKNOWN_HOSTNAME: {
    status: 503,
    flag: '-',
    side: 'downstream',
    retry: false,
    help: 'No service with that hostname and port is served by this workload.',
  },
  RECURSIVE_CALL: {
    status: 503,
    flag: '-',
    side: 'downstream',
    retry: false,
    help: 'The target is one of the proxy’s own ports, which would loop.',
  },
  UNKNOWN_LOCAL_WORKLOAD: {
    status: 503,
    flag: '-',
    side: 'internal',
    retry: true,
    help: 'The control plane has not described this pod yet (waited 5 s). Check istiod-lite and the pod’s node name.',
  },
  APP_UNREACHABLE: {
    status: 503,
    flag: 'CONNECT',
    side: 'upstream',
    retry: true,
    help: 'The application does not accept connections on that port.',
  },
  APP_TIMEOUT: {
    status: 503,
    flag: 'CONNECT',
    side: 'upstream',
    retry: true,
    help: 'The application did not accept the connection within 10 s.',
  },
  STREAM_LIMIT: {
    status: 503,
    flag: 'CONNECT',
    side: 'downstream',
    retry: true,
    help: 'This source has too many connections open on this node; others must not starve.',
  },
  OVERLOADED: {
    status: 503,
    flag: 'CONNECT',
    side: 'internal',
    retry: true,
    help: 'The proxy is short of memory or of file descriptors: it keeps the connections it has and takes no new ones. `ambient_overloaded` says what is short.',
  },
  // --- outbound plan
  UNKNOWN_SOURCE: {
    status: 0,
    flag: '-',
    side: 'internal',
    retry: true,
    help: 'The control plane has not described the calling pod yet (waited 5 s).',
  },
  NO_HEALTHY_UPSTREAM: {
    status: 0,
    flag: '-',
    side: 'upstream',
    retry: true,
    help: 'The service has no ready endpoint for that port. Check its selector and the pods’ readiness.',
  },
  NO_ROUTE: {
    status: 503,
    flag: '-',
    side: 'downstream',
    retry: false,
    help: 'TLSRoutes hold for this port, and none of them takes the server name of the connection. Without TLS, or without a server name, a connection has none.',
  },
  NAME_NOT_ALLOWED: {
    status: 503,
    flag: 'CONNECT',
    side: 'upstream',
    retry: false,
    help: 'A name under a wildcard host resolves to nothing but addresses that may not be called: of pods and Services, or of DYNAMIC_DNS_BLOCKED_ADDRESSES (loopback, link-local and more).',
  },
  ADDRESS_CONTESTED: {
    status: 0,
    flag: '-',
    side: 'upstream',
    retry: true,
    help: 'Two ready pods with different identities claim this address, so nobody can tell who would answer. Delete the stale one; ambientctl analyze names both (AMB0303).',
  },
  EGRESS_NOT_REGISTERED: {
    status: 0,
    flag: '-',
    side: 'upstream',
    retry: false,
    help: 'The address belongs to nothing the mesh knows, and OUTBOUND_TRAFFIC_POLICY is REGISTRY_ONLY. Write a ServiceEntry for it.',
  },
  UNKNOWN_WAYPOINT: {
    status: 0,
    flag: '-',
    side: 'upstream',
    retry: true,
    help: 'The service names a waypoint that cannot be resolved; traffic fails closed. Check the waypoint Gateway.',
  },
  WAYPOINT_NOT_BOUND: {
    status: 404,
    flag: 'CONNECT',
    side: 'downstream',
    retry: false,
    help: 'A waypoint was asked for a service or port that is not bound to it. Check istio.io/use-waypoint and `ambientctl waypoint status`.',
  },
  NO_ROUTABLE_ADDRESS: {
    status: 0,
    flag: '-',
    side: 'upstream',
    retry: false,
    help: 'The chosen endpoint has no address that this source can reach.',
  },
  DOUBLE_HBONE_UNSUPPORTED: {
    status: 0,
    flag: '-',
    side: 'internal',
    retry: false,
    help: 'The endpoint is in another network; tunnels through an east-west gateway are not carried yet.',
  },
  ON_DEMAND_UNSUPPORTED: {
    status: 0,
    flag: '-',
    side: 'internal',
    retry: false,
    help: 'The address would have to be asked for on demand, which this build does not do; it subscribes to everything.',
  },
  NO_ORIGINAL_TARGET: {
    status: 0,
    flag: '-',
    side: 'downstream',
    retry: false,
    help: 'The captured connection does not say where it wanted to go (missing or broken PROXY header).',
  },
  LOCAL_NAME_UNRESOLVED: {
    status: 0,
    flag: '-',
    side: 'upstream',
    retry: false,
    help: 'The host name in a SOCKS request is no service of the mesh and cannot be resolved.',
  },
  SOCKS_PROTOCOL: {
    status: 0,
    flag: '-',
    side: 'downstream',
    retry: false,
    help: 'Not a SOCKS5 CONNECT without authentication.',
  },
  // --- dialling a peer
  DIAL_REFUSED: {
    status: 503,
    flag: 'CONNECT',
    side: 'upstream',
    retry: true,
    help: 'The next hop refused the TCP connection.',
  },
  DIAL_TIMEOUT: {
    status: 503,
    flag: 'CONNECT',
    side: 'upstream',
    retry: true,
    help: 'The next hop did not answer the TCP connection within 10 s.',
  },
  HBONE_TIMEOUT: {
    status: 503,
    flag: 'NETWORK_POLICY',
    side: 'upstream',
    retry: true,
    help: 'No answer on HBONE port 15008 within 10 s; maybe a NetworkPolicy blocks it.',
  },
  TLS_FAILED: {
    status: 0,
    flag: 'CONNECT',
    side: 'upstream',
    retry: false,
    help: 'The TLS handshake with the next hop failed.',
  },
  PEER_IDENTITY_MISMATCH: {
    status: 0,
    flag: 'CONNECT',
    side: 'upstream',
    retry: false,
    help: 'The next hop proved another identity than the one this destination must have.',
  },
  PEER_UNTRUSTED: {
    status: 0,
    flag: 'CONNECT',
    side: 'upstream',
    retry: false,
    help: 'The next hop’s certificate does not lead to a root this workload trusts.',
  },
  H2_FAILED: {
    status: 0,
    flag: 'H2_HANDSHAKE_FAILURE',
    side: 'upstream',
    retry: true,
    help: 'The HTTP/2 connection to the next hop failed; the peer may have refused our certificate.',
  },
  PEER_REFUSED: {
    status: 0,
    flag: 'CONNECT',
    side: 'upstream',
    retry: false,
    help: 'The next hop answered CONNECT with an error status; its reason is named beside the code.',
  },
  PEER_RESET: {
    status: 0,
    flag: 'CONNECT',
    side: 'upstream',
    retry: false,
    help: 'The connection was reset while data was being carried.',
  },
  POOL_CLOSED: {
    status: 503,
    flag: 'CONNECT',
    side: 'internal',
    retry: true,
    help: 'The tunnel pool of this pod is being closed.',
  },
  // --- identity
  CERT_UNAVAILABLE: {
    status: 503,
    flag: 'IDENTITY_ERROR',
    side: 'internal',
    retry: true,
    help: 'No certificate could be obtained for this workload. Check istiod-lite’s CA and the node proxy’s token.',
  },
  CERT_REVOKED: {
    status: 0,
    flag: 'CERT_REVOKED',
    side: 'downstream',
    retry: false,
    help: 'A certificate of the peer’s chain is on the revocation list.',
  },
  PEER_CERT_INVALID: {
    status: 0,
    flag: 'TLS_FAILURE',
    side: 'downstream',
    retry: false,
    help: 'The peer’s certificate breaks a rule for workload identities; the rule is named beside the code.',
  },
  PEER_TRUST_DOMAIN: {
    status: 0,
    flag: 'TLS_FAILURE',
    side: 'downstream',
    retry: false,
    help: 'The peer belongs to a trust domain that is neither ours nor a configured alias.',
  },
  TLS_HANDSHAKE: {
    status: 0,
    flag: 'TLS_FAILURE',
    side: 'downstream',
    retry: false,
    help: 'A TLS handshake on port 15008 failed: plain bytes, wrong version, no client certificate or an untrusted one.',
  },
  HANDSHAKE_TIMEOUT: {
    status: 0,
    flag: 'TLS_FAILURE',
    side: 'downstream',
    retry: false,
    help: 'A peer opened a connection and did not finish its handshake in time.',
  },
  // --- life cycle
  DRAINING: {
    status: 503,
    flag: '-',
    side: 'internal',
    retry: true,
    help: 'This proxy or pod is shutting down.',
  },
  INTERNAL: {
    status: 503,
    flag: 'CONNECT',
    side: 'internal',
    retry: false,
    help: 'A fault in the proxy itself; the log has the details.',
  },
} as const satisfies Record<string, FaultRow>;

export type FaultCode = keyof typeof faults;
