import assert from 'node:assert/strict';
import test from 'node:test';
import type { EndpointSlice, Pod, Service } from '../objects.ts';
import { curlConfig, hostsMap } from './preload-view.ts';
import { buildView, type ClusterFacts, namedServices, outsideNames } from './view.ts';

const pod = (name: string, ip: string | undefined, phase = 'Running'): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', uid: name },
  spec: { containers: [] },
  status: { phase, ...(ip ? { podIP: ip } : {}) },
});
const service = (name: string, clusterIP: string | undefined): Service => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'default' },
  spec: {
    ...(clusterIP ? { clusterIP } : {}),
    ports: [
      { name: 'http', port: 80 },
      { name: 'dns', port: 53, protocol: 'UDP' },
    ],
  },
});
const slice = (name: string, ...endpoints: [string, boolean][]): EndpointSlice => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
  addressType: 'IPv4',
  endpoints: endpoints.map(([ip, ready]) => ({ addresses: [ip], conditions: { ready } })),
  ports: [{ name: 'http', port: 8080 }],
});
const entry = { apiVersion: 'networking.istio.io/v1', kind: 'ServiceEntry' };
const facts: ClusterFacts = {
  block: 64,
  pods: [pod('a', '127.64.0.20'), pod('b', undefined), pod('c', '127.64.0.22', 'Failed')],
  services: [service('web', '127.64.128.20'), service('none', 'None'), service('new', undefined)],
  slices: [
    slice('web', ['127.64.0.20', true], ['127.64.0.21', false]),
    slice('none', ['127.64.0.20', true]),
  ],
  entries: [
    {
      ...entry,
      metadata: { name: 'e' },
      spec: { hosts: ['b.example', 'a.example', '*.c.example'] },
      status: {
        addresses: [
          { value: '240.240.0.1', host: 'a.example' },
          { value: '2001:2::1', host: 'a.example' },
          { value: '240.240.0.2', host: 'b.example' },
          { value: '240.240.0.3', host: '*.c.example' },
        ],
      },
    },
    {
      ...entry,
      metadata: { name: 'own' },
      spec: { hosts: ['own.example'], addresses: ['192.0.2.1', '10.0.0.0/8'] },
      status: { addresses: [{ value: '240.240.0.9', host: 'own.example' }] },
    },
  ],
  flags: new Map([['a', { outbound: true, inbound: true }]]),
  hostsPath: (uid) => `/pods/${uid}/hosts`,
};

test('the view: living pods with flags, ready endpoints by cluster IP and port', () => {
  const view = buildView(facts);
  assert.deepEqual(
    [...view.pods.values()],
    [{ uid: 'a', ip: '127.64.0.20', outbound: true, inbound: true, hosts: '/pods/a/hosts' }],
  );
  assert.deepEqual([...view.services], [['127.64.128.20:80', [{ ip: '127.64.0.20', port: 8080 }]]]);
});

test('names outside: an entry’s own addresses, else those it was given; no wildcards, IPv4', () => {
  assert.deepEqual(
    outsideNames(facts.entries).map((n) => [n.host, n.addresses]),
    [
      ['a.example', ['240.240.0.1']],
      ['b.example', ['240.240.0.2']],
      ['own.example', ['192.0.2.1']],
    ],
  );
  assert.deepEqual([...buildView(facts).outside], ['240.240.0.1', '240.240.0.2', '192.0.2.1']);
});

test('names: cluster IPs, headless pods, nothing without an address', () => {
  assert.deepEqual(
    namedServices(facts, (ip) => ip.startsWith('127.')).map((s) => [s.name, s.addresses]),
    [
      ['none', ['127.64.0.20']],
      ['web', ['127.64.128.20']],
    ],
  );
});

test('curl without the kernel: endpoints when outside, SOCKS5 when inside', () => {
  const view = buildView(facts);
  const hosts = '127.0.0.1 localhost\n127.64.128.20 web web.default\n';
  assert.equal(hostsMap(hosts).get('web.default'), '127.64.128.20');
  const [self] = view.pods.values();
  assert.ok(self);
  const outside = curlConfig(view, { ...self, outbound: false }, hosts);
  assert.match(outside, /^interface = "127\.64\.0\.20"$/m);
  assert.match(outside, /^connect-to = "web:80:127\.64\.0\.20:8080"$/m);
  const inside = curlConfig(view, self, hosts);
  assert.match(inside, /^socks5 = "127\.64\.0\.20:15080"$/m);
  assert.match(inside, /^resolve = "web:80:127\.64\.128\.20"$/m);
  assert.doesNotMatch(inside, /connect-to/);
});
