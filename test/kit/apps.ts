// Applications for stories: an echo that remembers whom it saw, and a client that goes out through a pod's
// proxy as the capture of `addressed` mode does (PROXY v2 in front of the first byte).
import net from 'node:net';

export interface EchoApp {
  readonly ip: string;
  readonly port: number;
  /** Remote addresses in order of arrival. */
  readonly seen: string[];
  /** Payload bytes received in all. */
  received(): number;
  /** Connections open now. */
  readonly open: Set<net.Socket>;
  stop(): Promise<void>;
}

export async function startEcho(ip: string, port = 8080): Promise<EchoApp> {
  const seen: string[] = [];
  const open = new Set<net.Socket>();
  let bytes = 0;
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    seen.push(socket.remoteAddress ?? '');
    open.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => open.delete(socket));
    socket.on('data', (chunk: Buffer) => (bytes += chunk.length));
    socket.pipe(socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, ip, resolve);
  });
  return {
    ip,
    port,
    seen,
    open,
    received: () => bytes,
    async stop() {
      for (const s of open) s.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** PROXY v2 for IPv4: what the capture writes before the application's bytes. */
export function proxyHeader(source: string, target: string, port: number): Buffer {
  const header = Buffer.alloc(28);
  Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1').copy(header);
  header[12] = 0x21;
  header[13] = 0x11;
  header.writeUInt16BE(12, 14);
  Buffer.from(source.split('.').map(Number)).copy(header, 16);
  Buffer.from(target.split('.').map(Number)).copy(header, 20);
  header.writeUInt16BE(port, 26);
  return header;
}

export interface AppConnection {
  readonly socket: net.Socket;
  /** Resolves with `end`, or the error code that ended the connection. */
  readonly ended: Promise<string>;
  /** Everything received so far. */
  text(): string;
}

/** A pod's application calls `target`: captured at the pod's own 15001. */
export function callFrom(
  podIp: string,
  target: string,
  port = 8080,
  at: { readonly ip?: string; readonly port?: number } = {},
): Promise<AppConnection> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({
      host: at.ip ?? podIp,
      port: at.port ?? 15001,
      localAddress: podIp,
      allowHalfOpen: true,
      noDelay: true,
    });
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    const ended = new Promise<string>((done) => {
      socket.on('error', (error: NodeJS.ErrnoException) => done(error.code ?? error.message));
      socket.on('end', () => done('end'));
      socket.on('close', () => done('close'));
    });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      socket.write(proxyHeader(podIp, target, port));
      resolve({ socket, ended, text: () => text });
    });
  });
}
