import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultProbeIp, defaultProbeIp6, hostRules, noRules, podRules } from './rules-plan.ts';

const facts = { probeIp: defaultProbeIp, probeIp6: defaultProbeIp6, inbound: true };

test('capture redirects both ways, exempts mark, probes and 15008, and only opening packets', () => {
  const text = podRules('capture', facts);
  assert.match(text, /redirect to :15001/);
  assert.match(text, /tcp dport != 15008 .*meta mark & 0xfff != 0x539 redirect to :15006/);
  assert.match(text, /ip saddr 169\.254\.7\.127 accept/);
  for (const line of text.split('\n').filter((l) => l.includes('redirect'))) {
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
