// The cluster's names as a table.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { recordTypes } from '../../core/dns/index.ts';
import type { EndpointSlice, Pod, Service } from '../objects.ts';
import { clusterNames, lookUp, resolvConf } from './names-plan.ts';

const D = 'cluster.local';
const service = (name: string, spec: object): Service =>
  ({ metadata: { name, namespace: 'shop' }, spec }) as Service;
const pod = (name: string, ip: string, spec: object): Pod =>
  ({
    metadata: { name, namespace: 'shop', uid: name },
    spec: { containers: [], ...spec },
    status: { podIP: ip },
  }) as unknown as Pod;
const slice = {
  metadata: { name: 'db-1', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'db' } },
  addressType: 'IPv4',
  endpoints: [
    { addresses: ['10.0.1.1'], conditions: { ready: true }, targetRef: { uid: 'db-0' } },
    { addresses: ['10.0.1.2'], conditions: { ready: true }, targetRef: { uid: 'other' } },
    { addresses: ['10.0.1.3'], conditions: { ready: false }, targetRef: { uid: 'db-2' } },
  ],
  ports: [{ name: 'sql', port: 5432 }],
} as unknown as EndpointSlice;
const names = clusterNames({
  services: [
    service('web', {
      clusterIP: '10.1.0.1',
      clusterIPs: ['10.1.0.1', 'fd00::1'],
      ports: [
        { name: 'http', port: 80 },
        { name: 'dns', port: 53, protocol: 'UDP' },
      ],
    }),
    service('db', { clusterIP: 'None', ports: [{ name: 'sql', port: 5432 }] }),
    service('ext', { type: 'ExternalName', externalName: 'Example.com' }),
    service('new', { ports: [] }),
  ],
  slices: [slice],
  pods: [
    pod('db-0', '10.0.1.1', { hostname: 'first', subdomain: 'db' }),
    pod('other', '10.0.1.2', { hostname: 'first', subdomain: 'elsewhere' }),
  ],
});
const look = (name: string, type: keyof typeof recordTypes): string | undefined =>
  lookUp(names, name, recordTypes[type])
    ?.map(({ data }) => {
      if (data.type === 'SRV') return `${data.port} ${data.target}`;
      return data.type === 'CNAME' ? `CNAME ${data.target}` : data.ip;
    })
    .join(', ');

const rows: [string, keyof typeof recordTypes, string | undefined][] = [
  [`web.shop.svc.${D}`, 'A', '10.1.0.1'],
  [`web.shop.svc.${D}`, 'AAAA', 'fd00::1'],
  [`web.shop.svc.${D}`, 'TXT', ''],
  [`web.shop.svc.${D}`, 'SRV', `80 web.shop.svc.${D}, 53 web.shop.svc.${D}`],
  [`_http._tcp.web.shop.svc.${D}`, 'SRV', `80 web.shop.svc.${D}`],
  [`_dns._udp.web.shop.svc.${D}`, 'SRV', `53 web.shop.svc.${D}`],
  [`_dns._tcp.web.shop.svc.${D}`, 'SRV', undefined],
  [`db.shop.svc.${D}`, 'A', '10.0.1.1, 10.0.1.2'],
  [`first.db.shop.svc.${D}`, 'A', '10.0.1.1'],
  [`10-0-1-2.db.shop.svc.${D}`, 'A', '10.0.1.2'],
  [
    `_sql._tcp.db.shop.svc.${D}`,
    'SRV',
    `5432 first.db.shop.svc.${D}, 5432 10-0-1-2.db.shop.svc.${D}`,
  ],
  [`ext.shop.svc.${D}`, 'A', 'CNAME example.com'],
  [`new.shop.svc.${D}`, 'A', ''],
  [`10-0-1-1.shop.pod.${D}`, 'A', '10.0.1.1'],
  [`shop.svc.${D}`, 'A', ''],
  [D, 'A', ''],
  ['local', 'A', undefined],
  [`nothing.shop.svc.${D}`, 'A', undefined],
  ['example.com', 'A', undefined],
];
for (const [name, type, expected] of rows) {
  const text = expected === undefined ? 'no such name' : expected === '' ? 'nothing' : expected;
  test(`${name} ${type} → ${text}`, () => assert.equal(look(name, type), expected));
}

test('resolv.conf of a pod and of a node', () => {
  assert.match(
    resolvConf('10.0.0.1', 'shop'),
    /^search shop\.svc\.cluster\.local svc\.cluster\.local cluster\.local\nnameserver 10\.0\.0\.1\noptions ndots:5\n$/,
  );
  assert.doesNotMatch(resolvConf('10.0.0.1', undefined), /search/);
});
