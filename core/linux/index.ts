// Door of core/linux: what needs the kernel's own calls. The only user of koffi.
export type { TrapRule } from './filter.ts';
export {
  AF_INET,
  AF_INET6,
  type CallNumbers,
  callNumbers,
  errno,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
} from './numbers.ts';
export {
  type Availability,
  installFilter,
  isWaiting,
  receiveNotification,
  reply,
  replyWithFd,
  seccompNotifyAvailable,
  takeFd,
} from './seccomp.ts';
export {
  bindAddressNoPort,
  bindBytes,
  bindSocket,
  closeFd,
  connectSocket,
  disconnectSocket,
  type Family,
  isNonBlocking,
  isPending,
  isV6Only,
  listenSocket,
  localAddress,
  openPipe,
  openSocket,
  openWaker,
  type PollEntry,
  pollFds,
  sendNow,
  setNonBlocking,
  socketDomain,
  socketError,
  socketType,
} from './sockets.ts';
export {
  decodeSocketAddress,
  encodeLoopback6,
  encodeSocketAddress,
  intArgument,
  type Notification,
  type Reply,
  type SocketAddress,
} from './structs.ts';
export { machineMeans, type MachineMeans, unshareArgs } from './machine.ts';
export { netToolsAvailable, runIp, runNft } from './net-tools.ts';
export {
  inNamespace,
  type NamespaceFd,
  namespaceId,
  namespacesAvailable,
  openNamespace,
  ownNamespaceId,
} from './netns.ts';
export { openPacketTap, type PacketTap } from './packets.ts';
export {
  fdOf,
  type ListeningFd,
  listenInside,
  type ListenInside,
  originalDestination,
  socketInside,
  type SocketInside,
  udpInside,
  type UdpInside,
} from './pod-sockets.ts';
export {
  connectSeqpacket,
  listenSeqpacket,
  SeqpacketConnection,
  type SeqpacketServer,
} from './seqpacket.ts';
export type { Packet } from './seqpacket-calls.ts';
