// ambientctl and kubectl as people use them, against a real sandbox: output, exit codes, evidence.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../kit/eventually.ts';
import { startSandbox, type TestSandbox } from '../kit/sandbox.ts';

const root = join(import.meta.dirname, '../..');
const web = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: web
      containers:
        - name: web
          command: [node, samples/bookinfo/src/details.ts]
          ports: [{containerPort: 9080}]
          readinessProbe: {tcpSocket: {port: 9080}, periodSeconds: 1}
`;
const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
`;
const denyCurl = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny-curl}
spec:
  action: DENY
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/curl]}}]}]
`;

type Report = Awaited<ReturnType<TestSandbox['world']['verify']>>;

interface VerifyJson {
  readonly verdict: string;
  readonly legs: readonly {
    readonly tls?: { readonly version: string };
    readonly peer?: { readonly identity: string; readonly chain: unknown[] };
  }[];
  readonly policies: readonly { readonly name: string; readonly decided: boolean }[];
  readonly plaintext: { readonly accepted: boolean; readonly decidedBy: string };
  readonly reason?: { readonly code: string; readonly policy?: string };
  readonly evidence: readonly {
    readonly kind: string;
    readonly text: string;
    readonly trace?: string;
  }[];
  readonly proofs: readonly { readonly name: string; readonly ok: boolean | null }[];
}

describe('command line against a sandbox', () => {
  let sandbox: TestSandbox;
  const verify = async (...args: string[]): Promise<{ code: number; json: VerifyJson }> => {
    const r = await sandbox.ctl('verify', 'mtls', 'deploy/curl', 'svc/web', '-o', 'json', ...args);
    assert.notEqual(r.out, '', r.err);
    return { code: r.code, json: JSON.parse(r.out) as VerifyJson };
  };

  /** Waits in this process: a command of its own for every look would be slow. */
  const verdict = (what: string, holds: (r: Report) => boolean): Promise<unknown> =>
    sandbox.world.until(what, 30_000, async () =>
      holds(await sandbox.world.verify('deploy/curl', 'svc/web')),
    );

  before(async () => {
    sandbox = await startSandbox();
    await sandbox.world.applyText(web, 'web');
    await sandbox.world.applyFile('samples/curl/curl.yaml');
    await sandbox.world.available('default', 30_000);
  });
  after(() => sandbox.stop());

  test('verify: exit 4 before enrolment, with the reason and what to do', async () => {
    const r = await sandbox.ctl('verify', 'mtls', 'deploy/curl', 'svc/web');
    assert.equal(r.code, 4);
    assert.match(r.out, /does not serve pod curl-.*kubectl label namespace default/);
  });

  test('kubectl label, get, exec, logs; no restart', async (t) => {
    if ((await sandbox.run('kubectl', 'version', '--client')).code !== 0) {
      t.skip('no kubectl on PATH');
      await sandbox.world.label('default', { 'istio.io/dataplane-mode': 'ambient' });
      return;
    }
    const labelled = await sandbox.run(
      'kubectl',
      'label',
      'namespace',
      'default',
      'istio.io/dataplane-mode=ambient',
    );
    assert.equal(labelled.out, 'namespace/default labeled\n');
    const pods = await sandbox.run('kubectl', 'get', 'pods', '--no-headers');
    for (const line of pods.out.trim().split('\n')) assert.match(line, /1\/1\s+Running\s+0\s/);
    const answer = await sandbox.run(
      'kubectl',
      'exec',
      'deploy/curl',
      '--',
      'curl',
      '-sS',
      'http://web/details/7',
    );
    assert.match(answer.out, /"id":7/);
    const logs = await sandbox.run('kubectl', 'logs', 'deploy/web');
    assert.match(logs.out, /details v1 listens on 9080/);
  });

  test('verify: exit 0 once enrolled, 3 with --strict while plaintext is accepted', async () => {
    await verdict('mutual TLS', (r) => r.verdict === 'mtls');
    const { code, json: proven } = await verify();
    assert.equal(code, 0);
    assert.equal(proven.verdict, 'mtls');
    assert.equal(proven.legs[0]?.tls?.version, 'TLSv1.3');
    assert.equal(proven.legs[0]?.peer?.identity, 'spiffe://cluster.local/ns/default/sa/web');
    assert.equal(proven.legs[0]?.peer?.chain.length, 2);
    assert.equal(proven.plaintext.accepted, true);
    assert.match(proven.evidence.map((e) => e.text).join('\n'), /sent plaintext .* stayed open/);
    assert.ok(proven.evidence.some((e) => e.kind === 'record' && e.trace !== undefined));
    assert.equal((await verify('--strict')).code, 3);
    // The plaintext that was just sent is what STRICT would cut.
    const file = join(sandbox.dir, 'strict.yaml');
    writeFileSync(file, strict);
    const cut = await sandbox.ctl('authz', 'simulate', '-f', file);
    assert.equal(cut.code, 5, cut.err);
    assert.match(cut.out, /\(plaintext\) .*allowed → refused +\S*istio_converted_static_strict/);
  });

  test('verify: exit 0 with --strict once STRICT is in force, naming what decides', async () => {
    await sandbox.world.applyText(strict, 'strict');
    await verdict('STRICT', (r) => r.plaintext.accepted === false);
    const { code, json } = await verify('--strict');
    assert.equal(code, 0);
    assert.equal(json.plaintext.decidedBy, 'istio-system/istio_converted_static_strict');
    // Really sent, by a process outside the mesh, and recorded by the proxy that refused it (M6).
    const sent = json.evidence.filter((e) => e.kind === 'probe').map((e) => e.text);
    assert.match(sent.join('\n'), /plaintext-probe-\S+ sent plaintext .* recorded it as refused/);
    assert.deepEqual(
      json.proofs.map((p) => [p.name, p.ok]),
      [
        'captured',
        'path',
        'identities',
        'negotiated',
        'policy',
        'plaintext-refused',
        'verdict',
      ].map((name) => [name, true]),
    );
  });

  test('verify: exit 5 when a policy refuses, naming the policy', async () => {
    await sandbox.world.applyText(denyCurl, 'deny-curl');
    await verdict('the refusal', (r) => r.verdict === 'refused');
    const { code, json } = await verify();
    assert.equal(code, 5);
    assert.equal(json.reason?.code, 'POLICY_DENIED');
    assert.equal(json.reason.policy, 'default/deny-curl');
    assert.ok(json.policies.some((p) => p.name === 'default/deny-curl' && p.decided));
  });

  test('verify --all: every pair that has talked, from the records of the proxies', async () => {
    const json = await sandbox.ctl('verify', 'mtls', '--all', '-o', 'json');
    const { pairs } = JSON.parse(json.out) as {
      pairs: { source: string; destination: string; mtls: number; plaintext: number }[];
    };
    const pair = pairs.find(
      (p) => p.source.startsWith('curl-') && /^web-\S+:9080$/.test(p.destination),
    );
    assert.ok(pair && pair.mtls > 0 && pair.plaintext === 0, json.out);
    // The plaintext that verify itself sent while it was still let through.
    const outside = pairs.find((p) => p.plaintext > 0 && !p.source.startsWith('curl-'));
    assert.ok(outside, json.out);
    assert.equal(json.code, 4);
  });

  test('analyze: the live mesh is clean; a file is judged as if it were applied (exit 79, 65)', async () => {
    const clean = await sandbox.ctl('analyze');
    assert.deepEqual(
      [clean.code, clean.out, clean.err],
      [0, '\n', '✔ No validation issues found when analyzing namespace: default.\n'],
    );
    const file = join(sandbox.dir, 'typo.yaml');
    writeFileSync(file, denyCurl.replace('sa/curl', 'sa/crul').replace('deny-curl', 'typo'));
    const found = await sandbox.ctl('analyze', '-f', file, '--failure-threshold', 'Warning');
    assert.equal(found.code, 79, found.err);
    assert.match(
      found.out,
      /^Warning \[AMB0204\] \(AuthorizationPolicy default\/typo \S+typo\.yaml:7\) there is no account crul in namespace default \(spec\.rules\[0\]/,
    );
    const json = await sandbox.ctl('analyze', file, '--use-kube=false', '-o', 'json');
    assert.deepEqual(
      (JSON.parse(json.out) as { code: string; level: string }[]).map((m) => [m.code, m.level]),
      [['AMB0204', 'Warning']],
    );
    assert.equal(json.code, 0);
    writeFileSync(file, 'a: [');
    assert.equal((await sandbox.ctl('analyze', '-f', file, '--use-kube=false')).code, 65);
  });

  test('ztunnel-config: Istio’s columns, JSON, certificates without a private key (M30)', async () => {
    const workloads = await sandbox.ctl(
      'ztunnel-config',
      'workloads',
      '--workload-namespace',
      'default',
    );
    assert.match(workloads.out, /^NAMESPACE POD NAME +ADDRESS +NODE +WAYPOINT +PROTOCOL\n/);
    assert.match(workloads.out, /default +web-\S+ +127\.\S+ +sandbox +None +HBONE\n/);
    const all = await sandbox.ctl('zc', 'all', '-o', 'json');
    const dump = JSON.parse(all.out) as Record<string, unknown>;
    for (const key of [
      'workloads',
      'services',
      'policies',
      'certificates',
      'workloadState',
      'config',
      'version',
    ]) {
      assert.ok(key in dump, key);
    }
    assert.ok(!/PRIVATE KEY/.test(all.out));
    const certificates = await sandbox.ctl('zc', 'certs', 'ds/ztunnel');
    assert.match(certificates.out, /sa\/curl +Leaf +Available +true/);
    const level = await sandbox.ctl('zc', 'log', '--level', 'access=debug,info');
    assert.match(level.out, /current log level is access=debug,info/);
    assert.equal((await sandbox.ctl('zc', 'log', '--level', 'loud')).code, 1);
  });

  test('metrics: Istio’s TCP family with identities on the proxy’s own 15020', async () => {
    const { mesh } = await sandbox.world.status();
    const ztunnel = mesh.find((m) => m.name.startsWith('ztunnel'));
    const text = await (await fetch(`http://${ztunnel?.ip}:15020/metrics`)).text();
    const line = text
      .split('\n')
      .find(
        (l) =>
          l.startsWith('istio_tcp_connections_opened_total{') && l.includes('reporter="source"'),
      );
    assert.match(line ?? '', /connection_security_policy="mutual_tls"/);
    assert.match(line ?? '', /source_principal="spiffe:\/\/cluster\.local\/ns\/default\/sa\/curl"/);
    assert.match(
      text,
      /ambient_refusals_total\{reporter="destination",reason="POLICY_DENIED"\} [1-9]/,
    );
  });

  test('sandbox status, env, exec, logs, version', async () => {
    const status = await sandbox.ctl('sandbox', 'status', '--dir', sandbox.dir, '-o', 'json');
    const json = JSON.parse(status.out) as {
      driver: string;
      means: string;
      mesh: { ports: number[] }[];
    };
    assert.equal(json.driver, 'loopback');
    assert.ok(json.mesh.some((m) => m.ports.includes(15_012)));
    const env = await sandbox.ctl('sandbox', 'env', '--dir', sandbox.dir);
    assert.match(env.out, /export KUBECONFIG='.*kubeconfig'\nexport PATH='.*bin':"\$PATH"\n/);
    const exec = await sandbox.ctl(
      'sandbox',
      'exec',
      '--dir',
      sandbox.dir,
      'deploy/curl',
      '--',
      'sh',
      '-c',
      'echo out; echo err >&2; exit 7',
    );
    assert.deepEqual(exec, { code: 7, out: 'out\n', err: 'err\n' });
    const logs = await sandbox.ctl(
      'sandbox',
      'logs',
      '--dir',
      sandbox.dir,
      'ds/ztunnel.istio-system',
      '--tail',
      '5',
    );
    assert.equal(logs.out.trim().split('\n').length, 5);
    const version = await sandbox.ctl('version');
    assert.match(
      version.out,
      /client version: \S+\ncontrol plane version: \S+\ndata plane version: \S+ \(1 proxies\)\n/,
    );
  });

  const wrong: [string, string[], RegExp][] = [
    [
      'missing deployment',
      ['verify', 'mtls', 'deploy/nosuch', 'svc/web'],
      /deployment "nosuch" not found in namespace "default"/,
    ],
    [
      'missing port',
      ['verify', 'mtls', 'deploy/curl', 'svc/web:81'],
      /service "web" has no port 81; it has 80/,
    ],
    ['unknown flag', ['verify', 'mtls', 'a', 'b', '--bogus'], /unknown option '--bogus'/],
    ['unknown command', ['nosuch'], /unknown command 'nosuch'/],
    [
      'unreachable server',
      ['version', '--kubeconfig', '/nonexistent'],
      /cannot read kubeconfig \/nonexistent/,
    ],
    [
      'two sources',
      ['zc', 'w', 'ds/ztunnel', '--node', 'x'],
      /at most one of --file, --node, or pod name/,
    ],
    ['bad level', ['analyze', '--failure-threshold', 'x'], /--failure-threshold is one of Error/],
    ['files needed', ['analyze', '--use-kube=false'], /--use-kube=false needs files/],
    ['no such code', ['analyze', '-S', 'X1=*'], /there is no code X1/],
    ['bad format', ['zc', 'w', '-o', 'xml'], /output format "xml" not supported/],
  ];
  for (const [name, args, text] of wrong) {
    test(`one clear line and exit 1: ${name}`, async () => {
      const r = await sandbox.ctl(...args);
      assert.equal(r.code, 1);
      assert.match(r.err, text);
      assert.ok(r.err.startsWith('Error: '), r.err);
      assert.ok(!r.err.includes('    at '), 'no stack');
    });
  }
});

test('sandbox up in the foreground stays, a second one shows it and goes, Ctrl-C ends it', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'ambient-up-'));
  const up = (): { child: ChildProcess; code: Promise<unknown>; err: () => string } => {
    const args = ['sandbox', 'up', '--no-mesh', '--driver', 'loopback', '--dir', dir];
    const child = spawn(process.execPath, [join(root, 'cli/main.ts'), ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let text = '';
    child.stderr.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
    });
    return { child, code: once(child, 'close').then(([code]) => code as unknown), err: () => text };
  };
  const first = up();
  try {
    await eventually(() => first.err().includes('Ctrl-C ends it'), 'the sandbox', 30_000);
    const second = up();
    assert.equal(await second.code, 0);
    assert.match(second.err(), /already runs in .*\n.* is up.*\nnext: /);
    assert.equal(first.child.exitCode, null);
  } finally {
    first.child.kill('SIGINT');
    assert.equal(await first.code, 0, first.err());
    rmSync(dir, { recursive: true, force: true });
  }
  assert.match(first.err(), /stopping\n$/);
});
