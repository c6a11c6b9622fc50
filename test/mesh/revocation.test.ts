// A revocation list: new handshakes refused on either side, live tunnels cut (S18, Z18, Z19, Z45, M32).
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import {
  loadCa,
  localCaClient,
  pemToDer,
  readCertificate,
  type Revocations,
} from '../../certs/index.ts';
import { makeCa, type TestCert } from '../../certs/testkit.ts';
import { systemClock } from '../../core/runtime/index.ts';
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

describe('Z45 M32 a revoked issuing certificate ends what stands beneath it, at every depth', async () => {
  const spared = at(4);
  // root → upper → lower → client and server; root → beside → spared.
  const root = await makeCa();
  const upper = await makeCa(root);
  const lower = await makeCa(upper);
  const beside = await makeCa(root);
  const signer = (by: TestCert, chainPem: string) =>
    loadCa(
      { certPem: by.pem, keyPem: by.keyPem, chainPem, rootPem: root.pem },
      { clock: systemClock },
    );
  const beneath = localCaClient(signer(lower, upper.pem));
  const other = localCaClient(signer(beside, ''));
  const listed = (cert: TestCert): Revocations => {
    const facts = readCertificate(cert.der);
    assert.ok(facts);
    return new Map([[facts.issuer, new Set([facts.serial])]]);
  };
  let deep: TestMesh;

  beforeEach(async () => {
    deep = await startMesh({
      revocations: () => revoked,
      caClient: () => ({
        sign: (o) => (o.identity.endsWith('/sa/spared') ? other : beneath).sign(o),
      }),
    });
    // The one of the other tests has the addresses of client and server.
    await mesh.stop();
    await deep.enrol(
      testWorkload('client', client),
      testWorkload('server', server),
      testWorkload('spared', spared),
    );
  });
  afterEach(() => deep.stop());

  const dial = async (to: string) => {
    const call = await callFrom(spared, to);
    call.socket.write('ping');
    await eventually(() => call.text() === 'ping', 'the echo');
    return call;
  };
  const rows: readonly (readonly [string, TestCert])[] = [
    ['the one that signed the leaves', lower],
    ['the one above it', upper],
  ];
  for (const [what, cert] of rows) {
    test(what, async () => {
      const asClient = await openEcho();
      const asServer = await dial(server);
      const far = await startEcho(spared);
      try {
        revoked = listed(cert);
        deep.ztunnel.recheck();
        assert.equal(await asClient.ended, 'ECONNRESET');
        assert.equal(await asServer.ended, 'ECONNRESET');
        for (const [from, to] of [
          [client, server],
          [spared, server],
          [client, spared],
        ] as const) {
          const late = await callFrom(from, to);
          late.socket.write('x');
          assert.equal(await late.ended, 'ECONNRESET', `${from} → ${to}`);
        }
        assert.equal(far.received(), 0);
        assert.ok((await deep.records()).some((r) => r.reason === 'CERT_REVOKED'));
      } finally {
        await far.stop();
      }
    });
  }

  test('one beside it ends only its own', async () => {
    const call = await openEcho();
    const cut = await dial(server);
    revoked = listed(beside);
    deep.ztunnel.recheck();
    assert.equal(await cut.ended, 'ECONNRESET');
    call.socket.write('pong');
    await eventually(() => call.text() === 'pingpong', 'the echo goes on');
    call.socket.destroy();
  });
});
