// CRL_PATH as its file comes and goes: a real list, written as a Secret's mount writes it, against live tunnels.
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { X509Certificate, X509CrlGenerator } from '@peculiar/x509';
import { loadCa, pemToDer, readCertificate } from '../../certs/index.ts';
import { makeCa } from '../../certs/testkit.ts';
import { FakeClock, type Log, silentLog } from '../../core/base/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import { RevocationFile } from '../../ztunnel/revocation-file.ts';
import { claimBlock } from '../kit/addresses.ts';
import { callFrom, type EchoApp, startEcho } from '../kit/apps.ts';
import { eventually } from '../kit/eventually.ts';
import { startMesh, type TestMesh, testWorkload } from '../kit/mesh.ts';

const at = await claimBlock();
const client = at(2);
const server = at(3);
const other = at(4);
const signer = await makeCa();
const dir = mkdtempSync(join(tmpdir(), 'ambient-crl-'));
const path = join(dir, 'crl.pem');
const clock = new FakeClock();
const lines: string[] = [];
const log: Log = { ...silentLog, warn: (line) => void lines.push(line), child: () => log };
let loads = 0;
let mesh: TestMesh;
let echo: EchoApp;
const crl = new RevocationFile(path, {
  clock,
  log,
  changed: () => {
    loads++;
    mesh.ztunnel.recheck();
  },
});

/** As kubelet does it: a folder of its own, and one link that is swapped for another. */
let mounts = 0;
function mount(text: string | Buffer): void {
  const fresh = join(dir, `..${++mounts}`);
  mkdirSync(fresh);
  writeFileSync(join(fresh, 'crl.pem'), text);
  symlinkSync(fresh, join(dir, '..new'));
  renameSync(join(dir, '..new'), join(dir, '..data'));
  if (mounts === 1) symlinkSync('..data/crl.pem', path);
}

async function serialOf(account: string): Promise<string> {
  const dump = JSON.parse((await mesh.get('/config_dump')).body) as {
    certificates: { identity: string; certChain: { pem: string }[] }[];
  };
  const cert = dump.certificates.find((c) => c.identity.endsWith(`/sa/${account}`));
  const pem = Buffer.from(cert?.certChain[0]?.pem ?? '', 'base64').toString('latin1');
  const facts = readCertificate(pemToDer(pem));
  assert.ok(facts);
  return facts.serial;
}

async function listOf(...serials: string[]): Promise<string> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const list = await X509CrlGenerator.create({
    issuer: new X509Certificate(signer.pem).subject,
    thisUpdate: new Date(),
    nextUpdate: new Date(Date.now() + 3_600_000),
    entries: serials.map((serialNumber) => ({ serialNumber, revocationDate: new Date() })),
    signingAlgorithm: algorithm,
    signingKey: createPrivateKey(signer.keyPem).toCryptoKey(algorithm, false, ['sign']),
  });
  const text = Buffer.from(list.rawData).toString('base64');
  return `-----BEGIN X509 CRL-----\n${text}\n-----END X509 CRL-----\n`;
}

before(async () => {
  const ca = loadCa(
    { certPem: signer.pem, keyPem: signer.keyPem, chainPem: '', rootPem: signer.pem },
    { clock: systemClock },
  );
  mesh = await startMesh({ ca, revocations: () => crl.current });
  echo = await startEcho(server);
  await mesh.enrol(
    testWorkload('client', client),
    testWorkload('other', other),
    testWorkload('server', server),
  );
});
after(async () => {
  crl.stop();
  await mesh.stop();
  await echo.stop();
  rmSync(dir, { recursive: true, force: true });
});

const open = async (from: string) => {
  const call = await callFrom(from, server);
  call.socket.write('ping');
  await eventually(() => call.text() === 'ping', 'the echo');
  return call;
};
/** Two seconds of its clock, and the reading done. */
const looked = async (what: () => boolean): Promise<void> => {
  await eventually(() => {
    clock.advance(2_000);
    return what();
  }, 'the file was read');
};

test('F13 no list at the start: allowed, with a warning', async () => {
  await crl.start();
  assert.deepEqual(lines, ['there is no revocation list yet']);
  assert.equal(crl.current, undefined);
  const call = await open(client);
  call.socket.destroy();
});

test('F13 F42 a list appears, a link is swapped: who is on it is cut within 10 s, the other goes on', async () => {
  const bad = await open(client);
  const good = await open(other);
  mount(await listOf());
  await looked(() => loads === 1);
  mount(await listOf(await serialOf('client')));
  const from = clock.monotonic();
  await looked(() => loads === 2);
  assert.ok(clock.monotonic() - from > 0);
  assert.equal(await bad.ended, 'ECONNRESET');
  const again = await callFrom(client, server);
  again.socket.write('x');
  assert.equal(await again.ended, 'ECONNRESET');
  good.socket.write('pong');
  await eventually(() => good.text() === 'pingpong', 'the echo goes on');
  good.socket.destroy();
});

test('F13 a broken list leaves the former in force, with one warning', async () => {
  const before = crl.current;
  mount('-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n');
  await looked(() => lines.length === 2);
  for (let i = 0; i < 3; i++) clock.advance(2_000);
  assert.match(lines[1] ?? '', /cannot be read/);
  assert.equal(lines.length, 2);
  assert.equal(crl.current, before);
  rmSync(path);
  clock.advance(2_000);
  assert.equal(crl.current, before);
  const again = await callFrom(client, server);
  again.socket.write('x');
  assert.equal(await again.ended, 'ECONNRESET');
});
