// Policy at the destination: denial before the first byte, named at both ends, and again for connections
// that are open when it changes.
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { emptyMatch, type Match, policyKey, type Rule } from '../../core/model/index.ts';
import { ClusterState, nothingTouched } from '../../istiod-lite/cluster/index.ts';
import {
  peerAuthenticationKeys,
  peerAuthenticationPolicies,
} from '../../istiod-lite/translate/index.ts';
import { callFrom, type EchoApp, startEcho } from '../kit/apps.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { startMesh, type TestMesh, testPolicy, testWorkload } from '../kit/mesh.ts';

const at = await claimBlock();
const client = at(2);
const server = at(3);
let mesh: TestMesh;
let echo: EchoApp;

const rule = (match: Partial<Match>): Rule => [[{ ...emptyMatch, ...match }]];
const fromClient = rule({
  principals: { any: [{ kind: 'exact', text: 'cluster.local/ns/shop/sa/client' }], none: [] },
});
const fromOther = rule({
  principals: { any: [{ kind: 'exact', text: 'cluster.local/ns/shop/sa/other' }], none: [] },
});
/** What PeerAuthentication STRICT becomes: nobody without an identity. */
const strict = testPolicy('istio_converted_static_strict', {
  action: 'Deny',
  rules: [rule({ principals: { any: [], none: [{ kind: 'presence' }] } })],
});

const guarded = (...names: string[]) =>
  testWorkload('server', server, {
    authorizationPolicies: names.map((n) => policyKey('shop', n)),
  });

before(async () => {
  mesh = await startMesh();
  echo = await startEcho(server);
  await mesh.enrol(testWorkload('client', client), guarded());
});
beforeEach(() => mesh.apply({ workloads: [guarded()] }));
after(async () => {
  await mesh.stop();
  await echo.stop();
});

const openEcho = async () => {
  const call = await callFrom(client, server);
  call.socket.write('ping');
  await eventually(() => call.text() === 'ping', 'the echo');
  return call;
};

test('C7 Z16: a denied connection is reset and both ends name the policy under one trace', async () => {
  const before = echo.received();
  mesh.apply({
    policies: [testPolicy('deny-client', { action: 'Deny', rules: [fromClient] })],
    workloads: [guarded('deny-client')],
  });
  const call = await callFrom(client, server);
  call.socket.write('secret');
  assert.equal(await call.ended, 'ECONNRESET');
  assert.equal(echo.received(), before);
  const { outbound, inbound } = await mesh.bothEnds();
  for (const end of [outbound, inbound]) {
    assert.equal(end.state, 'refused');
    assert.equal(end.reason, 'POLICY_DENIED');
    assert.equal(end.policy, 'shop/deny-client');
  }
  assert.equal(outbound.refusedBy, 'peer');
  assert.equal(outbound.status, 401);
  assert.equal(inbound.refusedBy, 'self');
  const refused = (reporter: string) =>
    mesh.metrics.value('ambient_refusals_total', { reporter, reason: 'POLICY_DENIED' });
  assert.equal(await refused('source'), 1);
  assert.equal(await refused('destination'), 1);
  const flags = (reporter: string, response_flags: string) =>
    mesh.metrics.value('istio_tcp_connections_closed_total', { reporter, response_flags });
  assert.equal(await flags('source', 'CONNECT'), 1);
  assert.equal(await flags('destination', 'DENY'), 1);
  assert.ok(mesh.lines.some((l) => l.includes('explicitly denied by: shop/deny-client')));
  assert.ok(mesh.lines.some((l) => l.includes('http status: 401 Unauthorized')));
});

test('M7 Z16: an ALLOW policy for somebody else refuses and is named', async () => {
  mesh.apply({
    policies: [testPolicy('allow-other', { action: 'Allow', rules: [fromOther] })],
    workloads: [guarded('allow-other')],
  });
  const call = await callFrom(client, server);
  assert.equal(await call.ended, 'ECONNRESET');
  const { inbound } = await mesh.bothEnds();
  assert.equal(inbound.reason, 'POLICY_NOT_ALLOWED');
  assert.equal(inbound.policy, 'shop/allow-other');
});

for (const [who, name, allowed] of [
  ['its own', 'client', false],
  ['another', 'other', true],
] as const) {
  test(`M7 everybody but ${who} principal: ${allowed ? 'let in' : 'refused'}`, async () => {
    const text = `cluster.local/ns/shop/sa/${name}`;
    const but = rule({ principals: { any: [], none: [{ kind: 'exact', text }] } });
    mesh.apply({
      policies: [testPolicy('allow-but', { action: 'Allow', rules: [but] })],
      workloads: [guarded('allow-but')],
    });
    if (allowed) return void (await openEcho()).socket.destroy();
    const call = await callFrom(client, server);
    assert.equal(await call.ended, 'ECONNRESET');
    const { inbound } = await mesh.bothEnds();
    assert.equal(inbound.policy, 'shop/allow-but');
  });
}

test('3.2: a workload that names a policy not yet received lets nobody in', async () => {
  mesh.apply({ workloads: [guarded('not-there')] });
  const call = await callFrom(client, server);
  assert.equal(await call.ended, 'ECONNRESET');
  const { outbound, inbound } = await mesh.bothEnds();
  assert.equal(inbound.reason, 'POLICY_PENDING');
  assert.equal(outbound.reason, 'POLICY_PENDING');
  assert.equal(outbound.status, 503);
  mesh.apply({ policies: [testPolicy('not-there', { action: 'Allow', rules: [fromClient] })] });
  const open = await openEcho();
  open.socket.destroy();
});

test('P8: a policy that changes cuts the live connection at both ends', async () => {
  mesh.apply({
    policies: [testPolicy('gate', { action: 'Allow', rules: [fromClient] })],
    workloads: [guarded('gate')],
  });
  const call = await openEcho();
  mesh.apply({ policies: [testPolicy('gate', { action: 'Allow', rules: [fromOther] })] });
  assert.equal(await call.ended, 'ECONNRESET');
  const { outbound, inbound } = await mesh.bothEnds();
  assert.equal(inbound.reason, 'POLICY_CHANGED');
  assert.equal(outbound.reason, 'POLICY_CHANGED');
});

test('P8: a policy newly listed on the workload cuts the live connection', async () => {
  mesh.apply({ policies: [testPolicy('later', { action: 'Deny', rules: [fromClient] })] });
  const call = await openEcho();
  mesh.apply({ workloads: [guarded('later')] });
  assert.equal(await call.ended, 'ECONNRESET');
});

test('P8: a change that still allows leaves the connection alone', async () => {
  const call = await openEcho();
  mesh.apply({
    policies: [testPolicy('other-only', { action: 'Deny', rules: [fromOther] })],
    workloads: [guarded('other-only')],
  });
  call.socket.write('!');
  await eventually(() => call.text() === 'ping!', 'the second echo');
  call.socket.destroy();
});

test('M6 K36: STRICT refuses plaintext on 15006 and lets mutual TLS through', async () => {
  mesh.apply({
    policies: [strict],
    workloads: [guarded('istio_converted_static_strict')],
  });
  const before = echo.received();
  const plain = await callFrom(client, server, 8080, { ip: server, port: 15006 });
  plain.socket.write('in clear');
  assert.equal(await plain.ended, 'ECONNRESET');
  assert.equal(echo.received(), before);
  const open = await openEcho();
  open.socket.destroy();
});

describe('M6 mutual TLS by PeerAuthentication, as the control plane translates it', () => {
  let other: EchoApp;
  before(async () => {
    other = await startEcho(server, 8081);
  });
  after(() => other.stop());

  const mtls = (namespace: string, mode: string, own: object = {}) => ({
    kind: 'PeerAuthentication',
    metadata: { name: `${namespace}-${mode.toLowerCase()}`, namespace },
    spec: { mtls: { mode }, ...own },
  });
  const selector = { matchLabels: { app: 'server' } };
  const port = (mode: string): object => ({ selector, portLevelMtls: { 8081: { mode } } });
  const strictMesh = mtls('istio-system', 'STRICT');
  /** The objects, and whether plaintext gets in at 8080 and at 8081. */
  const rows: readonly (readonly [string, readonly object[], boolean, boolean])[] = [
    ['nothing', [], true, true],
    ['PERMISSIVE for the mesh', [mtls('istio-system', 'PERMISSIVE')], true, true],
    ['STRICT for the mesh', [strictMesh], false, false],
    ['STRICT for the namespace', [mtls('shop', 'STRICT')], false, false],
    ['STRICT for another namespace', [mtls('other', 'STRICT')], true, true],
    ['STRICT but for a port', [mtls('shop', 'STRICT', port('PERMISSIVE'))], false, true],
    ['STRICT but for a port with DISABLE', [mtls('shop', 'STRICT', port('DISABLE'))], false, true],
    ['PERMISSIVE but for a port', [mtls('shop', 'PERMISSIVE', port('STRICT'))], true, false],
    [
      'mesh STRICT, workload PERMISSIVE',
      [strictMesh, mtls('shop', 'PERMISSIVE', { selector })],
      true,
      true,
    ],
    [
      'mesh STRICT, a port of the workload PERMISSIVE',
      [strictMesh, mtls('shop', 'UNSET', port('PERMISSIVE'))],
      false,
      true,
    ],
    [
      'mesh STRICT, another workload PERMISSIVE',
      [strictMesh, mtls('shop', 'PERMISSIVE', { selector: { matchLabels: { app: 'x' } } })],
      false,
      false,
    ],
    [
      'mesh PERMISSIVE, namespace STRICT, workload PERMISSIVE',
      [
        mtls('istio-system', 'PERMISSIVE'),
        mtls('shop', 'STRICT'),
        mtls('shop', 'PERMISSIVE', { selector }),
      ],
      true,
      true,
    ],
  ];
  for (const [name, objects, ...wanted] of rows) {
    test(`M6 ${name}: plaintext ${wanted.map((w) => (w ? 'let in' : 'refused')).join(', ')}`, async () => {
      const cluster = new ClusterState('istio-system', 'default');
      for (const o of objects) {
        cluster.apply('PeerAuthentication', 'ADDED', o as never, nothingTouched());
      }
      const labels = new Map([['app', 'server']]);
      const authorizationPolicies = peerAuthenticationKeys(cluster, 'shop', labels);
      const policies = peerAuthenticationPolicies(cluster);
      mesh.apply({ policies, workloads: [{ ...guarded(), authorizationPolicies }] });
      for (const [i, open] of wanted.entries()) {
        const to = 8080 + i;
        const plain = await callFrom(client, server, to, { ip: server, port: 15006 });
        plain.socket.end('in clear');
        assert.equal(await plain.ended, open ? 'end' : 'ECONNRESET', `${to}`);
        assert.equal(plain.text(), open ? 'in clear' : '');
        const tls = await callFrom(client, server, to);
        tls.socket.end('by mutual TLS');
        assert.equal(await tls.ended, 'end');
        assert.equal(tls.text(), 'by mutual TLS');
      }
    });
  }
});

test('Z2: without STRICT plaintext reaches the app on 15006, with the source address kept', async () => {
  const plain = await callFrom(client, server, 8080, { ip: server, port: 15006 });
  plain.socket.end('in clear');
  await eventually(() => plain.text() === 'in clear', 'the echo');
  assert.equal(echo.seen.at(-1), client);
  assert.equal(await plain.ended, 'end');
});
