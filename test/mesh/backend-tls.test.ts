// BackendTLSPolicy from the object to the handshake: an ingress gateway and a waypoint are told what the control plane makes
// of it, and speak TLS to real servers (Gateway API; waypoint-l7.md 4.4, 11). Rows carry the conformance tests' names.
import assert from 'node:assert/strict';
import http from 'node:http';
import https from 'node:https';
import type net from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import type tls from 'node:tls';
import { leafProfile, makeCa, makeCert, type TestCert } from '../../certs/testkit.ts';
import type { KubeObject } from '../../core/kube/index.ts';
import { namespacedHost } from '../../core/model/index.ts';
import { serviceConfigs } from '../../istiod-lite/gateway/index.ts';
import {
  testSettings as settings,
  shopObject as object,
  worldOf,
} from '../../istiod-lite/gateway/testkit.ts';
import { claimBlock } from '../kit/addresses.ts';
import { testService, testWorkload } from '../kit/mesh.ts';
import {
  startTestIngress,
  startTestWaypoint,
  type TestIngress,
  type TestWaypoint,
} from '../kit/waypoint.ts';

const at = await claimBlock();
const uri = 'spiffe://outside.example/backend';
let w: TestWaypoint;
let g: TestIngress;
let root: TestCert;
let server: https.Server;
/** Requests that arrived, by server name and Host. */
let seen: string[] = [];

const klass = (name: string, controller: string): KubeObject => ({
  kind: 'GatewayClass',
  metadata: { name },
  spec: { controllerName: `istio.io/${controller}` },
});
const bound = { labels: { 'istio.io/use-waypoint': 'waypoint' } };
const base: KubeObject[] = [
  { kind: 'Namespace', metadata: { name: 'shop' } },
  klass('istio', 'gateway-controller'),
  klass('istio-waypoint', 'mesh-controller'),
  object('Gateway', 'edge', {
    spec: { gatewayClassName: 'istio', listeners: [{ name: 'http', port: 80, protocol: 'HTTP' }] },
  }),
  object('Gateway', 'waypoint', {
    spec: {
      gatewayClassName: 'istio-waypoint',
      listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
    },
    status: { addresses: [{ type: 'Hostname', value: 'waypoint.shop.svc.cluster.local' }] },
  }),
  object(
    'Service',
    'web',
    { spec: { clusterIP: '10.0.0.1', ports: [{ name: 'http', port: 80 }] } },
    bound,
  ),
  object('HTTPRoute', 'r', {
    spec: {
      parentRefs: [{ name: 'edge' }],
      rules: [{ backendRefs: [{ name: 'web', port: 80 }] }],
    },
  }),
];
const policy = (
  validation: object = {},
  o: { meta?: object; sectionName?: string } = {},
): KubeObject => {
  const section = o.sectionName === undefined ? {} : { sectionName: o.sectionName };
  const caCertificateRefs = [{ group: '', kind: 'ConfigMap', name: 'roots' }];
  const spec = {
    targetRefs: [{ group: '', kind: 'Service', name: 'web', ...section }],
    validation: { hostname: 'web.example.com', caCertificateRefs, ...validation },
  };
  return object('BackendTLSPolicy', 'p', { spec }, o.meta ?? {});
};
const roots = (pem = root.pem): KubeObject =>
  object('ConfigMap', 'roots', { data: { 'ca.crt': pem } });

/** Both are told what the control plane makes of the objects. */
function tell(...objects: readonly KubeObject[]): void {
  for (const { gateway, name, config } of serviceConfigs(
    worldOf(settings, [...base, ...objects]),
  )) {
    const { listeners = [], ...more } = config;
    if (gateway === 'shop/edge')
      g.listen(
        listeners.map((l) => l ?? {}),
        more,
      );
    else w.configure('web', config, name);
  }
}

const fromOutside = (): Promise<string> =>
  new Promise((resolve, reject) => {
    const headers = { host: 'shop.example.com' };
    http
      .get({ host: at(2), port: 10_080, path: '/', headers, agent: false }, (res) => {
        let text = '';
        res.on('data', (chunk: Buffer) => (text += chunk.toString()));
        res.on('end', () => resolve(`${res.statusCode} ${text}`));
      })
      .on('error', reject);
  });
async function throughWaypoint(): Promise<string> {
  const request = 'GET / HTTP/1.1\r\nhost: shop.example.com\r\nconnection: close\r\n\r\n';
  const text = await w.exchange(`${at(100)}:80`, request);
  const [, status = ''] = /^HTTP\/1\.1 (\d+)/.exec(text) ?? [];
  return `${status} ${text.split('\r\n\r\n')[1] ?? ''}`;
}

before(async () => {
  root = await makeCa();
  const names = { critical: true, dns: ['web.example.com', '*.wild.example.com'], uris: [uri] };
  const leaf = await makeCert(root, { profile: { ...leafProfile(), names } });
  server = https.createServer({ cert: leaf.pem, key: leaf.keyPem }, (req, res) => {
    const name = String((req.socket as tls.TLSSocket & { servername?: unknown }).servername);
    seen.push(`${name} ${req.headers.host}`);
    res.end(name);
  });
  await new Promise<void>((resolve) => server.listen(0, at(20), resolve));
  const { port } = server.address() as net.AddressInfo;
  w = await startTestWaypoint(at(1));
  g = await startTestIngress(at(2), w.ca);
  const key = namespacedHost('shop', 'web.shop.svc.cluster.local');
  const endpoint = testWorkload('web-0', at(20), {
    protocol: 'TCP',
    services: new Map([[key, new Map([[80, port]])]]),
  });
  for (const feed of [w.feed, g.feed]) {
    feed.apply({ services: [testService('web', at(100), 80, port)], workloads: [endpoint] });
  }
  tell();
  await g.waypoint.ready;
});
after(async () => {
  await g.stop();
  await w.stop();
  server.close();
  server.closeAllConnections();
});
beforeEach(() => {
  seen = [];
});

const named = (...all: readonly object[]): object => ({ subjectAltNames: all });
const dns = (hostname: string): object => ({ type: 'Hostname', hostname });
const elsewhere = { hostname: 'elsewhere.example.com' };
const good = (name = 'web.example.com'): string => `200 ${name}`;
const refused = '503';

const rows: readonly (readonly [string, () => Promise<KubeObject[]> | KubeObject[], string])[] = [
  ['without a policy nothing speaks TLS, and the server has none of it', () => [], refused],
  ['BackendTLSPolicy', () => [policy(), roots()], good()],
  [
    'BackendTLSPolicy: the certificate is of another name',
    () => [policy(elsewhere), roots()],
    refused,
  ],
  [
    'BackendTLSPolicy: the certificate is of other roots',
    async () => [policy(), roots((await makeCa()).pem)],
    refused,
  ],
  ['BackendTLSPolicyInvalidCACertificateRef: nothing is sent', () => [policy()], refused],
  [
    'BackendTLSPolicySANValidation: the name counts for SNI alone',
    () => [policy({ ...elsewhere, ...named(dns('web.example.com')) }), roots()],
    good('elsewhere.example.com'),
  ],
  [
    'BackendTLSPolicySANValidation: one of several is enough',
    () => [policy(named(dns('x.example.com'), { type: 'URI', uri })), roots()],
    good(),
  ],
  [
    'BackendTLSPolicySANValidation: a name that its wildcard stands for',
    () => [policy(named(dns('a.wild.example.com'))), roots()],
    good(),
  ],
  [
    'BackendTLSPolicySANValidation: none of them',
    () => [policy(named(dns('x.example.com'), dns('a.b.wild.example.com'))), roots()],
    refused,
  ],
  [
    'BackendTLSPolicySANValidation: another URI',
    () => [policy(named({ type: 'URI', uri: `${uri}/x` })), roots()],
    refused,
  ],
  [
    'BackendTLSPolicyConflictResolution: the older holds',
    () => [
      policy(elsewhere, { meta: { creationTimestamp: '2026-01-02T00:00:00Z' } }),
      policy({}, { meta: { name: 'older', creationTimestamp: '2026-01-01T00:00:00Z' } }),
      roots(),
    ],
    good(),
  ],
  [
    'BackendTLSPolicy: the port by its name',
    () => [policy({}, { sectionName: 'http' }), roots()],
    good(),
  ],
];

describe('BackendTLSPolicy in real handshakes', () => {
  for (const [name, make, wanted] of rows) {
    test(name, async () => {
      tell(...(await make()));
      const got = [await fromOutside(), await throughWaypoint()];
      for (const one of got) assert.ok(one.startsWith(wanted), `${one}, not ${wanted}`);
      assert.equal(seen.length, wanted.startsWith('200') ? 2 : 0);
    });
  }

  test('roots that change hold for the next request: a kept connection is not believed', async () => {
    tell(policy(), roots());
    assert.equal(await fromOutside(), good());
    tell(policy(), roots((await makeCa()).pem));
    assert.match(await fromOutside(), /^503/);
    tell(policy(), roots());
    assert.equal(await fromOutside(), good());
    assert.deepEqual(seen, Array(2).fill('web.example.com shop.example.com'));
  });
});
