// istiod-lite as a process of its own before an API with a whole cluster in it: how long until it could push, and what
// it weighs (control-plane.md 11; the bar is 10,000 pods within 5 s and 1 GB).
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { KubeObject } from '../core/kube/index.ts';
import { type ApiServer, startApiServer } from '../test/kit/index.ts';
import type { Result } from './data-path.ts';

const pods = 10_000;
const namespaces = 100;
const limitMs = 120_000;

const pod = (i: number): KubeObject => {
  const ip = `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;
  const app = `app-${i % 500}`;
  return {
    metadata: {
      name: `${app}-${i}`,
      namespace: `team-${i % namespaces}`,
      labels: { app, version: 'v1', 'pod-template-hash': '5d4f8c7b9' },
      annotations: { 'ambient.istio.io/redirection': 'enabled' },
    },
    spec: {
      nodeName: `n${i % 200}`,
      serviceAccountName: app,
      containers: [{ name: 'app', image: 'x', ports: [{ containerPort: 8080 }] }],
    },
    status: {
      phase: 'Running',
      podIP: ip,
      podIPs: [{ ip }],
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  };
};

async function fill(api: ApiServer): Promise<void> {
  const post = (path: string, body: object): Promise<unknown> => api.kube.raw('POST', path, body);
  const named = (name: string): object => ({ metadata: { name } });
  await post('/api/v1/namespaces', named('istio-system'));
  for (let i = 0; i < namespaces; i++) await post('/api/v1/namespaces', named(`team-${i}`));
  const from = { next: 0 };
  const work = async (): Promise<void> => {
    for (let i = from.next++; i < pods; i = from.next++) {
      const { status, ...o } = pod(i);
      const { namespace, name } = o.metadata;
      const path = `/api/v1/namespaces/${namespace}/pods`;
      const made = (await post(path, o)) as KubeObject;
      await api.kube.raw('PUT', `${path}/${name}/status`, { ...made, status });
    }
  };
  await Promise.all(Array.from({ length: 16 }, work));
  for (let i = 0; i < 500; i++) {
    await post(`/api/v1/namespaces/team-${i % namespaces}/services`, {
      metadata: { name: `app-${i}` },
      spec: {
        selector: { app: `app-${i}` },
        ports: [{ name: 'http', port: 80, targetPort: 8080 }],
      },
    });
  }
}

const peakMiB = (pid: number): number => {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+)/m.exec(text)?.[1] ?? 0) / 1024;
};

/** Of the process alone: what it took from others that run beside it is not in it. */
const cpuSeconds = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const [user = 0, system = 0] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13)
    .map(Number);
  return (user + system) / 100;
};

async function measure(api: ApiServer): Promise<{ ms: number; peak: number; cpu: number }> {
  const address = api.block(10);
  const env = { PATH: process.env['PATH'], KUBECONFIG: api.kubeconfig, BIND_ADDRESS: address };
  const began = performance.now();
  const program = join(import.meta.dirname, '../istiod-lite/main.ts');
  const child = spawn(process.execPath, [program], { env, stdio: 'ignore' });
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  try {
    const ready = (): Promise<boolean> =>
      fetch(`http://${address}:8080/ready`).then(
        (r) => r.ok,
        () => false,
      );
    while (!(await ready())) {
      if (child.exitCode !== null || performance.now() - began > limitMs)
        throw new Error('istiod-lite did not become ready');
      await pause(20);
    }
    const ms = performance.now() - began;
    const cpu = cpuSeconds(child.pid ?? 0);
    const all = await (await fetch(`http://${address}:8080/debug/resources`)).text();
    const found = all.split('//Pod/').length - 1;
    if (found !== pods) throw new Error(`${found} of ${pods} pods are there`);
    return { ms, cpu, peak: peakMiB(child.pid ?? 0) };
  } finally {
    child.kill('SIGKILL');
    await gone;
  }
}

export async function* cases(filter = ''): AsyncIterableIterator<Result> {
  const name = `control-plane/first-push/${pods}`;
  if (!name.includes(filter)) return;
  const api = await startApiServer('sandbox');
  try {
    await fill(api);
    const { ms, cpu, peak } = await measure(api);
    yield { name, unit: 'ms', value: ms, more: { cpuSeconds: cpu, peakMiB: peak } };
  } finally {
    await api.stop();
  }
}
