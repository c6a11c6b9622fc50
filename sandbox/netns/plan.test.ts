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

test('F43: with IPv6 each address has a twin, and routes and rules both families', () => {
  const both = netnsPlan(70, 2, true);
  const [first] = both.nodes;
  assert.ok(first);
  assert.equal(both.six('10.70.1.20'), 'fd0a:46::1:14');
  assert.equal(both.six('10.70.0.1'), 'fd0a:46::1');
  assert.equal(addresses.six('10.70.1.20'), undefined);
  assert.ok(nodeLines(both, first).includes('route add fd0a:46::2:0/112 via fd0a:46::c'));
  const service = {
    metadata: { name: 'web', namespace: 'shop' },
    spec: {
      clusterIP: '10.70.128.20',
      clusterIPs: ['10.70.128.20', 'fd0a:46::80:14'],
      ports: [{ port: 80 }],
    },
  } as Service;
  const slice = (addressType: string, address: string): EndpointSlice =>
    ({
      metadata: {
        name: addressType,
        namespace: 'shop',
        labels: { 'kubernetes.io/service-name': 'web' },
      },
      addressType,
      endpoints: [{ addresses: [address] }],
      ports: [{ port: 8080 }],
    }) as unknown as EndpointSlice;
  const slices = [slice('IPv4', '10.70.1.20'), slice('IPv6', 'fd0a:46::1:14')];
  const text = serviceRules([service], slices, both);
  assert.match(text, /ip daddr 10\.70\.128\.20 tcp .* map { 0 : 10\.70\.1\.20 \. 8080 }/);
  assert.match(text, /ip6 daddr fd0a:46::80:14 tcp .* map { 0 : fd0a:46::1:14 \. 8080 }/);
  assert.match(text, /ip6 daddr fd0a:46::80:0\/105 reject with icmpv6/);
  assert.doesNotMatch(serviceRules([service], slices, addresses), /ip6/);
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
