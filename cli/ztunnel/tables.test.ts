// The tables of ztunnel-config over a hand-written dump in Istio's shape (ztunnel-protocol.md 13.2, 13.3).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readDump } from './dump.ts';
import {
  certificateTable,
  connectionTable,
  policyTable,
  serviceTable,
  workloadTable,
} from './tables.ts';

const web = {
  workloadIps: ['10.1.0.5'],
  waypoint: { destination: 'shop/wp.shop.svc.cluster.local', hboneMtlsPort: 15008 },
  protocol: 'HBONE',
  uid: 'c//Pod/shop/web-0',
  name: 'web-0',
  namespace: 'shop',
  node: 'n1',
  status: 'Healthy',
};
const far = {
  ...web,
  uid: 'c//Pod/a/far',
  name: 'far',
  namespace: 'a',
  workloadIps: [],
  hostname: 'far.example',
};
const unhealthy = {
  ...web,
  uid: 'c//Pod/shop/web-1',
  name: 'web-1',
  workloadIps: ['10.1.0.6'],
  waypoint: { destination: '/10.9.9.9' },
  protocol: 'TCP',
  status: 'Unhealthy',
};
const plain = {
  ...web,
  uid: 'c//Pod/shop/x',
  name: 'x',
  workloadIps: ['10.1.0.7'],
  waypoint: undefined,
};
const raw = {
  workloads: [web, far, unhealthy, plain],
  services: {
    one: {
      name: 'wp',
      namespace: 'shop',
      hostname: 'wp.shop.svc.cluster.local',
      vips: ['/10.96.0.9'],
      endpoints: {},
    },
    two: {
      name: 'web',
      namespace: 'shop',
      hostname: 'web.shop.svc.cluster.local',
      vips: ['net/10.96.0.7', '/fd00::7'],
      endpoints: { a: { workloadUid: web.uid }, b: { workloadUid: unhealthy.uid } },
    },
  },
  Policies: [{ name: 'p', namespace: 'shop', action: 'Deny', scope: 'Global' }],
  certificates: [
    {
      identity: 'spiffe://td/ns/a/sa/b',
      state: 'Available',
      certChain: [
        {
          serialNumber: '255',
          validFrom: '2026-01-01T00:00:00Z',
          expirationTime: '2026-01-02T00:00:00Z',
        },
        {
          serialNumber: 'x',
          validFrom: '2026-01-01T00:00:00Z',
          expirationTime: '2027-01-01T00:00:00Z',
        },
      ],
      rootCerts: [
        {
          serialNumber: '1',
          validFrom: '2026-01-01T00:00:00Z',
          expirationTime: '2036-01-01T00:00:00Z',
        },
      ],
    },
    { identity: 'spiffe://td/ns/a/sa/c', state: 'Unavailable: the CA said no' },
  ],
  workloadState: {
    uid: {
      state: 'Up',
      info: { name: 'web-0', namespace: 'shop' },
      connections: {
        inbound: [
          {
            src: '10.1.0.7:4000',
            originalDst: null,
            actualDst: '10.1.0.5:8080',
            protocol: 'HBONE',
          },
        ],
        outbound: [
          {
            src: '10.1.0.5:5000',
            originalDst: '10.96.0.7:80',
            actualDst: '10.1.0.6:15008',
            protocol: 'HBONE',
          },
        ],
      },
    },
  },
};
const dump = readDump(raw);

describe('ztunnel-config tables', () => {
  test('workloads: sorted by name and namespace, waypoint name, None and NA, host name for no address', () => {
    assert.deepEqual(workloadTable(dump).slice(1), [
      ['a', 'far', 'far.example', 'n1', 'wp', 'HBONE'],
      ['shop', 'web-0', '10.1.0.5', 'n1', 'wp', 'HBONE'],
      ['shop', 'web-1', '10.1.0.6', 'n1', 'NA', 'TCP'],
      ['shop', 'x', '10.1.0.7', 'n1', 'None', 'HBONE'],
    ]);
    assert.deepEqual(workloadTable(dump, { namespace: 'a' }).length, 2);
    assert.deepEqual(workloadTable(dump, { address: '10.1.0.7' })[1]?.[1], 'x');
    assert.deepEqual(workloadTable(dump, { pod: { name: 'far', namespace: 'a' } }).length, 2);
  });

  test('services: addresses without network, healthy of all endpoints, maps as well as lists', () => {
    assert.deepEqual(serviceTable(dump).slice(1), [
      ['shop', 'web', '10.96.0.7,fd00::7', 'None', '1/2'],
      ['shop', 'wp', '10.96.0.9', 'None', '0/0'],
    ]);
  });

  test('policies: keys in any letter case', () => {
    assert.deepEqual(policyTable(dump)[1], ['shop', 'p', 'Deny', 'Global']);
  });

  test('certificates: leaf, intermediate, root; serial in hex; validity by the clock', () => {
    const rows = certificateTable(dump, Date.parse('2026-06-01T00:00:00Z')).slice(1);
    assert.deepEqual(
      rows.map((r) => r.slice(1, 5)),
      [
        ['Leaf', 'Available', 'false', 'ff'],
        ['Intermediate', 'Available', 'true', 'NA'],
        ['Root', 'Available', 'true', '1'],
        ['NA', 'Unavailable', 'false', 'NA'],
      ],
    );
  });

  test('connections: names for addresses unless raw, the inbound target never resolved', () => {
    assert.deepEqual(connectionTable(dump).slice(1), [
      ['web-0.shop', 'Inbound', 'web-0.shop:8080', 'x.shop:4000', '', 'HBONE'],
      [
        'web-0.shop',
        'Outbound',
        'web-0.shop:5000',
        'web-1.shop:15008',
        'web.shop.svc.cluster.local:80',
        'HBONE',
      ],
    ]);
    assert.deepEqual(
      connectionTable(dump, { direction: 'inbound', raw: true })[1]?.[2],
      '10.1.0.5:8080',
    );
  });

  test('what is no dump is said to be none', () => {
    for (const bad of [null, 3, [], {}]) assert.throws(() => readDump(bad), /config dump/);
  });
});
