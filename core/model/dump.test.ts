// config_dump and back; metric labels (ztunnel-protocol.md 13.2, 11.1).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  dumpMesh,
  dumpPolicy,
  MeshState,
  readPolicyDump,
  tcpLabelNames,
  tcpLabels,
} from './index.ts';
import { anyPolicy, cidr, member, service, workload } from './testkit.ts';

describe('policy dump', () => {
  test('undump ∘ dump is the identity, through JSON', () => {
    fc.assert(
      fc.property(anyPolicy, (p) => {
        const back = readPolicyDump(JSON.parse(JSON.stringify(dumpPolicy(p))));
        assert.deepEqual(back, { ok: true, value: p });
      }),
    );
  });

  const good = { name: 'p', namespace: 'n', scope: 'Global', action: 'Deny', dryRun: false };
  const bad: readonly [string, unknown, string][] = [
    ['nothing', undefined, 'name'],
    ['no name', { ...good, name: 1 }, 'name'],
    ['unknown scope', { ...good, scope: 'World' }, 'scope'],
    ['unknown action', { ...good, action: 'Audit' }, 'action'],
    ['a list that is none', { ...good, rules: [[[{ principals: 'x' }]]] }, 'principals'],
    [
      'a text match of an unknown kind',
      { ...good, rules: [[[{ principals: [{ Regex: 'x' }] }]]] },
      'principals',
    ],
    [
      'a block that is none',
      { ...good, rules: [[[{ notSourceIps: ['10.0.0.0/33'] }]]] },
      'notSourceIps',
    ],
    [
      'a port that is none',
      { ...good, rules: [[[{ destinationPorts: ['80'] }]]] },
      'destinationPorts',
    ],
    ['a match that is none', { ...good, rules: [[['x']]] }, 'rules'],
  ];
  for (const [what, value, path] of bad) {
    test(`P4 ${what}: a fault at ${path}, never a policy that matches less`, () => {
      const r = readPolicyDump(value);
      assert.ok(!r.ok);
      assert.equal(r.faults[0]?.path, path);
    });
  }
});

describe('mesh dump', () => {
  test('unhealthy endpoints are left out unless the service asks for all', () => {
    const mesh = new MeshState();
    const services = new Map([member('a/s')]);
    mesh.apply({
      services: [
        service('a/s', ['10.9.0.1'], { cidrVips: [{ network: '', cidr: cidr('10.8.0.0/16') }] }),
      ],
      workloads: [
        workload('a/up', ['10.0.0.1'], { services }),
        workload('a/down', ['10.0.0.2'], { services, status: 'Unhealthy' }),
      ],
    });
    const [s] = dumpMesh(mesh).services;
    assert.deepEqual(Object.keys(s?.['endpoints'] as object), ['Kubernetes//Pod/a/up']);
    assert.deepEqual(s?.['vips'], ['/10.9.0.1']);
    assert.deepEqual(s?.['cidrVips'], [{ network: '', cidr: '10.8.0.0/16' }]);
  });
});

describe('TCP labels', () => {
  const full = tcpLabels({
    reporter: 'destination',
    source: workload('a/c', ['10.0.0.1']),
    sourcePrincipal: 'spiffe://cluster.local/ns/a/sa/default',
    destination: workload('b/d', ['10.0.0.2']),
    service: service('b/s', []),
    mutualTls: true,
    flags: '-',
  });

  test('they come in Istio’s order', () => {
    assert.deepEqual(Object.keys(full), [...tcpLabelNames]);
    assert.equal(full.destination_principal, 'spiffe://cluster.local/ns/b/sa/default');
    assert.equal(full.connection_security_policy, 'mutual_tls');
  });

  test('what is missing reads unknown', () => {
    const none = tcpLabels({
      reporter: 'source',
      mutualTls: false,
      flags: 'DENY',
      sourcePrincipal: 'x',
    });
    const known = new Set(['reporter', 'request_protocol', 'response_flags']);
    for (const [k, v] of Object.entries(none)) if (!known.has(k)) assert.equal(v, 'unknown', k);
    assert.equal(none.response_flags, 'DENY');
  });
});
