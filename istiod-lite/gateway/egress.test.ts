// ServiceEntries bound to waypoints, and TLS towards what they stand for (waypoint-l7.md 11).
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { type CertificateAuthority, createCa } from '../../certs/index.ts';
import type { KubeObject } from '../../core/kube/index.ts';
import type { Service } from '../../core/model/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import { backendTlsStatus } from './backend-tls-status.ts';
import type { World } from './binding.ts';
import { gatewayStatus } from './gateway-status.ts';
import { withWaypoints } from './references.ts';
import { destinationRuleStatus } from './rule-status.ts';
import { serviceConfigs } from './service-config.ts';
import { entryStatus, policyStatus, routeStatus } from './status-plan.ts';
import {
  testSettings as settings,
  shopObject as object,
  waypointObjects,
  worldOf,
} from './testkit.ts';

const now = '2026-01-01T00:00:00Z';
const bound = { labels: { 'istio.io/use-waypoint': 'egress' } };
const entry = (meta: object = bound): KubeObject =>
  object(
    'ServiceEntry',
    'api',
    {
      spec: {
        hosts: ['api.example.com', '*.wild.example.com'],
        location: 'MESH_EXTERNAL',
        resolution: 'DNS',
        ports: [
          { number: 80, name: 'http', protocol: 'HTTP', targetPort: 443 },
          { number: 443, name: 'tls', protocol: 'TLS' },
        ],
      },
    },
    meta,
  );
const gateway = waypointObjects('egress');
function world(...objects: readonly KubeObject[]): World {
  return worldOf(settings, [...gateway, ...objects]);
}
const configOf = (w: World) =>
  serviceConfigs(w).find((c) => c.name === 'shop/api.example.com')?.config;

test('M18 an entry is bound by its label: node proxies, the waypoint and its status are told', () => {
  const w = world(entry());
  const sent = (hostname: string): Service =>
    ({ name: 'api', namespace: 'shop', hostname }) as Service;
  const { services } = withWaypoints(w, {
    services: [sent('api.example.com'), sent('x')],
    workloads: [],
  });
  assert.equal(services[0]?.waypoint?.kind, 'host');
  assert.equal(services[1]?.waypoint, undefined);
  assert.deepEqual(
    configOf(w)?.ports?.map((p) => [p.port, p.protocol]),
    [
      [80, 1],
      [443, 3],
    ],
  );
  const facts = w.cluster.serviceEntries.get('shop', 'api');
  assert.ok(facts);
  const status = entryStatus(w, facts, now) as { conditions: { reason: string }[] };
  assert.equal(status.conditions[0]?.reason, 'WaypointAccepted');
  assert.equal(configOf(world(entry({}))), undefined);
});

test('M18 policies and routes that name the entry hold for it, and those of a Service of its name do not', () => {
  const target = { kind: 'ServiceEntry', group: 'networking.istio.io', name: 'api' };
  const policy = object('AuthorizationPolicy', 'p', {
    spec: { targetRefs: [target], rules: [{}] },
  });
  const other = object('AuthorizationPolicy', 'q', {
    spec: { targetRefs: [{ kind: 'Service', group: '', name: 'api' }], rules: [{}] },
  });
  const route = object('HTTPRoute', 'r', {
    spec: { parentRefs: [target], rules: [{ filters: [] }] },
  });
  const w = world(entry(), policy, other, route);
  assert.deepEqual(
    configOf(w)?.policies?.map((p) => p.key),
    ['shop/p'],
  );
  assert.equal(configOf(w)?.ports?.[0]?.routes?.rules?.length, 1);
  const facts = w.cluster.authorizationPolicies.get('shop', 'p');
  const [routed] = w.gateways.routes.values();
  assert.ok(facts && routed);
  assert.match(JSON.stringify(policyStatus(w, facts, now)), /bound to shop\/egress/);
  assert.match(JSON.stringify(routeStatus(w, routed, now)), /"type":"Accepted","status":"True"/);
});

describe('M18 tls of a DestinationRule', () => {
  let ca: CertificateAuthority;
  let secret: (more?: Record<string, string>) => KubeObject;
  before(async () => {
    ca = await createCa({ trustDomain: 'cluster.local', clock: systemClock });
    const { chainPem, keyPem, rootPem } = await ca.signServer({
      dns: ['a'],
      ips: [],
      ttlSeconds: 3600,
    });
    const data = { 'tls.crt': chainPem, 'tls.key': keyPem, 'ca.crt': rootPem };
    secret = (more = {}) =>
      object('Secret', 'pair', {
        type: 'kubernetes.io/tls',
        data: Object.fromEntries(
          Object.entries({ ...data, ...more }).map(([k, v]) => [
            k,
            Buffer.from(v).toString('base64'),
          ]),
        ),
      });
  });
  const told = (tls: object, ...more: KubeObject[]) => {
    const rule = object('DestinationRule', 'd', {
      spec: { host: 'api.example.com', trafficPolicy: { tls } },
    });
    const w = world(entry(), rule, ...more);
    return configOf(w)?.clusters?.find((c) => c.port === 80)?.traffic?.tls;
  };
  const named = { credentialName: 'pair' };

  test('DISABLE and ISTIO_MUTUAL have no effect', () => {
    assert.equal(told({ mode: 'DISABLE' }), undefined);
    assert.equal(told({ mode: 'ISTIO_MUTUAL' }), undefined);
  });
  test('SIMPLE with the system’s roots', () =>
    assert.deepEqual(told({ mode: 'SIMPLE', sni: 's', subjectAltNames: ['n'] }), {
      sni: 's',
      subjectAltNames: ['n'],
    }));
  test('SIMPLE with the roots of a Secret, and without its key', () => {
    const tls = told({ mode: 'SIMPLE', ...named }, secret());
    assert.match(tls?.roots ?? '', /BEGIN CERTIFICATE/);
    assert.equal(tls?.privateKey, undefined);
  });
  test('MUTUAL with the pair', () =>
    assert.match(
      told({ mode: 'MUTUAL', ...named }, secret())?.privateKey ?? '',
      /BEGIN PRIVATE KEY/,
    ));
  const faults: readonly (readonly [string, object, Record<string, string> | undefined, RegExp])[] =
    [
      ['MUTUAL without a Secret’s name', { mode: 'MUTUAL' }, undefined, /needs a credentialName/],
      ['a Secret that is not there', { mode: 'MUTUAL', ...named }, undefined, /not found/],
      ['a Secret without ca.crt', { mode: 'SIMPLE', ...named }, { 'ca.crt': '' }, /has no ca.crt/],
      [
        'a Secret whose key is none',
        { mode: 'MUTUAL', ...named },
        { 'tls.key': 'x' },
        /no PEM private key/,
      ],
      ['a mode that is not known', { mode: 'SIMPEL' }, undefined, /^mode "SIMPEL" is not known$/],
      ['a mode that is no text', { mode: 1 }, undefined, /^mode 1 is not known$/],
      ['a file', { mode: 'SIMPLE', caCertificates: '/etc/ca.pem' }, undefined, /only be "system"/],
    ];
  for (const [name, tls, data, wanted] of faults) {
    test(`fails closed: ${name}`, () => {
      const made = told(tls, ...(data ? [secret(data)] : []));
      assert.match(made?.fault ?? '', wanted);
      assert.equal(made?.privateKey, undefined);
    });
  }
});

test('docs/ingress.md: every example is accepted and resolved', async () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/ingress.md'), 'utf8');
  const objects = [...page.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)]
    .flatMap((m) => parseAllDocuments(m[1] ?? ''))
    .map((d) => d.toJS() as KubeObject)
    .map((o) => ({ ...o, metadata: { namespace: 'shop', generation: 1, ...o.metadata } }));
  assert.equal(objects.length, 8);
  const ca = await createCa({ trustDomain: 'cluster.local', clock: systemClock });
  const { chainPem, keyPem } = await ca.signServer({ dns: ['a'], ips: [], ttlSeconds: 3600 });
  const base64 = (t: string): string => Buffer.from(t).toString('base64');
  const w = world(
    {
      kind: 'GatewayClass',
      metadata: { name: 'istio' },
      spec: { controllerName: 'istio.io/gateway-controller' },
    },
    object('Service', 'productpage', { spec: { clusterIP: '10.0.0.8', ports: [{ port: 9080 }] } }),
    object('Secret', 'shop-tls', {
      type: 'kubernetes.io/tls',
      data: { 'tls.crt': base64(chainPem), 'tls.key': base64(keyPem) },
    }),
    ...objects,
  );
  const shop = w.gateways.gateways.get('shop/shop');
  assert.ok(shop);
  const states = JSON.stringify([
    gatewayStatus(w, shop, now),
    ...[...w.gateways.routes.values()].map((r) => routeStatus(w, r, now)),
    ...[...w.gateways.backendTls.values()].map((p) => backendTlsStatus(w, p, () => [], now)),
    ...[...w.gateways.destinationRules.values()].map((r) => destinationRuleStatus(w, r, now)),
  ]);
  assert.equal(states.match(/"type":"Accepted","status":"True"/g)?.length, 7);
  assert.doesNotMatch(states, /"type":"(ResolvedRefs|Accepted)","status":"False"|PartiallyInvalid/);
  const told = serviceConfigs(w).find((c) => c.name === 'shop/payments.example.org')?.config;
  assert.equal(told, undefined, 'no waypoint of that name here');
});
