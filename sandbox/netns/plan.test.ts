import assert from 'node:assert/strict';
import { test } from 'node:test';
import { netnsPlan } from '../addresses.ts';
import type { EndpointSlice, Service } from '../objects.ts';
import { blockOf, hubLines, isOurs, nodeLines, podNamespace, serviceRules } from './plan.ts';

const addresses = netnsPlan(70, 2);

test('names say whose they are', () => {
  const name = podNamespace(70, 'a-pod-with-a-very-long-name-that-has-no-end-at-all', '12345678-9');
  assert.ok(isOurs(name) && blockOf(name) === 70 && name.length < 64);
  assert.equal(isOurs('somebody-else'), false);
});

test('nodes reach each other’s pods, the hub all of them', () => {
  const [first] = addresses.nodes;
  assert.ok(first);
  assert.ok(nodeLines(addresses, first).includes('route add 10.70.2.0/24 via 10.70.0.12'));
  const hub = hubLines(addresses);
  assert.ok(hub.includes('route add 10.70.1.0/24 via 10.70.0.11'));
});

test('a cluster IP goes to its ready endpoints; one without is refused', () => {
  const meta = (name: string) => ({ name, namespace: 'shop' });
  const service = (name: string, clusterIP: string): Service =>
    ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: meta(name),
      spec: { clusterIP, ports: [{ name: 'http', port: 80 }] },
    }) as Service;
  const slice = {
    metadata: { ...meta('web-1'), labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints: [
      { addresses: ['10.70.1.20'], conditions: { ready: true } },
      { addresses: ['10.70.2.21'], conditions: { ready: true } },
      { addresses: ['10.70.2.22'], conditions: { ready: false } },
    ],
    ports: [{ name: 'http', port: 8080 }],
  } as unknown as EndpointSlice;
  const text = serviceRules(
    [service('web', '10.70.128.20'), service('none', '10.70.128.21')],
    [slice],
    addresses,
  );
  assert.match(
    text,
    /ip daddr 10\.70\.128\.20 tcp dport 80 dnat ip to numgen random mod 2 map { 0 : 10\.70\.1\.20 \. 8080, 1 : 10\.70\.2\.21 \. 8080 }/,
  );
  assert.doesNotMatch(text, /10\.70\.128\.21/);
  assert.match(text, /ip daddr 10\.70\.128\.0\/17 reject/);
});
