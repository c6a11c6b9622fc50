// Door of core/dns: messages, and the plumbing around them.
export { DnsCache } from './cache-state.ts';
export { DnsFrames, frameDns } from './frames.ts';
export {
  addressRecord,
  answerLimit,
  type DnsAnswer,
  type DnsQuery,
  type DnsRecord,
  type QueryRead,
  type Rcode,
  rcodes,
  readAnswer,
  readQuery,
  recordTypes,
  refuseQuery,
  writeAnswer,
} from './message.ts';
export { parseResolvConf, type ResolvConf } from './resolv-conf.ts';
export { type AnswerDns, type DnsProtocol, type ServedUdp, serveTcp, serveUdp } from './server.ts';
export { askUpstream, type UpstreamSockets } from './upstream.ts';
