import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  defaultProbeIp,
  defaultProbeIp6,
  hostRules,
  noRules,
  podRules,
  podSwitches,
} from './rules-plan.ts';

const facts = {
  probeIp: defaultProbeIp,
  probeIp6: defaultProbeIp6,
  inbound: true,
  dns: true,
  reroute: [],
  ipv6: true,
};

test('capture redirects both ways, exempts mark, probes and 15008, and only opening packets', () => {
  const text = podRules('capture', facts);
  assert.match(text, /redirect to :15001/);
  assert.match(text, /tcp dport != 15008 .*meta mark & 0xfff != 0x539 redirect to :15006/);
  assert.match(text, /ip saddr 169\.254\.7\.127 accept/);
  const tcp = text.split('\n').filter((l) => l.includes('redirect') && !l.includes('udp'));
  for (const line of tcp) {
    assert.match(line, /== syn/);
  }
});

test('stages: first its own traffic is free, then all new traffic; translations stay', () => {
  const inbound = podRules('inbound', facts);
  assert.doesNotMatch(inbound, /15001/);
  assert.match(inbound, /15006/);
  const idle = podRules('idle', facts);
  assert.doesNotMatch(idle, /redirect/);
  assert.match(idle, /type nat hook prerouting/);
});

test('a pod that is an ingress keeps its inbound traffic', () => {
  const text = podRules('capture', { ...facts, inbound: false });
  assert.match(text, /15001/);
  assert.doesNotMatch(text, /15006/);
});

test('tables are replaced in one transaction, and removed where there are none', () => {
  for (const text of [podRules('capture', facts), noRules()]) {
    assert.ok(text.indexOf('table inet istio-ambient-nat {') < text.indexOf('delete table'));
  }
});

test('the node’s probes: addresses by family, no empty element list', () => {
  const text = hostRules(['10.0.0.1', 'fd00::1'], facts, 0);
  assert.match(text, /elements = { 10\.0\.0\.1 }/);
  assert.match(text, /elements = { fd00::1 }/);
  assert.doesNotMatch(hostRules([], facts, 0), /elements/);
});

test('9.4: DNS goes to 15053, in rules of its own; its answers are tracked apart', () => {
  const text = podRules('capture', facts);
  assert.match(text, /oifname != "lo" udp dport 53 meta mark & 0xfff != 0x539 redirect to :15053/);
  assert.match(text, /ip6 daddr != ::1 tcp dport 53 .*redirect to :15053/);
  assert.match(text, /udp sport 53 meta mark & 0xfff != 0x539 ct zone set 1/);
  assert.ok(text.indexOf(':15053') < text.indexOf(':15001'), 'before everything else is taken');
  for (const without of [
    podRules('capture', { ...facts, dns: false }),
    podRules('inbound', facts),
  ]) {
    assert.doesNotMatch(without, /15053|ct zone/);
  }
});

test('9.7: what comes from a pod’s virtual machines goes out', () => {
  const text = podRules('capture', { ...facts, reroute: ['tap0'] });
  const lines = text.split('\n').map((l) => l.trim());
  const at = lines.findIndex(
    (l) => l.startsWith('iifname "tap0"') && l.endsWith('redirect to :15001'),
  );
  assert.ok(at > 0);
  assert.equal(lines[at + 1], 'iifname "tap0" meta l4proto tcp return');
  assert.ok(at < lines.findIndex((l) => l.includes('169.254.7.127 accept')), 'first');
  assert.doesNotMatch(podRules('inbound', { ...facts, reroute: ['tap0'] }), /tap0/);
});

const bypass = 'ambient.istio.io/bypass-inbound-capture';
const dnsKey = 'ambient.istio.io/dns-capture';
const rerouteKey = 'istio.io/reroute-virtual-interfaces';
const switches: [string, Record<string, string> | undefined, object][] = [
  ['nothing said', undefined, { inbound: true, dns: true, reroute: [] }],
  ['an ingress', { [bypass]: 'T' }, { inbound: false, dns: true, reroute: [] }],
  ['no DNS', { [dnsKey]: 'FALSE' }, { inbound: true, dns: false, reroute: [] }],
  ['nonsense', { [dnsKey]: 'nein', [bypass]: 'yes' }, { inbound: true, dns: true, reroute: [] }],
  [
    'interfaces, hostile ones left out',
    { [rerouteKey]: 'tap0, tap1,"; flush ruleset,a-name-that-is-too-long' },
    { inbound: true, dns: true, reroute: ['tap0', 'tap1'] },
  ],
];
for (const [what, annotations, expected] of switches) {
  test(`9.7: ${what}`, () => assert.deepEqual(podSwitches(annotations, true), expected));
}

test('9.7: the pod’s word on DNS beats the default', () => {
  assert.equal(podSwitches({ [dnsKey]: '1' }, false).dns, true);
  assert.equal(podSwitches({}, false).dns, false);
});
