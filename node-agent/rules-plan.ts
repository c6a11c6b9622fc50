// The rules inside a pod's network namespace, as nft scripts (ztunnel-protocol.md 9.4, 9.6). Pure.
//   out: redirect to 15001, DNS to 15053   in: redirect to 15006, except 15008 and the node's own probes
//   the proxy's sockets carry a mark and are exempt; answers to clients' own addresses come back by mark
export interface RuleFacts {
  /** Source address of the node's probes. */
  readonly probeIp: string;
  readonly probeIp6: string;
  /** False with `ambient.istio.io/bypass-inbound-capture`. */
  readonly inbound: boolean;
  /** DNS goes to 15053: `ambient.istio.io/dns-capture`, else the node agent's default. */
  readonly dns: boolean;
  /** TCP that comes in on these is outbound: `istio.io/reroute-virtual-interfaces`. */
  readonly reroute: readonly string[];
  /** The pod has an IPv6 address. */
  readonly ipv6: boolean;
}

/**
 * `capture`: both ways. `inbound`: its own traffic is free again. `idle`: nothing new is captured, but
 * connections that were redirected go on; without any hook the kernel would forget their translation.
 */
export type RuleStage = 'capture' | 'inbound' | 'idle';

type Annotations = Readonly<Record<string, string>> | undefined;

/** What a pod says of its own capture (ztunnel-protocol.md 9.7). */
export function podSwitches(
  annotations: Annotations,
  dnsDefault: boolean,
): Omit<RuleFacts, 'probeIp' | 'probeIp6' | 'ipv6'> {
  const names = annotations?.['istio.io/reroute-virtual-interfaces']?.split(',') ?? [];
  return {
    inbound: goBoolean(annotations?.['ambient.istio.io/bypass-inbound-capture']) !== true,
    dns: goBoolean(annotations?.['ambient.istio.io/dns-capture']) ?? dnsDefault,
    // Names of interfaces go into a rule as they are: only what the kernel could call one.
    reroute: names.map((n) => n.trim()).filter((n) => /^[\w.@:-]{1,15}$/.test(n)),
  };
}

/** Go's spellings; anything else counts as not set. */
function goBoolean(text: string | undefined): boolean | undefined {
  if (['1', 't', 'T', 'TRUE', 'true', 'True'].includes(text ?? '')) return true;
  return ['0', 'f', 'F', 'FALSE', 'false', 'False'].includes(text ?? '') ? false : undefined;
}

export const defaultProbeIp = '169.254.7.127';
export const defaultProbeIp6 = 'fd16:9254:7127:1337:ffff:ffff:ffff:ffff';

const nat = 'istio-ambient-nat';
const mangle = 'istio-ambient-mangle';
const raw = 'istio-ambient-raw';
const proxied = 'meta mark & 0xfff == 0x539';
const notProxied = 'meta mark & 0xfff != 0x539';
/**
 * Only the packet that opens a connection: one that runs when the rules come would otherwise be taken
 * for new, and be cut.
 */
const opening = 'tcp flags & (fin | syn | rst | ack) == syn';

/** Replaces all our tables in one transaction. */
export function podRules(stage: RuleStage, facts: RuleFacts): string {
  const captures = stage === 'capture';
  const lines = [
    ...removal(),
    ...mangleTable(),
    ...(captures && facts.dns ? rawTable() : []),
    `table inet ${nat} {`,
  ];
  lines.push(
    ...chain('prerouting', 'nat', -100),
    ...chain('output', 'nat', -100),
    '  chain istio-prerouting {',
    ...(captures ? rerouteRules(facts) : []),
    ...(stage === 'idle' || !facts.inbound ? [] : inboundRules(facts)),
    '  }',
    '  chain istio-output {',
    ...(captures ? outboundRules(facts) : []),
    '  }',
    '}',
  );
  return `${lines.join('\n')}\n`;
}

/** Takes our tables out, also where there are none. */
export const noRules = (): string => `${removal().join('\n')}\n`;

/** The way back for answers to a client's own address: `ip` lines, for IPv4 and IPv6 each. */
export const policyRoutes = (how: 'add' | 'del'): string[] => [
  `rule ${how} fwmark 0x111/0xfff priority 32764 lookup 100`,
  `route ${how} local default dev lo table 100`,
];

const removal = (): string[] =>
  [nat, mangle, raw].flatMap((name) => [`table inet ${name} {`, '}', `delete table inet ${name}`]);

const chain = (hook: string, type: string, priority: number): string[] => [
  `  chain ${hook} {`,
  `    type ${type} hook ${hook} priority ${priority}; policy accept;`,
  `    jump istio-${hook}`,
  '  }',
];

const mangleTable = (): string[] => [
  `table inet ${mangle} {`,
  '  chain istio-prerouting {',
  `    ${proxied} ct mark set 0x111`,
  '  }',
  '  chain istio-output {',
  '    ct mark & 0xfff == 0x111 meta mark set ct mark',
  '  }',
  ...chain('prerouting', 'filter', -150),
  ...chain('output', 'route', -150),
  '}',
];

const inboundRules = ({ probeIp, probeIp6 }: RuleFacts): string[] => [
  `    meta l4proto tcp ip saddr ${probeIp} accept`,
  `    meta l4proto tcp ip6 saddr ${probeIp6} accept`,
  `    ip daddr != 127.0.0.1 tcp dport != 15008 ${opening} ${notProxied} redirect to :15006`,
  `    ip6 daddr != ::1 tcp dport != 15008 ${opening} ${notProxied} redirect to :15006`,
];

/** What virtual machines behind these interfaces send is the pod's own traffic. */
const rerouteRules = ({ reroute }: RuleFacts): string[] =>
  reroute.flatMap((name) => [
    `    iifname "${name}" meta l4proto tcp ${opening} redirect to :15001`,
    `    iifname "${name}" meta l4proto tcp return`,
  ]);

/**
 * The proxy's own questions and their answers are tracked apart: they may have the addresses and ports
 * of the question that was redirected.
 */
const rawTable = (): string[] => [
  `table inet ${raw} {`,
  '  chain istio-output {',
  `    udp dport 53 ${proxied} ct zone set 1`,
  '  }',
  '  chain istio-prerouting {',
  `    udp sport 53 ${notProxied} ct zone set 1`,
  '  }',
  ...chain('prerouting', 'filter', -300),
  ...chain('output', 'filter', -300),
  '}',
];

const dnsRules = [
  `    oifname != "lo" udp dport 53 ${notProxied} redirect to :15053`,
  `    ip daddr != 127.0.0.1 tcp dport 53 ${opening} ${notProxied} redirect to :15053`,
  `    ip6 daddr != ::1 tcp dport 53 ${opening} ${notProxied} redirect to :15053`,
];

const outboundRules = ({ probeIp, probeIp6, dns }: RuleFacts): string[] => [
  `    meta l4proto tcp ip daddr ${probeIp} accept`,
  `    meta l4proto tcp ip6 daddr ${probeIp6} accept`,
  ...(dns ? dnsRules : []),
  '    meta l4proto tcp meta mark & 0xfff == 0x111 accept',
  '    oifname "lo" ip daddr != 127.0.0.1 accept',
  '    oifname "lo" ip6 daddr != ::1 accept',
  `    ip daddr != 127.0.0.1 ${opening} ${notProxied} redirect to :15001`,
  `    ip6 daddr != ::1 ${opening} ${notProxied} redirect to :15001`,
];

/**
 * On the node: its own probes reach captured pods under the probe address, which the pods' rules let
 * pass. Only sockets of the kubelet's user; forwarded packets have none.
 */
export function hostRules(
  podIps: readonly string[],
  facts: Pick<RuleFacts, 'probeIp' | 'probeIp6'>,
  kubeletUid: number,
): string {
  const of = (six: boolean): string[] => podIps.filter((ip) => ip.includes(':') === six);
  const set = (name: string, type: string, ips: readonly string[]): string[] => [
    `  set ${name} {`,
    `    type ${type}`,
    ...(ips.length > 0 ? [`    elements = { ${ips.join(', ')} }`] : []),
    '  }',
  ];
  const rule = (family: string, name: string, to: string): string =>
    `    meta l4proto tcp meta skuid ${kubeletUid} ${family} daddr @${name} snat ${family} to ${to}`;
  const lines = [
    `table inet ${nat} {`,
    '}',
    `delete table inet ${nat}`,
    `table inet ${nat} {`,
    ...set('istio-inpod-probes-v4', 'ipv4_addr', of(false)),
    ...set('istio-inpod-probes-v6', 'ipv6_addr', of(true)),
    '  chain postrouting {',
    '    type nat hook postrouting priority 100; policy accept;',
    rule('ip', 'istio-inpod-probes-v4', facts.probeIp),
    rule('ip6', 'istio-inpod-probes-v6', facts.probeIp6),
    '  }',
    '}',
  ];
  return `${lines.join('\n')}\n`;
}
