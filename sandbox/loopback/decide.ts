// What happens to a pod's own bind, connect and open: (call, pod, view) → action. Pure; the
// supervisor carries it out. This table is the sandbox's whole network (sandbox.md D1, D2, D4).
import type { Random } from '../../core/base/index.ts';
import { type Block, inBlock, isClusterAddress } from './addresses.ts';

/** ztunnel's ports on a pod's address. */
export const outboundPort = 15001;
export const inboundPort = 15006;
export const hbonePort = 15008;

/** A pod as the capture sees it. */
export interface PodView {
  readonly uid: string;
  readonly ip: string;
  /** Its own connections go to its ztunnel listener. */
  readonly outbound: boolean;
  /** Others' plaintext connections to it go to its ztunnel listener. */
  readonly inbound: boolean;
  /** The file that answers /etc/hosts. */
  readonly hosts: string;
}

export interface Endpoint {
  readonly ip: string;
  readonly port: number;
}

/** Everything `decide` looks at; replaced as a whole on every change. */
export interface CaptureView {
  readonly block: Block;
  /** Pods by address, captured or not. */
  readonly pods: ReadonlyMap<string, PodView>;
  /** Ready endpoints by `clusterIP:port`. */
  readonly services: ReadonlyMap<string, readonly Endpoint[]>;
  /** Addresses of ServiceEntries beyond the block: a captured pod's way there is its ztunnel listener, too. */
  readonly outside: ReadonlySet<string>;
}

export interface Target {
  readonly ip: string;
  readonly port: number;
}

export type ConnectAction =
  /** Not ours: the kernel goes on as if nobody had looked. */
  | { readonly do: 'pass' }
  | { readonly do: 'refuse'; readonly why: 'no-endpoint' | 'tunnel-port' }
  | {
      readonly do: 'dial';
      readonly to: Target;
      /** Source address to bind; absent = the kernel's choice. */
      readonly from?: string;
      /** Original destination, told to ztunnel by PROXY v2 before the app's first byte. */
      readonly announce?: Target;
    };

export type BindAction =
  | { readonly do: 'pass' }
  | { readonly do: 'refuse' }
  | { readonly do: 'own'; readonly ip: string };

/** A pod's bind: "any" becomes its own address; another pod's address is not there for it. */
export function decideBind(
  to: { ip: string; any: boolean },
  pod: PodView,
  block: Block,
): BindAction {
  if (to.any) return { do: 'own', ip: pod.ip };
  if (inBlock(block, to.ip) && to.ip !== pod.ip) return { do: 'refuse' };
  return { do: 'pass' };
}

/**
 * A pod's TCP connect. `ownPorts` are the ports it bound on "any", which live on its own address:
 * its 127.0.0.1 must reach them too, as several containers of a pod share one localhost.
 */
export function decideConnect(
  to: Target,
  pod: PodView,
  view: CaptureView,
  ownPorts: { has(port: number): boolean },
  random: Random,
): ConnectAction {
  if (to.ip === '127.0.0.1' || to.ip === '0.0.0.0') {
    return ownPorts.has(to.port)
      ? { do: 'dial', to: { ip: pod.ip, port: to.port } }
      : { do: 'pass' };
  }
  const captured: ConnectAction = {
    do: 'dial',
    to: { ip: pod.ip, port: outboundPort },
    from: pod.ip,
    announce: to,
  };
  if (!inBlock(view.block, to.ip))
    return pod.outbound && view.outside.has(to.ip) ? captured : { do: 'pass' };
  const isTunnelPort = to.port === outboundPort || to.port === inboundPort;
  if (isTunnelPort && view.pods.has(to.ip)) return { do: 'refuse', why: 'tunnel-port' };
  if (to.ip === pod.ip) return { do: 'dial', to, from: pod.ip };
  if (pod.outbound) return captured;
  const target = resolve(to, view, random);
  if (!target) return { do: 'refuse', why: 'no-endpoint' };
  const theirs = view.pods.get(target.ip);
  if (theirs?.inbound && target.ip !== pod.ip && target.port !== hbonePort) {
    return { do: 'dial', to: { ip: target.ip, port: inboundPort }, from: pod.ip, announce: target };
  }
  return { do: 'dial', to: target, from: pod.ip };
}

/** kube-proxy by connect: a cluster IP becomes one of its ready endpoints. */
function resolve(to: Target, view: CaptureView, random: Random): Target | undefined {
  if (!isClusterAddress(view.block, to.ip)) return to;
  const endpoints = view.services.get(`${to.ip}:${to.port}`) ?? [];
  return endpoints[Math.floor(random.next() * endpoints.length)];
}

/** Whether a path a pod opens is answered with a file of its own. */
export const isHostsPath = (path: string): boolean => path === '/etc/hosts';

/**
 * Name services outside the pod that would answer before /etc/hosts is read: their sockets do not
 * exist for a pod.
 */
export const isNameServiceSocket = (path: string): boolean =>
  path === '/var/run/nscd/socket' ||
  path === '/run/nscd/socket' ||
  path.startsWith('/run/systemd/resolve/');
