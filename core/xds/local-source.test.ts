// Istio's local xDS file: the reference's own example, and every kind of mistake named by its path.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MeshState } from '../model/index.ts';
import { readLocalConfig } from './local-source.ts';

const example = `
workloads:
- uid: c1//Pod/shop/web-0
  name: web-0
  namespace: shop
  serviceAccount: web
  workloadIps: ["10.1.0.5"]
  protocol: HBONE
  node: n1
  network: ""
  waypoint: { destination: "shop/wp.shop.svc.cluster.local", hboneMtlsPort: 15008 }
  services:
    "shop/web.shop.svc.cluster.local": { 80: 8080 }
services:
- name: web
  namespace: shop
  hostname: web.shop.svc.cluster.local
  vips: ["/10.96.0.7"]
  ports: { 80: 8080 }
  subjectAltNames: []
  canonical: true
policies:
- name: deny-9999
  namespace: shop
  scope: Namespace
  action: Deny
  dryRun: false
  rules:
  - - - destinationPorts: [9999]
      - principals: [!Exact cluster.local/ns/a/sa/b, !Presence []]
        notNamespaces: [!Prefix x, !Suffix y]
`;

test('7.7 the documented file becomes workloads, services and policies', () => {
  const r = readLocalConfig(example);
  assert.ok(r.ok);
  const mesh = new MeshState();
  mesh.apply(r.value);
  const [w] = mesh.workloads();
  assert.equal(w?.protocol, 'HBONE');
  assert.equal(w.waypoint?.kind, 'host');
  assert.equal(mesh.serviceByHost('web.shop.svc.cluster.local', 'shop')?.vips[0]?.ip, '10.96.0.7');
  const [p] = mesh.policies();
  assert.deepEqual(p?.rules[0]?.[0]?.[0]?.destinationPorts.any, [9999]);
  assert.deepEqual(p.rules[0]?.[0]?.[1]?.principals.any, [
    { kind: 'exact', text: 'cluster.local/ns/a/sa/b' },
    { kind: 'presence' },
  ]);
  assert.deepEqual(p.rules[0]?.[0]?.[1]?.namespaces.none, [
    { kind: 'prefix', text: 'x' },
    { kind: 'suffix', text: 'y' },
  ]);
});

const wrong: [string, string, RegExp][] = [
  ['unknown key', 'workloads: [{uid: a, services: {}, bogus: 1}]', /workloads\[0\]\.bogus/],
  ['services missing', 'workloads: [{uid: a}]', /workloads\[0\]\.services/],
  ['bad address', 'workloads: [{uid: a, services: {}, workloadIps: [x]}]', /workloadIps\[0\]/],
  ['bad protocol', 'workloads: [{uid: a, services: {}, protocol: X}]', /protocol/],
  [
    'vip without network',
    'services: [{name: a, namespace: b, hostname: c, vips: [10.0.0.1]}]',
    /vips\[0\]/,
  ],
  [
    'dryRun missing',
    'policies: [{name: a, namespace: b, scope: Global, action: Deny, rules: []}]',
    /dryRun/,
  ],
  [
    'bare string match',
    'policies: [{name: a, namespace: b, scope: Global, action: Deny, dryRun: false, rules: [[[{principals: [x]}]]]}]',
    /principals\[0\]/,
  ],
  ['no YAML', 'a: [', /./],
];
for (const [name, text, path] of wrong) {
  test(`7.7 refused: ${name}`, () => {
    const r = readLocalConfig(text);
    assert.ok(!r.ok);
    assert.match(r.faults.map((f) => `${f.path} ${f.message}`).join('\n'), path);
  });
}
