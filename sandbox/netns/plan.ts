// What the namespaces of a sandbox look like, as `ip` lines and nft scripts. Pure.
//   hub ──(br0)── node 1 ── pod        the hub holds the API's second door
//        └──────── node 2 ── pod       a pod's link is routed: every packet of it passes the node
import type { AddressPlan, NodePlace } from '../addresses.ts';
import type { EndpointSlice, Service } from '../objects.ts';
import { serviceEndpoints } from '../loopback/index.ts';

export const prefixOf = (block: number): string => `ambl${block}-`;
export const hubName = (block: number): string => `${prefixOf(block)}hub`;
export const nodeNamespace = (block: number, node: string): string => `${prefixOf(block)}${node}`;
/** With some of the uid, for names of pods may be long and are used again. */
export const podNamespace = (block: number, name: string, uid: string): string =>
  `${prefixOf(block)}${name.slice(0, 40)}-${uid.slice(0, 8)}`;

/** Of the block's sandbox, or of any. */
export const isOurs = (namespace: string): boolean => /^ambl\d+-/.test(namespace);
export const blockOf = (namespace: string): number =>
  Number(/^ambl(\d+)-/.exec(namespace)?.[1] ?? Number.NaN);

const gateway = (addresses: AddressPlan, node: string): string => addresses.podIp(node, 1);
const subnet = (addresses: AddressPlan, node: string): string => `${addresses.podIp(node, 0)}/24`;

/** Run in the hub, whose namespace and those of the nodes exist. */
export function hubLines(addresses: AddressPlan): string[] {
  const { block, nodes, api } = addresses;
  const lines = ['link set lo up', 'link add br0 type bridge', `addr add ${api}/24 dev br0`];
  nodes.forEach(({ name }, i) => {
    const end = nodeNamespace(block, name);
    lines.push(
      `link add n${i + 1} type veth peer name up0 netns ${end}`,
      `link set n${i + 1} master br0 up`,
    );
  });
  lines.push('link set br0 up');
  for (const { name, ip } of nodes) lines.push(`route add ${subnet(addresses, name)} via ${ip}`);
  return lines;
}

export function nodeLines(addresses: AddressPlan, node: NodePlace): string[] {
  const others = addresses.nodes.filter((n) => n.name !== node.name);
  return [
    'link set lo up',
    `addr add ${gateway(addresses, node.name)}/32 dev lo`,
    `addr add ${node.ip}/24 dev up0`,
    'link set up0 up',
    ...others.map((o) => `route add ${subnet(addresses, o.name)} via ${o.ip}`),
  ];
}

export const linkOf = (uid: string): string => `p${uid.replaceAll('-', '').slice(0, 12)}`;

/** Run in the node. */
export const podLines = (
  addresses: AddressPlan,
  pod: { node: string; namespace: string; ip: string; uid: string },
): string[] => [
  `link add ${linkOf(pod.uid)} type veth peer name eth0 netns ${pod.namespace}`,
  `link set ${linkOf(pod.uid)} up`,
  `route add ${pod.ip}/32 dev ${linkOf(pod.uid)} src ${gateway(addresses, pod.node)}`,
];

/** Run in the pod. */
export const insideLines = (
  addresses: AddressPlan,
  pod: { node: string; ip: string },
): string[] => {
  const way = gateway(addresses, pod.node);
  return [
    'link set lo up',
    `addr add ${pod.ip}/32 dev eth0`,
    'link set eth0 up',
    `route add ${way} dev eth0 scope link`,
    `route add default via ${way}`,
  ];
};

/** kube-proxy's part, for each node: cluster IPs become ready endpoints. TCP and UDP. */
export function serviceRules(
  services: readonly Service[],
  slices: readonly EndpointSlice[],
  addresses: AddressPlan,
): string {
  const all = serviceEndpoints(services, slices).filter(({ ip }) => addresses.isClusterIp(ip));
  const backends = new Set(all.flatMap((s) => s.endpoints.map((e) => e.ip)));
  const rules = all.flatMap(({ ip, port, protocol, endpoints }) => {
    if (endpoints.length === 0) return [];
    const to = endpoints.map((e, i) => `${i} : ${e.ip} . ${e.port}`).join(', ');
    return [
      `    ip daddr ${ip} ${protocol} dport ${port} dnat ip to numgen random mod ${endpoints.length} map { ${to} }`,
    ];
  });
  const hook = (name: string): string[] => [
    `  chain ${name} {`,
    `    type nat hook ${name} priority -100; policy accept;`,
    '    jump services',
    '  }',
  ];
  return `${[
    'table ip ambient-services {',
    '}',
    'delete table ip ambient-services',
    'table ip ambient-services {',
    '  chain services {',
    ...rules,
    '  }',
    ...hook('prerouting'),
    ...hook('output'),
    // A pod that is sent to itself would not take a packet from its own address.
    '  chain postrouting {',
    '    type nat hook postrouting priority 90; policy accept;',
    ...[...backends].map((ip) => `    ip saddr ${ip} ip daddr ${ip} masquerade`),
    '  }',
    '  chain refuse {',
    '    type filter hook prerouting priority -90; policy accept;',
    `    ip daddr ${addresses.clusterIp(0)}/17 reject with icmp type port-unreachable`,
    '  }',
    '}',
  ].join('\n')}\n`;
}
