// A block of loopback addresses of one's own, so that test files and test runs beside each other never
// meet. The claim is a bound lock port; it ends with the process.
import net from 'node:net';

/** `block(7)` = 127.a.b.7; numbers 1…253. */
export type AddressBlock = (n: number) => string;

export async function claimBlock(): Promise<AddressBlock> {
  const first = 150 + (process.pid % 80);
  for (let i = 0; i < 80 * 250; i++) {
    const prefix = `127.${150 + ((first - 150 + Math.floor(i / 250)) % 80)}.${1 + (i % 250)}`;
    if (await lock(`${prefix}.254`)) return (n) => `${prefix}.${n}`;
  }
  throw new Error('no block of loopback addresses is free');
}

function lock(ip: string): Promise<boolean> {
  const server = net.createServer();
  server.unref();
  return new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(15099, ip, () => resolve(true));
  });
}
