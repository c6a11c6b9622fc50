// The ports of every pod's proxy (ztunnel-protocol.md 1.1). Traffic aimed at them would loop.
export const ports = {
  outbound: 15001,
  inboundPlaintext: 15006,
  hbone: 15008,
  socks5: 15080,
  /** Loopback only; DNS captured by the rules arrives here. */
  dns: 15053,
} as const;

const own: ReadonlySet<number> = new Set([
  ports.outbound,
  ports.inboundPlaintext,
  ports.hbone,
  ports.socks5,
]);

/** 15001, 15006, 15008, 15080. */
export const isOwnPort = (port: number): boolean => own.has(port);
