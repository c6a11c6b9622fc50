// A revocation list: new handshakes refused on either side, live tunnels cut (S18, Z18, Z19).
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { pemToDer, readCertificate, type Revocations } from '../../certs/index.ts';
import { callFrom, type EchoApp, startEcho } from '../kit/apps.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { startMesh, type TestMesh, testWorkload } from '../kit/mesh.ts';

const at = await claimBlock();
const client = at(2);
const server = at(3);
let revoked: Revocations | undefined;
let mesh: TestMesh;
let echo: EchoApp;

beforeEach(async () => {
  revoked = undefined;
  mesh = await startMesh({ revocations: () => revoked });
  echo = await startEcho(server);
  await mesh.enrol(testWorkload('client', client), testWorkload('server', server));
});
afterEach(async () => {
  await mesh.stop();
  await echo.stop();
});

/** Puts the certificate that an account uses now on the list. */
async function revoke(account: string): Promise<void> {
  const { body } = await mesh.get('/config_dump');
  const dump = JSON.parse(body) as {
    certificates: { identity: string; certChain: { pem: string }[] }[];
  };
  const cert = dump.certificates.find((c) => c.identity.endsWith(`/sa/${account}`));
  const pem = Buffer.from(cert?.certChain[0]?.pem ?? '', 'base64').toString('latin1');
  const facts = readCertificate(pemToDer(pem));
  assert.ok(facts);
  revoked = new Map([[facts.issuer, new Set([facts.serial])]]);
}

const openEcho = async () => {
  const call = await callFrom(client, server);
  call.socket.write('ping');
  await eventually(() => call.text() === 'ping', 'the echo');
  return call;
};

const rejections = (reporter: string): Promise<number> =>
  mesh.metrics.value('istio_crl_policy_rejections_total', { reporter });

test('Z18: a revoked server is refused by the dialling side', async () => {
  await openEcho().then((c) => c.socket.destroy());
  await revoke('server');
  mesh.ztunnel.recheck();
  const call = await callFrom(client, server);
  assert.equal(await call.ended, 'ECONNRESET');
  const outbound = (await mesh.records()).find((r) => r.direction === 'outbound');
  assert.equal(outbound?.reason, 'CERT_REVOKED');
});

test('Z19: a live tunnel whose client is revoked is cut, and counted', async () => {
  const call = await openEcho();
  await revoke('client');
  mesh.ztunnel.recheck();
  assert.equal(await call.ended, 'ECONNRESET');
  assert.equal(await rejections('destination'), 1);
  const again = await callFrom(client, server);
  again.socket.write('x');
  assert.equal(await again.ended, 'ECONNRESET');
  assert.equal(echo.received(), 4);
});
