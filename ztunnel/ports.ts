// The ports of every pod's proxy (ztunnel-protocol.md 1.1). Traffic aimed at them would loop.
export const ports = {
  outbound: 15001,
  inboundPlaintext: 15006,
  hbone: 15008,
  socks5: 15080,
} as const;

const own: ReadonlySet<number> = new Set(Object.values(ports));

/** 15001, 15006, 15008, 15080. */
export const isOwnPort = (port: number): boolean => own.has(port);
