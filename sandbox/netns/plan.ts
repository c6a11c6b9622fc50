// What the namespaces of a sandbox look like, as `ip` lines and nft scripts. Pure.
//   hub ──(br0)── node 1 ── pod        the hub holds the API's second door
//        └──────── node 2 ── pod       a pod's link is routed: every packet of it passes the node
// Both families where the plan has IPv6; a pod's IPv6 gateway is its link's fe80::1, for a node answers
// neighbours on a link for the addresses of that link alone.
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
const gateway6 = 'fe80::1';

/** Lines for the IPv6 twin of an address; none where there is IPv4 alone. */
function six(addresses: AddressPlan, ip: string, lines: (ip6: string) => string[]): string[] {
  const ip6 = addresses.six(ip);
  return ip6 === undefined ? [] : lines(ip6);
}

/** To another node's pods. */
const route = (addresses: AddressPlan, { name, ip }: NodePlace): string[] => [
  `route add ${subnet(addresses, name)} via ${ip}`,
  ...six(addresses, addresses.podIp(name, 0), (net) => [
    `route add ${net}/112 via ${addresses.six(ip)}`,
  ]),
];

/** Run in the hub, whose namespace and those of the nodes exist. */
export function hubLines(addresses: AddressPlan): string[] {
  const { block, nodes, api } = addresses;
  const lines = [
    'link set lo up',
    'link add br0 type bridge',
    `addr add ${api}/24 dev br0`,
    ...six(addresses, api, (ip6) => [`addr add ${ip6}/112 dev br0 nodad`]),
  ];
  nodes.forEach(({ name }, i) => {
    const end = nodeNamespace(block, name);
    lines.push(
      `link add n${i + 1} type veth peer name up0 netns ${end}`,
      `link set n${i + 1} master br0 up`,
    );
  });
  lines.push('link set br0 up');
  for (const node of nodes) lines.push(...route(addresses, node));
  return lines;
}

export function nodeLines(addresses: AddressPlan, node: NodePlace): string[] {
  const others = addresses.nodes.filter((n) => n.name !== node.name);
  return [
    'link set lo up',
    `addr add ${gateway(addresses, node.name)}/32 dev lo`,
    `addr add ${node.ip}/24 dev up0`,
    ...six(addresses, gateway(addresses, node.name), (ip6) => [`addr add ${ip6}/128 dev lo`]),
    ...six(addresses, node.ip, (ip6) => [`addr add ${ip6}/112 dev up0 nodad`]),
    'link set up0 up',
    ...others.flatMap((o) => route(addresses, o)),
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
  ...six(addresses, pod.ip, (ip6) => [
    `addr add ${gateway6}/64 dev ${linkOf(pod.uid)} nodad`,
    `route add ${ip6}/128 dev ${linkOf(pod.uid)} src ${addresses.six(gateway(addresses, pod.node))}`,
  ]),
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
    ...six(addresses, pod.ip, (ip6) => [`addr add ${ip6}/128 dev eth0 nodad`]),
    'link set eth0 up',
    `route add ${way} dev eth0 scope link`,
    `route add default via ${way}`,
    ...six(addresses, way, () => [`route add ::/0 via ${gateway6} dev eth0`]),
  ];
};

/** kube-proxy's part, for each node: cluster IPs become ready endpoints. TCP and UDP. */
export function serviceRules(
  services: readonly Service[],
  slices: readonly EndpointSlice[],
  addresses: AddressPlan,
): string {
  const four = serviceEndpoints(services, slices).filter(({ ip }) => addresses.isClusterIp(ip));
  const lines = familyRules('ip', four, `${addresses.clusterIp(0)}/17`);
  const net6 = addresses.six(addresses.clusterIp(0));
  if (net6 !== undefined) {
    lines.push(...familyRules('ip6', serviceEndpoints(services, slices, 'IPv6'), `${net6}/105`));
  }
  return `${lines.join('\n')}\n`;
}

function familyRules(
  family: 'ip' | 'ip6',
  all: ReturnType<typeof serviceEndpoints>,
  range: string,
): string[] {
  const backends = new Set(all.flatMap((s) => s.endpoints.map((e) => e.ip)));
  const rules = all.flatMap(({ ip, port, protocol, endpoints }) => {
    if (endpoints.length === 0) return [];
    const to = endpoints.map((e, i) => `${i} : ${e.ip} . ${e.port}`).join(', ');
    const where = `numgen random mod ${endpoints.length} map { ${to} }`;
    return [`    ${family} daddr ${ip} ${protocol} dport ${port} dnat ${family} to ${where}`];
  });
  const hook = (name: string): string[] => [
    `  chain ${name} {`,
    `    type nat hook ${name} priority -100; policy accept;`,
    '    jump services',
    '  }',
  ];
  const table = `table ${family} ambient-services`;
  return [
    `${table} {`,
    '}',
    `delete ${table}`,
    `${table} {`,
    '  chain services {',
    ...rules,
    '  }',
    ...hook('prerouting'),
    ...hook('output'),
    // A pod that is sent to itself would not take a packet from its own address.
    '  chain postrouting {',
    '    type nat hook postrouting priority 90; policy accept;',
    ...[...backends].map((ip) => `    ${family} saddr ${ip} ${family} daddr ${ip} masquerade`),
    '  }',
    '  chain refuse {',
    '    type filter hook prerouting priority -90; policy accept;',
    `    ${family} daddr ${range} reject with ${family === 'ip' ? 'icmp' : 'icmpv6'} type port-unreachable`,
    '  }',
    '}',
  ];
}
