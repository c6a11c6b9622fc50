// PROXY protocol v2 towards ztunnel: where a captured connection comes from and wanted to go.
// 28 bytes, TCP over IPv4, no TLVs (ztunnel-protocol.md 2.8 has the layout). Pure.
import type { Target } from './decide.ts';

const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

export function proxyHeader(source: Target, destination: Target): Buffer {
  const bytes = Buffer.alloc(28);
  signature.copy(bytes);
  bytes[12] = 0x21; // version 2, PROXY
  bytes[13] = 0x11; // AF_INET, STREAM
  bytes.writeUInt16BE(12, 14);
  Buffer.from(source.ip.split('.').map(Number)).copy(bytes, 16);
  Buffer.from(destination.ip.split('.').map(Number)).copy(bytes, 20);
  bytes.writeUInt16BE(source.port, 24);
  bytes.writeUInt16BE(destination.port, 26);
  return bytes;
}
