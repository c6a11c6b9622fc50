// The address plan of a sandbox, which differs by driver. Pure.
//   loopback: 127.B.0.1 API, 127.B.0.x pods, 127.B.128.x services (sandbox.md D5), one node
//   netns:    10.B.0.1 API, 10.B.0.1N nodes, 10.B.N.x pods of node N, 10.B.128.x services; 10.B.N.1 is
//             the way out of node N's pods. Only the sandbox's own namespaces know these addresses.
//             With IPv6, 10.B.X.Y is also fd0a:B::X:Y (each in hexadecimal), so that there is one plan.
import { parseIp } from '../core/base/index.ts';
import {
  apiAddress,
  type Block,
  clusterAddress,
  hostAddress,
  inBlock,
  isClusterAddress,
} from './loopback/index.ts';
import { nodeName } from './objects.ts';

export interface NodePlace {
  readonly name: string;
  readonly ip: string;
}

export interface AddressPlan {
  /** B. */
  readonly block: Block;
  /** The first one has the pods with fixed addresses. */
  readonly nodes: readonly NodePlace[];
  /** Where pods reach the API. */
  readonly api: string;
  /** Pods that share the node's network exist here. */
  readonly hostNetwork: boolean;
  clusterIp(n: number): string;
  isClusterIp(ip: string): boolean;
  podIp(node: string, n: number): string;
  isPodIp(node: string, ip: string): boolean;
  /** The IPv6 address that goes with an IPv4 one of the plan; `undefined` where there is IPv4 alone. */
  six(ip: string): string | undefined;
}

export function loopbackPlan(block: Block): AddressPlan {
  return {
    block,
    nodes: [{ name: nodeName, ip: apiAddress(block) }],
    api: apiAddress(block),
    hostNetwork: false,
    clusterIp: (n) => clusterAddress(block, n),
    isClusterIp: (ip) => isClusterAddress(block, ip),
    podIp: (_node, n) => hostAddress(block, n),
    isPodIp: (_node, ip) => inBlock(block, ip),
    six: () => undefined,
  };
}

export const mostNodes = 50;

/** `ipv6`: every address has one of either family. */
export function netnsPlan(block: Block, count: number, ipv6 = false): AddressPlan {
  const nodes = Array.from({ length: count }, (_, i) => ({
    name: i === 0 ? nodeName : `${nodeName}-${i + 1}`,
    ip: `10.${block}.0.${10 + i + 1}`,
  }));
  const numberOf = (node: string): number => nodes.findIndex((n) => n.name === node) + 1;
  return {
    block,
    nodes,
    api: `10.${block}.0.1`,
    hostNetwork: true,
    clusterIp: (n) => `10.${block}.${0x80 + ((n >> 8) & 0x7f)}.${n & 255}`,
    isClusterIp: (ip) => ip.startsWith(`10.${block}.`) && Number(ip.split('.')[2]) >= 0x80,
    podIp: (node, n) => `10.${block}.${numberOf(node)}.${n & 255}`,
    isPodIp: (node, ip) => ip.startsWith(`10.${block}.${numberOf(node)}.`),
    six: (ip) => (ipv6 ? twin(ip) : undefined),
  };
}

function twin(ip: string): string | undefined {
  const [, block = 0, x = 0, y = 0] = ip.split('.').map(Number);
  const hex = [block, x, y].map((n) => n.toString(16));
  return parseIp(`fd0a:${hex[0]}::${hex[1]}:${hex[2]}`);
}
