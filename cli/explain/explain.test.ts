// explain, authz check and authz simulate on a small mesh, through a config dump and back, so that the tools
// decide on what a file holds exactly as the proxy did on what it held.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseIp, seededRandom } from '../../core/base/index.ts';
import {
  dumpMesh,
  emptyMatch,
  MeshState,
  namespacedHost,
  type Policy,
  policyKey,
  readMeshDump,
  type StringMatch,
} from '../../core/model/index.ts';
import { testPolicy, testService, testWorkload } from '../../test/kit/mesh.ts';
import { reach, simulate, withMutualTls, withPolicies } from './authz.ts';
import { explain, explainExit, printExplanation } from './explain.ts';
import { describeService, describeWorkload, printService, printWorkload } from './describe.ts';
import { findDestination, findService, findWorkload } from './find.ts';

const key = namespacedHost('shop', 'web.shop.svc.cluster.local');
const backs = new Map([[key, new Map([[80, 8080]])]]);
const from = (account: string): Policy['rules'] => {
  const any: StringMatch[] = [{ kind: 'exact', text: `cluster.local/ns/shop/sa/${account}` }];
  return [[[{ ...emptyMatch, principals: { any, none: [] } }]]];
};
const allowCurl = testPolicy('allow-curl', { action: 'Allow', rules: from('curl') });
const strict = testPolicy('strict', {
  action: 'Deny',
  rules: [[[{ ...emptyMatch, principals: { any: [], none: [{ kind: 'presence' }] } }]]],
});

function mesh(policies: Policy[] = [], named: Policy[] = policies): MeshState {
  const state = new MeshState();
  state.apply({
    services: [testService('web', '10.96.0.7', 80, 8080)],
    workloads: [
      testWorkload('curl', '10.1.0.1'),
      testWorkload('other', '10.1.0.2'),
      testWorkload('outside', '10.1.0.3', { protocol: 'TCP' }),
      testWorkload('web-0', '10.1.0.5', {
        workloadName: 'web',
        services: backs,
        authorizationPolicies: named.map((p) => p.key),
      }),
      testWorkload('web-1', '10.1.0.6', {
        workloadName: 'web',
        services: backs,
        status: 'Unhealthy',
      }),
    ],
    policies,
  });
  return state;
}

/** As a file would bring it. */
const throughDump = (m: MeshState): MeshState =>
  readMeshDump(JSON.parse(JSON.stringify(dumpMesh(m)))).mesh;

function ask(m: MeshState, source: string, target: string) {
  const view = throughDump(m);
  return explain(
    view,
    findWorkload(view, source, 'shop'),
    findDestination(view, target, 'shop'),
    seededRandom(1),
  );
}

describe('explain', () => {
  test('a dump read back and dumped again is the same', () => {
    const m = mesh([allowCurl, strict]);
    assert.deepEqual(dumpMesh(throughDump(m)), dumpMesh(m));
  });

  const rows: [string, MeshState, string, string, string, number][] = [
    ['between two in the mesh', mesh(), 'curl', 'svc/web', 'mtls', 0],
    ['allowed by a policy', mesh([allowCurl]), 'pod/curl', 'svc/web:80', 'mtls', 0],
    ['no policy allows it', mesh([allowCurl]), 'pod/other', 'svc/web', 'refused', 5],
    ['STRICT and a source outside', mesh([strict]), 'pod/outside', 'pod/web-0:8080', 'refused', 5],
    ['a source outside, nothing strict', mesh(), 'pod/outside', 'pod/web-0:8080', 'plaintext', 4],
    ['to a pod outside', mesh(), 'curl', 'pod/outside:80', 'plaintext', 4],
    ['to an address nobody knows', mesh(), 'curl', '192.0.2.7:443', 'plaintext', 4],
    ['a policy that has not arrived', mesh([], [allowCurl]), 'curl', 'svc/web', 'refused', 5],
  ];
  for (const [name, m, source, target, outcome, code] of rows) {
    test(`${name}: ${outcome}`, () => {
      const e = ask(m, source, target);
      assert.equal(e.outcome, outcome, printExplanation(e));
      assert.equal(explainExit(e), code);
    });
  }

  test('a pod outside is said to be; a waypoint ends a tunnel, whatever captures it', () => {
    const m = mesh();
    assert.match(ask(m, 'curl', 'pod/outside:80').notes.join(), /outside\.shop is not in the mesh/);
    const ip = parseIp('10.1.0.9');
    const vip = parseIp('10.96.0.9');
    const web = testService('web', '10.96.0.7', 80, 8080);
    assert.ok(ip && vip);
    m.apply({
      workloads: [
        testWorkload('waypoint-0', '10.1.0.9', {
          protocol: 'TCP',
          nativeTunnel: true,
          services: new Map([
            [namespacedHost('shop', 'waypoint.shop.svc.cluster.local'), new Map([[15008, 15008]])],
          ]),
        }),
      ],
      services: [
        testService('waypoint', '10.96.0.9', 15_008, 15_008),
        {
          ...web,
          waypoint: {
            kind: 'address',
            network: '',
            ip: vip,
            hboneMtlsPort: 15_008,
          },
        },
      ],
    });
    const through = ask(m, 'curl', 'svc/web');
    assert.match(printExplanation(through), /via waypoint waypoint-0\.shop/);
    assert.doesNotMatch(through.notes.join(), /not in the mesh/);
  });

  test('egress: REGISTRY_ONLY refuses what nothing claims, LOG_ONLY says that it would be', () => {
    const view = throughDump(mesh());
    const ask = (mode: 'LOG_ONLY' | 'REGISTRY_ONLY') =>
      explain(
        view,
        findWorkload(view, 'curl', 'shop'),
        findDestination(view, '192.0.2.7:443', 'shop'),
        seededRandom(1),
        mode,
      );
    const refused = ask('REGISTRY_ONLY');
    assert.equal(refused.outcome, 'refused');
    assert.match(printExplanation(refused), /EGRESS_NOT_REGISTERED.*192\.0\.2\.7[^]*ServiceEntry/);
    assert.match(printExplanation(ask('LOG_ONLY')), /REGISTRY_ONLY would refuse it/);
  });

  test('names endpoints and why one is left out, the path, the identities, the rule', () => {
    const text = printExplanation(ask(mesh([allowCurl]), 'curl', 'svc/web'));
    assert.match(text, /✔ web-0\.shop {2}10\.1\.0\.5 {2}port 80 → 8080/);
    assert.match(text, /✘ web-1\.shop {2}10\.1\.0\.6 {2}not ready/);
    assert.match(text, /HBONE to 10\.1\.0\.5:15008 for 10\.1\.0\.5:8080, via workload web-0\.shop/);
    assert.match(text, /expects {3}spiffe:\/\/cluster\.local\/ns\/shop\/sa\/web-0/);
    assert.match(
      text,
      /policy {4}shop\/allow-curl {2}ALLOW, WorkloadSelector: rule 1 matches {2}← decided/,
    );
  });

  for (const [text, error] of [
    ['svc/nosuch', /knows no service "nosuch" in namespace "shop"/],
    ['svc/web:81', /has no port 81; it has 80/],
    ['pod/curl', /write curl:PORT/],
    ['pod/nosuch:80', /knows no workload "nosuch"/],
  ] as const) {
    test(`a destination that is not there: ${text}`, () => {
      assert.throws(() => findDestination(mesh(), text, 'shop'), error);
    });
  }
});

test('simulate: STRICT would cut a pair that talks plaintext, and taking it back would not', () => {
  const seen = [
    {
      state: 'ok',
      source: { addr: '10.9.0.1:4000' },
      destination: { addr: '10.1.0.5:8080', workload: 'web-0', namespace: 'shop' },
      protocol: 'TCP',
    },
  ];
  const key = policyKey('istio-system', 'istio_converted_static_strict');
  const converted = { ...strict, key, name: 'istio_converted_static_strict' };
  const verdicts = (before: MeshState, keys: (typeof key)[]): (string | undefined)[] => {
    const after = throughDump(before);
    withMutualTls(after, keys.length > 0 ? [converted] : [], () => keys);
    return simulate(before, after, seen).flatMap((r) => [r.before, r.after]);
  };
  assert.deepEqual(verdicts(mesh(), [key]), ['allowed', 'refused']);
  assert.deepEqual(verdicts(mesh([converted]), []), ['refused', 'allowed']);
});

describe('describe', () => {
  test('a pod: identity, services, policies, what plaintext would get', () => {
    const m = throughDump(mesh([allowCurl]));
    const text = printWorkload(describeWorkload(m, findWorkload(m, 'web-0', 'shop')));
    assert.match(text, /Mesh: enrolled, reached over mutual TLS/);
    assert.match(text, /Identity: spiffe:\/\/cluster\.local\/ns\/shop\/sa\/web-0/);
    assert.match(text, /Service: web\.shop\.svc\.cluster\.local {2}ports 80 → 8080/);
    assert.match(text, /Policy: shop\/allow-curl {2}ALLOW, WorkloadSelector, 1 rules/);
    assert.match(text, /Plaintext to port 8080: refused \(shop\/allow-curl\)/);
  });

  test('a service: endpoints with their readiness and identity', () => {
    const m = throughDump(mesh());
    const service = findService(m, 'svc/web', 'shop');
    assert.ok(service);
    const text = printService(describeService(m, service));
    assert.match(text, /Endpoint: web-0\.shop {2}10\.1\.0\.5 {2}ready {2}HBONE/);
    assert.match(text, /Endpoint: web-1\.shop {2}10\.1\.0\.6 {2}NOT READY/);
  });
});

describe('authz', () => {
  test('check: every identity and plaintext against each port', () => {
    const m = throughDump(mesh([allowCurl]));
    const rows = reach(m, findWorkload(m, 'deploy/web', 'shop'));
    assert.deepEqual(
      rows.map((r) => [r.source.split('/').at(-1), r.port, r.allowed]),
      [
        ['curl', 8080, true],
        ['other', 8080, false],
        ['web-0', 8080, false],
        ['web-1', 8080, false],
        ['(plaintext)', 8080, false],
      ],
    );
  });

  test('simulate: only what the policy would cut changes', () => {
    const before = throughDump(mesh());
    const after = throughDump(mesh());
    withPolicies(after, [{ policy: allowCurl, selects: (w) => w.workloadName === 'web' }]);
    const seen = (account: string, state = 'ok') => ({
      state,
      protocol: 'HBONE',
      source: { addr: '10.1.0.1:4000', identity: `spiffe://cluster.local/ns/shop/sa/${account}` },
      destination: {
        addr: '10.1.0.5:15008',
        hboneAddr: '10.1.0.5:8080',
        workload: 'web-0',
        namespace: 'shop',
      },
    });
    const rows = simulate(before, after, [
      seen('curl'),
      seen('other', 'live'),
      seen('other', 'live'),
    ]);
    assert.deepEqual(
      rows.map((r) => [r.source.split('/').at(-1), r.live, r.count, r.before, r.after]),
      [
        ['curl', false, 1, 'allowed', 'allowed'],
        ['other', true, 2, 'allowed', 'refused'],
      ],
    );
  });
});
