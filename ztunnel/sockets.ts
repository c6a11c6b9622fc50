// Where a pod's sockets are made and how its connections are captured: the one difference between the
// modes. `addressed`: the pod is an address of this host, its connections bring a PROXY header.
// `shared`: the pod is a network namespace, its connections were redirected by the kernel.
import type { Socket as UdpSocket } from 'node:dgram';
import net, { type Socket } from 'node:net';
import {
  type Clock,
  type IpAddress,
  type IpPort,
  isIpv6,
  isLoopback,
  MeshError,
  parseIp,
  printIpPort,
} from '../core/base/index.ts';
import {
  closeFd,
  fdOf,
  listenInside,
  namespaceId,
  openPacketTap,
  originalDestination,
  type PacketTap,
  socketInside,
  udpInside,
} from '../core/linux/index.ts';
import { dial, type DialOptions, listen, type Listener } from '../core/runtime/index.ts';
import { targetFromHeader } from './capture/original-target.ts';
import type { ZtunnelConfig } from './config.ts';
import { ports } from './ports.ts';

export type PodDial = Omit<DialOptions, 'open'> & {
  /** The far end shall see `from` as its client, whose address that is not ours. */
  readonly keepSource?: boolean;
};

/** UDP inside the pod. */
export interface DnsSockets {
  /** Bound to 15053 on the pod's loopback addresses; all or none. */
  listen(): readonly UdpSocket[];
  /** On a free port, fit to ask `to`. */
  upstream(to: IpPort): UdpSocket;
}

export interface PodSockets {
  /** Looks at the pod's packets; throws without CAP_NET_RAW. Absent where it has no network of its own. */
  tap?(): PacketTap;
  /** Absent where DNS cannot be captured. */
  readonly dns?: DnsSockets;
  /**
   * Binds `port` on every address the pod's proxy listens on; all or none. `local` = loopback alone
   * where the pod has one of its own. `work` gets the address the pod is reached at, if it is one.
   */
  listen(
    port: number,
    how: { readonly halfOpen: boolean; readonly local: boolean },
    work: (socket: Socket, at: IpAddress) => void,
  ): Promise<readonly Listener[]>;
  /** As core/runtime's `dial`, from where the pod is. */
  dial(to: IpPort, options: PodDial): Promise<Socket>;
  /** Where a captured connection wanted to go; rejects with NO_ORIGINAL_TARGET. */
  target(socket: Socket): Promise<IpPort>;
}

export function addressedSockets(
  addresses: readonly IpAddress[],
  config: ZtunnelConfig,
  clock: Clock,
): PodSockets {
  const { keepalive } = config;
  return {
    listen: (port, { halfOpen }, work) =>
      allOrNone(
        addresses.map(
          (ip) => () => listen({ ip, port }, (s) => work(s, ip), { keepalive, halfOpen }),
        ),
      ),
    dial: (to, options) => dial(to, options),
    target: (socket) => targetFromHeader(socket, clock),
  };
}

/** A handle of a pod's network namespace. It keeps the namespace alive until closed. */
export class PodNamespace {
  /** The same for two handles of one namespace. */
  readonly id: string;
  readonly #fd: number;
  #closed = false;

  /** Takes the descriptor over. */
  constructor(fd: number) {
    this.#fd = fd;
    this.id = namespaceId(fd);
  }

  /** The descriptor; throws after the close, when the number may be somebody else's. */
  get fd(): number {
    if (this.#closed) throw new MeshError('DRAINING', { detail: 'the pod is gone' });
    return this.#fd;
  }

  close(): void {
    if (!this.#closed) closeFd(this.#fd);
    this.#closed = true;
  }
}

const listenBacklog = 128;
const allInterfaces = 0;
const anyAddress = ['0.0.0.0', '::'] as IpAddress[];
const loopback = ['127.0.0.1', '::1'] as IpAddress[];
/** A pod without IPv6: its IPv4 is enough. */
const noIpv6: ReadonlySet<string> = new Set(['EADDRNOTAVAIL', 'E97']);

export function namespaceSockets(ns: PodNamespace, config: ZtunnelConfig): PodSockets {
  const { keepalive, inpod } = config;
  let transparent = false;
  const bind = async (
    at: IpPort,
    halfOpen: boolean,
    work: (socket: Socket, at: IpAddress) => void,
  ): Promise<Listener | undefined> => {
    let made: { fd: number; transparent: boolean };
    try {
      made = listenInside(ns.fd, {
        at,
        mark: inpod.mark,
        reusePort: inpod.reusePort,
        backlog: listenBacklog,
        transparent: inpod.keepSource,
      });
    } catch (error) {
      if (isIpv6(at.ip) && noIpv6.has((error as NodeJS.ErrnoException).code ?? ''))
        return undefined;
      const why = error instanceof Error ? error.message : String(error);
      throw new Error(`cannot listen on ${printIpPort(at)} of the pod: ${why}`, { cause: error });
    }
    transparent ||= made.transparent;
    return listen(at, (s) => work(s, localOf(s) ?? at.ip), { keepalive, halfOpen, fd: made.fd });
  };
  const family = (ip: IpAddress): boolean => inpod.ipv6 || !isIpv6(ip);
  return {
    tap: () => openPacketTap(ns.fd, allInterfaces),
    dns: {
      listen: () => udpListeners(ns, loopback.filter(family), inpod),
      upstream: ({ ip }) =>
        udpInside(ns.fd, {
          at: { ip: (isIpv6(ip) ? '::' : '0.0.0.0') as IpAddress, port: 0 },
          mark: inpod.mark,
          reusePort: false,
        }),
    },
    listen: (port, { halfOpen, local }, work) =>
      allOrNone(
        (local ? loopback : anyAddress)
          .filter(family)
          .map((ip) => () => bind({ ip, port }, halfOpen, work)),
      ),
    dial: (to, { keepSource, from, ...options }) => {
      const source = keepSource && transparent && from !== undefined ? from : undefined;
      const fits = source !== undefined && isIpv6(source) === isIpv6(to.ip) && !isLoopback(source);
      const open = (): Socket =>
        new net.Socket({
          fd: socketInside(ns.fd, { to: to.ip, mark: inpod.mark, from: fits ? source : undefined }),
          allowHalfOpen: options.halfOpen ?? true,
        });
      return dial(to, { ...options, open });
    },
    target: async (socket) => {
      const target = redirectedFrom(socket);
      if (target) return target;
      // A loop begins where a connection made to the proxy's own port is carried to where it went.
      throw new MeshError('NO_ORIGINAL_TARGET', { detail: 'the connection was not redirected' });
    },
  };
}

function udpListeners(
  ns: PodNamespace,
  addresses: readonly IpAddress[],
  { mark, reusePort }: ZtunnelConfig['inpod'],
): readonly UdpSocket[] {
  const bound: UdpSocket[] = [];
  for (const ip of addresses) {
    const at = { ip, port: ports.dns };
    try {
      bound.push(udpInside(ns.fd, { at, mark, reusePort }));
    } catch (error) {
      if (isIpv6(ip) && noIpv6.has((error as NodeJS.ErrnoException).code ?? '')) continue;
      for (const socket of bound) socket.close();
      const why = error instanceof Error ? error.message : String(error);
      throw new Error(`cannot listen on ${printIpPort(at)} of the pod: ${why}`, { cause: error });
    }
  }
  return bound;
}

const localOf = (socket: Socket): IpAddress | undefined => parseIp(socket.localAddress ?? '');

function redirectedFrom(socket: Socket): IpPort | undefined {
  const fd = fdOf(socket);
  const local = localOf(socket);
  if (fd === undefined || local === undefined) return undefined;
  const target = originalDestination(fd, isIpv6(local) ? 'IPv6' : 'IPv4');
  // Connection tracking answers for every connection it knows, redirected or not.
  if (target?.ip === local && target.port === socket.localPort) return undefined;
  return target;
}

async function allOrNone(
  binds: readonly (() => Promise<Listener | undefined>)[],
): Promise<readonly Listener[]> {
  const bound: Listener[] = [];
  try {
    for (const bind of binds) {
      const listener = await bind();
      if (listener) bound.push(listener);
    }
    return bound;
  } catch (error) {
    for (const listener of bound) listener.close();
    throw error;
  }
}
