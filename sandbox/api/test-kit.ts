// For tests: a real API on a free port, with stand-ins for what controllers and the kubelet would do.
// "Pods" are this machine's own processes.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type Clock, silentLog } from '../../core/base/index.ts';
import type { KubeObject, PodRuntime } from '../contract.ts';
import { openStore, type SandboxStore, statusError } from '../store/index.ts';
import {
  createTokens,
  makeServingCertificate,
  type SandboxTokens,
  type ServingCertificate,
  startApi,
  writeKubeconfig,
} from './index.ts';

const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, work) {
    const timer = setTimeout(work, ms).unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

export interface TestApi {
  readonly store: SandboxStore;
  readonly tokens: SandboxTokens;
  readonly tls: ServingCertificate;
  readonly url: string;
  readonly kubeconfig: string;
  readonly dir: string;
  stop(): Promise<void>;
}

/** exec spawns the command here; logs are three lines; dial goes to 127.0.0.1. */
export const processRuntime: PodRuntime = {
  logs(_namespace, pod, options) {
    const lines = ['one', 'two', 'three'].map((word, i) => {
      const time = options.timestamps ? `2026-01-01T00:00:0${i}.000000000Z ` : '';
      return `${time}${pod} ${options.container} ${word}\n`;
    });
    return Readable.from(options.tailLines === undefined ? lines : lines.slice(-options.tailLines));
  },
  exec(_namespace, _pod, { command }) {
    const [program = '', ...rest] = command;
    const child = spawn(program, rest, { stdio: 'pipe' });
    return new Promise((resolve, reject) => {
      child.once('error', (error) => reject(statusError(500, 'InternalError', error.message)));
      child.once('spawn', () => {
        const exit = new Promise<number>((done) =>
          child.once('close', (code) => done(code ?? 137)),
        );
        const kill = () => void child.kill('SIGKILL');
        resolve({ stdin: child.stdin, stdout: child.stdout, stderr: child.stderr, exit, kill });
      });
    });
  },
  dial(_namespace, _pod, port) {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
      socket.once('connect', () => resolve(socket));
      socket.once('error', reject);
    });
  },
};

/** Ends namespaces, gives them a default account, and calls every workload ready. */
function standIns(store: SandboxStore): void {
  store.watch('v1/namespaces', ({ type, object }) => {
    const { name, deletionTimestamp } = object.metadata;
    if (type === 'ADDED') {
      const metadata = { name: 'default', namespace: name };
      store.create('v1/serviceaccounts', { apiVersion: 'v1', kind: 'ServiceAccount', metadata });
    } else if (type === 'MODIFIED' && deletionTimestamp) {
      for (const info of store.registry.stored().filter((r) => r.namespaced)) {
        for (const item of store.list(info.key, { namespace: name }).items) {
          store.remove(info.key, name, item.metadata.name, { graceSeconds: 0 });
        }
      }
      store.remove('v1/namespaces', undefined, name, { graceSeconds: 0 });
    }
  });
  store.watch('apps/v1/deployments', ({ type, object }) => {
    if (type === 'DELETED') return;
    const { replicas = 1 } = object['spec'] as { replicas?: number };
    const { name, namespace, generation } = object.metadata;
    const condition = { type: 'Available', status: 'True', reason: 'Test', message: '' };
    const status = {
      observedGeneration: generation,
      replicas,
      updatedReplicas: replicas,
      readyReplicas: replicas,
      availableReplicas: replicas,
      conditions: [condition],
    };
    store.modify('apps/v1/deployments', namespace, name, (o) => void (o['status'] = status), {
      status: true,
    });
  });
}

export function runningPod(name: string, labels: Record<string, string> = {}): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', labels },
    spec: { nodeName: 'n1', containers: [{ name: 'app', image: 'none', command: ['sleep'] }] },
    status: {
      phase: 'Running',
      podIP: '127.64.0.9',
      conditions: [{ type: 'Ready', status: 'True' }],
      containerStatuses: [
        {
          name: 'app',
          ready: true,
          started: true,
          restartCount: 0,
          image: 'none',
          imageID: '',
          state: { running: { startedAt: '2026-01-01T00:00:00Z' } },
        },
      ],
    },
  };
}

/** A fresh API with namespace `default`. `stop` closes everything and removes its directory. */
export async function startTestApi(runtime: PodRuntime = processRuntime): Promise<TestApi> {
  const dir = mkdtempSync(join(tmpdir(), 'sandbox-api-'));
  const store = openStore({ dir: ':memory:', log: silentLog });
  const tokens = createTokens({ dir });
  const tls = await makeServingCertificate({ dir, clock: systemClock });
  standIns(store);
  store.create('v1/namespaces', {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'default' },
    status: { phase: 'Active' },
  });
  const api = await startApi({ store, tokens, runtime, port: 0, tls, log: silentLog });
  const kubeconfig = join(dir, 'kubeconfig');
  writeKubeconfig(kubeconfig, { url: api.url, caPem: tls.caPem, token: tokens.adminToken });
  return {
    store,
    tokens,
    tls,
    url: api.url,
    kubeconfig,
    dir,
    async stop() {
      await api.stop();
      store.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
