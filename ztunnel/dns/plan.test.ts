// Names in the mesh: the rows of ztunnel-protocol.md 10.1 to 10.3, and Z47.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { recordTypes } from '../../core/dns/index.ts';
import type { Service } from '../../core/model/index.ts';
import { ip, mesh, of, service, workload } from '../testkit.ts';
import { aliasesOf, type DnsFacts, planDns } from './plan.ts';

const D = 'cluster.local';
const svc = (name: string, ns = 'ns'): string => `${name}.${ns}.svc.${D}`;
const vip = (network: string, text: string) => ({ network, ip: ip(text) });
const elsewhere = (hostname: string, address: string, more: Partial<Service>): Service =>
  service(hostname, [address], [[80, 80]], more);

const services: Service[] = [
  service(
    svc('web'),
    ['10.1.0.1'],
    [
      [80, 8080],
      [443, 8443],
    ],
  ),
  service(svc('two'), ['10.1.0.2', 'fd00::2'], [[80, 80]]),
  service(svc('four'), ['10.1.0.4', 'fd00::4'], [[80, 80]], { ipFamilies: 'IPv4' }),
  service(svc('six'), ['fd00::6'], [[80, 80]], { ipFamilies: 'IPv6' }),
  service(svc('db'), [], [[5432, 5432]]),
  service(svc('sick'), [], [[1, 1]]),
  service(svc('any'), [], [[1, 1]], {
    loadBalancing: { preferences: [], mode: 'Standard', healthPolicy: 'AllowAll' },
  }),
  service(svc('lonely'), [], [[1, 1]]),
  service(svc('far'), [], [[80, 80]], {
    vips: [vip('remote', '10.9.0.1'), vip('', '10.1.0.7')],
  }),
  service(svc('remote'), [], [[80, 80]], { vips: [vip('remote', '10.9.0.2')] }),
  service('example.com', ['240.240.0.1'], [[443, 443]]),
  service('*.wild.com', ['240.240.0.2'], [[443, 443]]),
  service('*.deep.wild.com', ['240.240.0.3'], [[443, 443]]),
  service('cidr.com', [], [[443, 443]], { cidrVips: [] }),
  service('Upper.com', ['240.240.0.4'], [[443, 443]]),
  elsewhere('shared.com', '240.240.1.1', { namespace: 'a', canonical: false }),
  elsewhere('shared.com', '240.240.1.2', { namespace: 'b', canonical: false }),
  elsewhere('canon.com', '240.240.1.3', { namespace: 'a', canonical: false }),
  elsewhere('canon.com', '240.240.1.4', { namespace: 'b', canonical: true }),
  elsewhere('own.com', '240.240.1.5', { namespace: 'b', canonical: true }),
  elsewhere('own.com', '240.240.1.6', { namespace: 'ns', canonical: false }),
  elsewhere('hidden.com', '240.240.1.7', { namespace: 'a', visibility: 'Namespace' }),
];
const workloads = [
  workload('db-0', ['10.2.0.1', 'fd02::1'], { services: of(svc('db')) }),
  workload('db-1', ['10.2.0.2'], { services: of(svc('db')), network: 'remote' }),
  workload('bad', ['10.2.0.3'], { services: of(svc('sick'), svc('any')), status: 'Unhealthy' }),
];

const plan = (name: string, type: keyof typeof recordTypes = 'A', more: Partial<DnsFacts> = {}) => {
  const found = planDns(name, recordTypes[type], {
    mesh: mesh({ services, workloads }),
    client: { namespace: 'ns', network: '' },
    clusterDomain: D,
    preferredNamespace: '',
    ipv6: true,
    shuffle: (ips) => ips.toReversed(),
    ...more,
  });
  if (found.do === 'forward') return 'forward';
  const text = found.answers.map(({ name: owner, data }) => {
    if (data.type === 'CNAME') return `${owner} CNAME ${data.target}`;
    if (data.type === 'SRV') return `${owner} SRV ${data.port} ${data.target}`;
    return `${owner} ${data.ip}`;
  });
  return found.result === 'success' ? text.join(', ') : found.result;
};

type Row = [id: string, name: string, type: 'A' | 'AAAA' | 'SRV' | 'TXT', expected: string];
const rows: Row[] = [
  ['10.2.1a exact', svc('web'), 'A', `${svc('web')} 10.1.0.1`],
  ['10.2.2 one label', 'web', 'A', 'web 10.1.0.1'],
  ['10.2.2 two labels', 'web.ns', 'A', 'web.ns 10.1.0.1'],
  ['10.2.2 three labels with svc', 'web.ns.svc', 'A', 'web.ns.svc 10.1.0.1'],
  ['10.2.2 another namespace', 'web.other', 'A', 'forward'],
  [
    '10.2.1c stripped, a CNAME first',
    `example.com.ns.svc.${D}`,
    'A',
    `example.com.ns.svc.${D} CNAME example.com, example.com 240.240.0.1`,
  ],
  [
    '10.2.1c stripped by the last domain',
    `example.com.${D}`,
    'A',
    `example.com.${D} CNAME example.com, example.com 240.240.0.1`,
  ],
  ['10.2.4 wildcard', 'a.wild.com', 'A', 'a.wild.com 240.240.0.2'],
  ['10.2.4 the longest wildcard', 'a.deep.wild.com', 'A', 'a.deep.wild.com 240.240.0.3'],
  ['10.2.4 a wildcard is not its own base', 'wild.com', 'A', 'forward'],
  [
    '10.3 stripped and wildcard: no CNAME',
    `a.wild.com.ns.svc.${D}`,
    'A',
    `a.wild.com.ns.svc.${D} 240.240.0.2`,
  ],
  ['10.2.5 without address and not of the cluster', 'cidr.com', 'A', 'forward'],
  ['10.2.5 not visible', 'hidden.com', 'A', 'forward'],
  ['10.2.6 own namespace first', 'own.com', 'A', 'own.com 240.240.1.6'],
  ['10.2.6 then canonical', 'canon.com', 'A', 'canon.com 240.240.1.4'],
  ['10.2.6 then the first', 'shared.com', 'A', 'shared.com 240.240.1.1'],
  ['10.2.7 nothing', 'nothing.example', 'A', 'forward'],
  ['10.1 upper case never matches', 'upper.com', 'A', 'forward'],
  ['10.1 another type', svc('web'), 'TXT', 'forward'],
  ['10.1 no record of that type', svc('web'), 'AAAA', 'no-records'],
  ['10.1 ip_families forbids', svc('four'), 'AAAA', 'unsupported-family'],
  ['10.1 ip_families forbids v4', svc('six'), 'A', 'unsupported-family'],
  ['10.3 v6', svc('two'), 'AAAA', `${svc('two')} fd00::2`],
  ['10.3 the client’s network', svc('far'), 'A', `${svc('far')} 10.1.0.7`],
  ['10.3 none of the network', svc('remote'), 'A', 'no-records'],
  [
    '10.3 headless: endpoints of all networks',
    svc('db'),
    'A',
    `${svc('db')} 10.2.0.2, ${svc('db')} 10.2.0.1`,
  ],
  ['10.3 headless v6', svc('db'), 'AAAA', `${svc('db')} fd02::1`],
  ['10.3 headless: only healthy', svc('sick'), 'A', 'no-records'],
  ['10.3 headless: all where it says so', svc('any'), 'A', `${svc('any')} 10.2.0.3`],
  ['10.3 headless without endpoints', svc('lonely'), 'A', 'no-records'],
  ['pod of a headless service', `db-1.${svc('db')}`, 'A', `db-1.${svc('db')} 10.2.0.2`],
  ['pod of a headless service, short', 'db-0.db', 'A', 'db-0.db 10.2.0.1'],
  ['pod that is none', `db-9.${svc('db')}`, 'A', 'forward'],
  ['pod of a service with a VIP', `db-0.${svc('web')}`, 'A', 'forward'],
  [
    'SRV of a service',
    svc('web'),
    'SRV',
    `${svc('web')} SRV 80 ${svc('web')}, ${svc('web')} SRV 443 ${svc('web')}`,
  ],
  ['SRV of a named port: the mesh knows no names', `_http._tcp.${svc('web')}`, 'SRV', 'forward'],
  ['SRV headless', svc('db'), 'SRV', 'forward'],
];
for (const [id, name, type, expected] of rows) {
  test(`${id}: ${name} ${type}`, () => assert.equal(plan(name, type), expected));
}

test('10.1: AAAA with IPv6 off is known and empty', () => {
  assert.equal(plan(svc('two'), 'AAAA', { ipv6: false }), 'unsupported-family');
});

test('10.2.6: the preferred namespace beats the first', () => {
  assert.equal(plan('shared.com', 'A', { preferredNamespace: 'b' }), 'shared.com 240.240.1.2');
});

test('10.2.5: hidden services are seen from their own namespace', () => {
  const client = { namespace: 'a', network: '' };
  assert.equal(plan('hidden.com', 'A', { client }), 'hidden.com 240.240.1.7');
});

test('Z47: aliases in the documented order, without duplicates', () => {
  const hosts = (name: string) =>
    aliasesOf(name, 'ns', D).map((a) =>
      a.stripped === undefined ? a.host : `${a.host} (${a.stripped})`,
    );
  assert.deepEqual(hosts('web'), ['web', svc('web')]);
  assert.deepEqual(hosts('web.ns'), ['web.ns', svc('web'), `web.ns.ns.svc.${D}`]);
  assert.deepEqual(hosts('a.b.svc'), ['a.b.svc', `a.b.svc.${D}`, `a.b.svc.svc.${D}`]);
  assert.deepEqual(hosts('a.b.c.d'), ['a.b.c.d']);
  assert.deepEqual(hosts('p.a.b.svc'), ['p.a.b.svc', `p.a.b.svc.${D}`]);
  assert.deepEqual(hosts(`www.example.com.ns.svc.${D}`), [
    `www.example.com.ns.svc.${D}`,
    'www.example.com (www.example.com)',
    `www.example.com.svc.${D} (www.example.com)`,
    'www.example.com.ns (www.example.com.ns)',
    'www.example.com.ns.svc (www.example.com.ns.svc)',
  ]);
});
