// An API server for stories about Kubernetes: a real kube-apiserver with etcd, found through KUBEBUILDER_ASSETS as
// every controller project does, or the sandbox's own. No controllers and no kubelet run at either.
import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import {
  accessSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { silentLog } from '../../core/base/index.ts';
import { connectKube, type KubeClient, type KubeObject, resources } from '../../core/kube/index.ts';
import { systemClock, systemRandom } from '../../core/runtime/index.ts';
import {
  createTokens,
  makeServingCertificate,
  startApi,
  writeKubeconfig,
} from '../../sandbox/api/index.ts';
import { openStore } from '../../sandbox/store/index.ts';
import { type AddressBlock, claimBlock } from './addresses.ts';
import { eventually } from './eventually.ts';

export interface ApiServer {
  readonly kind: 'kube-apiserver' | 'sandbox';
  readonly url: string;
  /** Own files of the test; gone after `stop`. */
  readonly dir: string;
  /** Loopback addresses of the test's own; 1 and 2 are taken. */
  readonly block: AddressBlock;
  /** Admin's. */
  readonly kubeconfig: string;
  readonly kube: KubeClient;
  /** A kubeconfig with that token. */
  kubeconfigOf(name: string, token: string): string;
  /** A bound token by TokenRequest. */
  token(
    namespace: string,
    account: string,
    how?: { readonly audience?: string; readonly pod?: KubeObject },
  ): Promise<string>;
  /** Ends the API server and starts it again with its data. */
  restart(between?: () => Promise<void>): Promise<void>;
  /** What was asked of a real API server so far, one entry a request; empty at the sandbox's. */
  audit(): readonly AuditEntry[];
  /** Forgets old revisions in etcd, so that watches cannot go on from them; nothing at the sandbox. */
  compact(): Promise<void>;
  stop(): Promise<void>;
}

/** The fields of an audit event that the stories read. */
export interface AuditEntry {
  readonly user?: { readonly username?: string };
  readonly verb: string;
  readonly objectRef?: {
    readonly resource?: string;
    readonly subresource?: string;
    readonly apiGroup?: string;
    readonly namespace?: string;
    readonly name?: string;
  };
  readonly responseStatus?: { readonly code?: number };
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** `etcd` may also be Debian's, on PATH. */
function findAssets(): { readonly apiserver: string; readonly etcd: string } | string {
  const folder = process.env['KUBEBUILDER_ASSETS'] ?? '';
  if (folder === '') return 'KUBEBUILDER_ASSETS is not set (scripts/build-kube-apiserver.sh)';
  const apiserver = join(folder, 'kube-apiserver');
  if (!executable(apiserver)) return `there is no kube-apiserver in ${folder}`;
  const path = (process.env['PATH'] ?? '').split(delimiter);
  const etcd = [folder, ...path].map((d) => join(d, 'etcd')).find(executable);
  return etcd === undefined ? `there is no etcd in ${folder} or on PATH` : { apiserver, etcd };
}

function ringReason(): string | false {
  return process.env['KUBE_RING'] === '1' ? false : 'npm run test:kube runs it';
}

function realReason(): string | false {
  const ring = ringReason();
  if (ring !== false) return ring;
  const found = findAssets();
  if (typeof found !== 'string') return false;
  if (process.env['KUBE_REQUIRED'] === '1') throw new Error(found);
  return found;
}

/** Where the stories can run; `skip` = why not there. */
export const apiServers: readonly {
  readonly kind: ApiServer['kind'];
  readonly skip: string | false;
}[] = [
  { kind: 'kube-apiserver', skip: realReason() },
  { kind: 'sandbox', skip: ringReason() },
];

export async function startApiServer(kind: ApiServer['kind']): Promise<ApiServer> {
  const dir = mkdtempSync(join(tmpdir(), 'ambient-kube-'));
  const block = await claimBlock();
  try {
    const running = kind === 'sandbox' ? await sandboxApi(dir, block) : await realApi(dir, block);
    return await withClient(kind, dir, block, running);
  } catch (error) {
    rmSync(dir, { recursive: true, force: true });
    throw error;
  }
}

interface Running {
  readonly url: string;
  readonly caPem: string;
  readonly adminToken: string;
  restart(between: () => Promise<void>): Promise<void>;
  audit(): readonly AuditEntry[];
  compact(): Promise<void>;
  stop(): Promise<void>;
}

async function withClient(
  kind: ApiServer['kind'],
  dir: string,
  block: AddressBlock,
  running: Running,
): Promise<ApiServer> {
  const { url, caPem } = running;
  const kubeconfigOf = (name: string, token: string): string => {
    const file = join(dir, `${name}.kubeconfig`);
    writeKubeconfig(file, { url, caPem, token });
    return file;
  };
  const kubeconfig = kubeconfigOf('admin', running.adminToken);
  const deps = { clock: systemClock, random: systemRandom, log: silentLog };
  const kube = await connectKube({ kubeconfig, ...deps });
  return {
    kind,
    url,
    dir,
    block,
    kubeconfig,
    kube,
    kubeconfigOf,
    async token(namespace, account, { audience, pod } = {}) {
      const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`;
      const { name, uid } = pod?.metadata ?? {};
      const answer = (await kube.raw('POST', path, {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: {
          expirationSeconds: 3600,
          ...(audience !== undefined && { audiences: [audience] }),
          ...(pod && { boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name, uid } }),
        },
      })) as { status: { token: string } };
      return answer.status.token;
    },
    restart: (between = () => Promise.resolve()) => running.restart(between),
    audit: () => running.audit(),
    compact: () => running.compact(),
    async stop() {
      await running.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

const nothingRuns = {
  logs(): never {
    throw new Error('no pods run here');
  },
  exec: () => Promise.reject(new Error('no pods run here')),
  dial: () => Promise.reject(new Error('no pods run here')),
};

async function sandboxApi(dir: string, block: AddressBlock): Promise<Running> {
  const log = silentLog;
  const host = block(1);
  const tls = await makeServingCertificate({ dir, clock: systemClock, ips: [host] });
  const tokens = createTokens({ dir });
  const store = openStore({ dir: ':memory:', log });
  const start = (port: number) => startApi({ store, tokens, runtime: nothingRuns, port, tls, log });
  let api = await start(0);
  const running: Running = {
    url: api.url,
    caPem: tls.caPem,
    adminToken: tokens.adminToken,
    async restart(between) {
      const port = Number(new URL(api.url).port);
      await api.stop();
      await between();
      api = await start(port);
    },
    audit: () => [],
    compact: () => Promise.resolve(),
    async stop() {
      await api.stop();
      store.close();
    },
  };
  const kubeconfig = join(dir, 'first.kubeconfig');
  writeKubeconfig(kubeconfig, { url: api.url, caPem: tls.caPem, token: tokens.adminToken });
  const deps = { clock: systemClock, random: systemRandom, log };
  const kube = await connectKube({ kubeconfig, ...deps });
  for (const name of ['default', 'kube-system']) {
    if (!(await kube.get(resources.namespaces, undefined, name)))
      await kube.create(resources.namespaces, { metadata: { name } });
  }
  return running;
}

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules: [{level: Metadata, userGroups: ["system:serviceaccounts"]}, {level: None}]
`;

async function realApi(dir: string, block: AddressBlock): Promise<Running> {
  const found = findAssets();
  if (typeof found === 'string') throw new Error(found);
  const host = block(1);
  const adminToken = randomBytes(24).toString('hex');
  const tls = await makeServingCertificate({ dir, clock: systemClock, ips: [host] });
  const file = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text, { mode: 0o600 });
    return join(dir, name);
  };
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const accountKey = file('sa.key', privateKey.export({ type: 'pkcs1', format: 'pem' }).toString());
  const etcdUrl = `http://${block(2)}:2379`;
  const peerUrl = `http://${block(2)}:2380`;
  const etcd = start(dir, 'etcd', found.etcd, [
    `--data-dir=${join(dir, 'etcd')}`,
    `--listen-client-urls=${etcdUrl}`,
    `--advertise-client-urls=${etcdUrl}`,
    `--listen-peer-urls=${peerUrl}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    `--initial-cluster=default=${peerUrl}`,
  ]);
  const auditLog = join(dir, 'audit.log');
  const flags = [
    `--etcd-servers=${etcdUrl}`,
    `--bind-address=${host}`,
    '--secure-port=6443',
    `--tls-cert-file=${file('api.crt', tls.certPem)}`,
    `--tls-private-key-file=${file('api.key', tls.keyPem)}`,
    `--service-account-key-file=${accountKey}`,
    `--service-account-signing-key-file=${accountKey}`,
    '--service-account-issuer=https://kubernetes.default.svc',
    '--api-audiences=https://kubernetes.default.svc',
    '--authorization-mode=RBAC',
    `--token-auth-file=${file('tokens.csv', `${adminToken},admin,admin,"system:masters"\n`)}`,
    '--service-cluster-ip-range=10.96.0.0/16',
    '--endpoint-reconciler-type=none',
    '--allow-privileged=true',
    `--audit-log-path=${auditLog}`,
    `--audit-policy-file=${file('audit.yaml', auditPolicy)}`,
    // No controller makes the accounts `default` that it would ask for.
    '--disable-admission-plugins=ServiceAccount',
  ];
  const url = `https://${host}:6443`;
  let api = start(dir, 'kube-apiserver', found.apiserver, flags);
  const ready = (): Promise<unknown> =>
    eventually(
      () => api.check() ?? isReady(url, tls.caPem, adminToken),
      'the API server is ready',
      90_000,
    );
  const stop = async (): Promise<void> => {
    await api.stop();
    await etcd.stop();
  };
  try {
    await ready();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url,
    caPem: tls.caPem,
    adminToken,
    async restart(between) {
      await api.stop();
      await between();
      api = start(dir, 'kube-apiserver', found.apiserver, flags);
      await ready();
    },
    audit: () =>
      readFileSync(auditLog, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as AuditEntry),
    async compact() {
      const ask = async (path: string, body: object): Promise<{ header?: { revision?: string } }> =>
        (await (
          await fetch(`${etcdUrl}/v3/kv/${path}`, { method: 'POST', body: JSON.stringify(body) })
        ).json()) as { header?: { revision?: string } };
      const { header } = await ask('range', { key: 'Lw==' });
      await ask('compaction', { revision: header?.revision, physical: true });
    },
    stop,
  };
}

function isReady(url: string, ca: string, token: string): Promise<boolean> {
  return new Promise((resolve) => {
    const headers = { authorization: `Bearer ${token}` };
    const r = request(`${url}/readyz`, { ca, headers, timeout: 2_000 }, (answer) => {
      answer.resume();
      resolve(answer.statusCode === 200);
    });
    r.on('timeout', () => r.destroy());
    r.on('error', () => resolve(false));
    r.end();
  });
}

/** A process with its output in a file; it cannot outlive the test. */
function start(dir: string, name: string, program: string, args: readonly string[]) {
  const path = join(dir, `${name}.log`);
  const out = openSync(path, 'a');
  const child: ChildProcess = spawn(program, args, { stdio: ['ignore', out, out] });
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  const gone = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  return {
    /** Throws with the last words of a process that has ended. */
    check(): undefined {
      if (child.exitCode === null && child.pid !== undefined) return;
      throw new Error(`${name} ended: ${readFileSync(path, 'utf8').slice(-2_000)}`);
    },
    async stop(): Promise<void> {
      child.kill('SIGTERM');
      const late = systemClock.after(10_000, kill);
      await gone;
      late.cancel();
      process.removeListener('exit', kill);
    },
  };
}
