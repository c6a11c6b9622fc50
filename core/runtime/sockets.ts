// TCP sockets of the host's own network namespace: listening on a pod's address, dialling from it.
import net from 'node:net';
import {
  type Clock,
  fromUnknown,
  type IpAddress,
  type IpPort,
  isIpv6,
  isLoopback,
  MeshError,
  parseIp,
  printIpPort,
} from '../base/index.ts';

export interface Keepalive {
  readonly enabled: boolean;
  readonly idleMs: number;
  /** Between probes, and how many; defaults are 1 s and 10. Node before 24.19 keeps to those. */
  readonly intervalMs?: number;
  readonly probes?: number;
}

export interface DialOptions {
  readonly clock: Clock;
  readonly keepalive: Keepalive;
  /** Source address; used only where it can be: same family, and loopback to loopback. */
  readonly from?: IpAddress | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Default 10 s. */
  readonly timeoutMs?: number;
  /** Default true: applications may half-close. A tunnel's end is its end. */
  readonly halfOpen?: boolean;
  /** Makes the socket, unconnected, in the tick of its connect; absent = one of our own namespace. */
  readonly open?: () => net.Socket;
}

/** Connects; rejects with MeshError DIAL_REFUSED or DIAL_TIMEOUT, or with the signal's reason. */
export function dial(to: IpPort, options: DialOptions): Promise<net.Socket> {
  const from = sourceFor(options.from, to.ip);
  return new Promise((resolve, reject) => {
    const { keepalive } = options;
    const at = { host: to.ip, port: to.port, ...(from !== undefined && { localAddress: from }) };
    const socket =
      options.open?.().connect(at) ??
      net.connect({ ...at, allowHalfOpen: options.halfOpen ?? true });
    socket.setNoDelay(true);
    socket.setKeepAlive(
      keepalive.enabled,
      keepalive.idleMs,
      keepalive.intervalMs,
      keepalive.probes,
    );
    const settle = (work: () => void): void => {
      timer.cancel();
      options.signal?.removeEventListener('abort', abort);
      socket.off('error', failed);
      socket.on('error', () => {});
      work();
    };
    const failed = (error: Error): void =>
      settle(() => {
        socket.destroy();
        reject(fromUnknown(error, 'DIAL_REFUSED'));
      });
    const abort = (): void => failed(fromUnknown(options.signal?.reason, 'DRAINING'));
    const timer = options.clock.after(options.timeoutMs ?? 10_000, () =>
      failed(new MeshError('DIAL_TIMEOUT', { detail: `no answer from ${printIpPort(to)}` })),
    );
    socket.on('error', failed);
    socket.once('connect', () => settle(() => resolve(socket)));
    options.signal?.addEventListener('abort', abort, { once: true });
    if (options.signal?.aborted) abort();
  });
}

function sourceFor(from: IpAddress | undefined, to: IpAddress): IpAddress | undefined {
  if (from === undefined || isIpv6(from) !== isIpv6(to)) return undefined;
  return isLoopback(from) === isLoopback(to) ? from : undefined;
}

export interface Listener {
  readonly address: IpPort;
  /** No new connections; those accepted go on. */
  close(): void;
}

/** Binds; rejects with an error that names the address (Z13). Connections arrive unread. */
export function listen(
  at: IpPort,
  onConnection: (socket: net.Socket) => void,
  options: {
    readonly keepalive: Keepalive;
    readonly halfOpen: boolean;
    /** A socket that is bound to `at` and listens already. */
    readonly fd?: number;
  },
): Promise<Listener> {
  const { keepalive } = options;
  const server = net.createServer({
    allowHalfOpen: options.halfOpen,
    pauseOnConnect: true,
    noDelay: true,
    keepAlive: keepalive.enabled,
    keepAliveInitialDelay: keepalive.idleMs,
  });
  server.on('connection', (socket) => {
    socket.on('error', () => {});
    onConnection(socket);
  });
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new Error(`cannot listen on ${printIpPort(at)}: ${error.code ?? error.message}`, {
          cause: error,
        }),
      ),
    );
    const { fd } = options;
    server.listen(fd === undefined ? { host: at.ip, port: at.port, backlog: 512 } : { fd }, () => {
      server.on('error', () => {});
      resolve({ address: at, close: () => void server.close() });
    });
  });
}

/** The other end of an accepted socket; `undefined` if it is already gone. */
export function remoteOf(socket: net.Socket): IpPort | undefined {
  const ip = parseIp(socket.remoteAddress ?? '');
  return ip && socket.remotePort !== undefined ? { ip, port: socket.remotePort } : undefined;
}
