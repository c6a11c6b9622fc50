// The real kubectl against the API, as a child process: every version from 1.27 that is on this machine
// with KUBECTL_ALL=1, else the newest alone. Looked for in PATH, beside it, and in KUBECTL_DIR.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, readdirSync, realpathSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { delimiter, dirname, join } from 'node:path';
import { test } from 'node:test';
import { runningPod, startTestApi, type TestApi } from './test-kit.ts';

interface Kubectl {
  readonly path: string;
  /** Minor version: 33 for v1.33.1. */
  readonly minor: number;
}

function candidates(): string[] {
  const dirs = [process.env['KUBECTL_DIR'], ...(process.env['PATH'] ?? '').split(delimiter)];
  const found = new Set<string>();
  const look = (dir: string) => {
    try {
      for (const file of readdirSync(dir)) {
        if (/^kubectl(\.1\.\d+)?$/.test(file)) found.add(realpathSync(join(dir, file)));
      }
    } catch {
      // a PATH entry that does not exist
    }
  };
  for (const dir of dirs) if (dir) look(dir);
  for (const path of found) look(dirname(path));
  return [...found].filter((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function minorOf(path: string): number | undefined {
  const { stdout } = spawnSync(path, ['version', '--client', '-o', 'json'], {
    encoding: 'utf8',
    timeout: 10_000,
  });
  const minor = Number(/"gitVersion": "v1\.(\d+)\./.exec(stdout)?.[1]);
  // A dispatcher starts other binaries by the server's version: it says nothing about its own.
  return Number.isNaN(minor) || stdout.includes('dispatcher') ? undefined : minor;
}

function kubectls(): Kubectl[] {
  const byMinor = new Map<number, Kubectl>();
  for (const path of candidates().toSorted()) {
    const named = Number(/\.1\.(\d+)$/.exec(path)?.[1]);
    const minor = Number.isNaN(named) ? minorOf(path) : named;
    if (minor !== undefined && minor >= 27) byMinor.set(minor, { path, minor });
  }
  const all = [...byMinor.values()].toSorted((a, b) => a.minor - b.minor);
  return process.env['KUBECTL_ALL'] === '1' ? all : all.slice(-1);
}

interface Step {
  readonly run: string;
  readonly input?: string | Buffer;
  readonly code?: number;
  readonly out?: RegExp;
  readonly err?: RegExp;
}

const manifest = `
apiVersion: v1
kind: Namespace
metadata: {name: demo}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: demo, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: none, command: [sleep, '100'], env: [{name: A, value: '1'}], ports: [{containerPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: demo}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80}]
`;

const widgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    additionalPrinterColumns:
    - {name: Color, type: string, jsonPath: .spec.color}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [color]
            properties:
              color: {type: string, enum: [red, blue]}
              size: {type: integer, minimum: 1, default: 3}
              replicas: {type: integer}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
`;

const widget = (spec: string) => `
apiVersion: example.com/v1
kind: Widget
metadata: {name: w, namespace: default}
spec: ${spec}
`;

const badPod = `
apiVersion: v1
kind: Pod
metadata: {name: bad}
spec: {containers: [{name: a, image: x, prots: []}]}
`;

const changed = manifest.replace("value: '1'", "value: '2'").replace('port: 80}', 'port: 81}');

const steps: readonly Step[] = [
  { run: 'version -o json', out: /"serverVersion"[^]*v1\.33/ },
  { run: 'api-resources', out: /deployments\s+deploy\s+apps\/v1\s+true\s+Deployment/ },
  { run: 'apply -f -', input: manifest, out: /deployment.apps\/web created/ },
  { run: 'apply -f -', input: manifest, out: /service\/web unchanged/ },
  { run: 'diff -f -', input: manifest, code: 0 },
  { run: 'diff -f -', input: changed, code: 1, out: /\+\s+value: "2"/ },
  { run: 'apply -f -', input: changed, out: /deployment.apps\/web configured/ },
  { run: 'get svc web -n demo -o jsonpath={.spec.ports[*].port}', out: /^81$/ },
  {
    run: 'apply --server-side -f -',
    input: changed,
    out: /deployment.apps\/web serverside-applied/,
  },
  { run: 'get deploy -n demo', out: /NAME\s+READY\s+UP-TO-DATE\s+AVAILABLE\s+AGE\s+web\s+2\/2/ },
  { run: 'get deploy web -n demo -o wide', out: /CONTAINERS\s+IMAGES\s+SELECTOR[^]*app=web/ },
  { run: 'get deploy web -n demo -o yaml', out: /kind: Deployment[^]*replicas: 2/ },
  { run: 'get deploy web -n demo -o json', out: /"kind": "Deployment"/ },
  { run: 'get all -A', out: /service\/web/ },
  { run: 'get po', out: /NAME\s+READY\s+STATUS\s+RESTARTS\s+AGE\s+web\s+1\/1\s+Running\s+0/ },
  { run: 'get po -o wide', out: /IP\s+NODE[^]*127\.64\.0\.9\s+n1/ },
  { run: 'get po -l app=web,tier!=x -o name', out: /^pod\/web$/m },
  { run: 'get po --field-selector status.phase=Failed', err: /No resources found/ },
  { run: 'get po --show-labels', out: /app=web/ },
  { run: 'create ns other', out: /namespace\/other created/ },
  { run: 'create cm c -n other --from-literal=a=b', out: /configmap\/c created/ },
  { run: 'create deployment made --image=none --replicas=2 -n other -- sleep 1', out: /created/ },
  { run: 'create secret generic s -n other --from-literal=a=b', out: /created/ },
  { run: 'create sa bot', out: /serviceaccount\/bot created/ },
  { run: 'create token bot --duration=20m', out: /^eyJ/ },
  { run: 'auth can-i create pods', out: /yes/ },
  { run: 'label deploy web -n demo tier=front', out: /labeled/ },
  { run: 'annotate deploy web -n demo note=x', out: /annotate/ },
  {
    run: `patch deploy web -n demo -p {"spec":{"template":{"spec":{"containers":[{"name":"web","image":"two"}]}}}}`,
    out: /patched/,
  },
  {
    run: 'get deploy web -n demo -o jsonpath={.spec.template.spec.containers[0].env[0].name}',
    out: /^A$/,
  },
  {
    run: `patch deploy web -n demo --type=merge -p {"metadata":{"labels":{"tier":null}}}`,
    out: /patched/,
  },
  {
    run: `patch deploy web -n demo --type=json -p [{"op":"replace","path":"/spec/replicas","value":3}]`,
    out: /patched/,
  },
  {
    run: `patch deploy web -n demo --type=json -p [{"op":"test","path":"/spec/replicas","value":9}]`,
    code: 1,
    err: /test/,
  },
  { run: 'scale deploy web -n demo --replicas=4', out: /scaled/ },
  { run: 'get deploy web -n demo -o jsonpath={.spec.replicas}', out: /^4$/ },
  { run: 'rollout status deploy/web -n demo --timeout=10s', out: /successfully rolled out/ },
  { run: 'rollout restart deploy/web -n demo', out: /restarted/ },
  { run: 'wait --for=condition=Available deploy/web -n demo --timeout=10s', out: /condition met/ },
  {
    run: 'wait --for=jsonpath={.status.replicas}=4 deploy/web -n demo --timeout=10s',
    out: /condition met/,
  },
  { run: 'explain pod.spec.containers', out: /command\s+<\[\]string>/ },
  { run: 'explain deploy --recursive', out: /rollingUpdate/ },
  { run: 'describe pod web', out: /Status:\s+Running/ },
  { run: 'logs web', out: /^web app one\nweb app two\nweb app three\n$/ },
  { run: 'logs web --tail=1 --timestamps', out: /^2026\S+ web app three\n$/ },
  { run: 'exec web -- sh -c exit\u00a07', code: 7, err: /exit code 7/ },
  { run: 'exec web -- sh -c echo\u00a0out;echo\u00a0err>&2', out: /^out\n$/, err: /^err\n$/m },
  { run: 'exec -i web -- wc -c', input: Buffer.alloc(3_000_000), out: /^\s*3000000\s*$/ },
  { run: 'exec web -c nosuch -- true', code: 1, err: /nosuch/ },
  { run: 'apply -f -', input: widgets, out: /widgets.example.com created/ },
  {
    run: 'wait --for=condition=established crd/widgets.example.com --timeout=10s',
    out: /condition met/,
  },
  { run: 'apply -f -', input: widget('{color: red}'), out: /created/ },
  { run: 'get wd', out: /NAME\s+COLOR\s+READY\s+w\s+red/ },
  { run: 'get wd w -o jsonpath={.spec.size}', out: /^3$/ },
  {
    run: 'apply -f -',
    input: widget('{color: green}'),
    code: 1,
    err: /spec\.color: Unsupported value: "green"/,
  },
  {
    run: 'apply -f -',
    input: widget('{color: red, extra: 1}'),
    code: 1,
    err: /unknown field "spec\.extra"/,
  },
  { run: 'apply -f -', input: widget('{color: blue}'), out: /configured/ },
  {
    run: `patch wd w --subresource=status --type=merge -p {"status":{"conditions":[{"type":"Ready","status":"True"}]}}`,
    out: /patched/,
  },
  { run: 'get wd', out: /w\s+blue\s+True/ },
  { run: 'scale wd/w --replicas=2', out: /scaled/ },
  { run: 'explain widget.spec', out: /color\s+<string>/ },
  { run: 'delete crd widgets.example.com', out: /deleted/ },
  {
    run: 'apply -f -',
    input: badPod,
    code: 1,
    err: /unknown field "spec\.containers\[0\]\.prots"/,
  },
  { run: 'get po bad', code: 1, err: /pods "bad" not found/ },
  { run: 'get nosuch', code: 1, err: /doesn't have a resource type "nosuch"/ },
  { run: 'create cm c -n nowhere', code: 1, err: /namespaces "nowhere" not found/ },
  { run: 'create ns other', code: 1, err: /namespaces "other" already exists/ },
  { run: 'delete po web --grace-period=0 --force', out: /deleted/ },
  { run: 'delete ns demo other', out: /namespace "demo" deleted/ },
  { run: 'get ns', out: /^NAME\s+STATUS\s+AGE\s+default\s+Active\s+\S+\s+$/ },
];

interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function start(kubectl: Kubectl, api: TestApi, run: string): ChildProcess {
  const args = run.split(' ').map((a) => a.replaceAll('\u00a0', ' '));
  const env = { ...process.env, KUBECONFIG: api.kubeconfig, HOME: api.dir, KUBECACHEDIR: api.dir };
  return spawn(kubectl.path, args, { env, stdio: 'pipe', timeout: 30_000 });
}

function run(kubectl: Kubectl, api: TestApi, step: Step): Promise<Outcome> {
  const child = start(kubectl, api, step.run);
  let out = '';
  let err = '';
  child.stdout?.on('data', (d: Buffer) => (out += d.toString()));
  child.stderr?.on('data', (d: Buffer) => (err += d.toString()));
  child.stdin?.on('error', () => {});
  child.stdin?.end(step.input ?? '');
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, out, err })));
}

async function check(kubectl: Kubectl, api: TestApi, step: Step): Promise<void> {
  const { code, out, err } = await run(kubectl, api, step);
  const shown = `kubectl 1.${kubectl.minor} ${step.run}\n${out}\n${err}`;
  assert.equal(code, step.code ?? 0, shown);
  if (step.out) assert.match(out, step.out, shown);
  if (step.err) assert.match(err, step.err, shown);
}

async function web(): Promise<Server & { port: number }> {
  const server = createServer((_request, response) => response.end('from the pod'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(server, { port: (server.address() as AddressInfo).port });
}

async function portForward(kubectl: Kubectl, api: TestApi): Promise<void> {
  const target = await web();
  const child = start(kubectl, api, `port-forward pod/web --address 127.0.0.1 :${target.port}`);
  try {
    let said = '';
    const port = await new Promise<number>((resolve, reject) => {
      child.stdout?.on('data', (d: Buffer) => {
        said += d.toString();
        const m = /127\.0\.0\.1:(\d+)/.exec(said);
        if (m) resolve(Number(m[1]));
      });
      child.once('close', () => reject(new Error(`port-forward ended: ${said}`)));
    });
    for (let i = 0; i < 3; i++) {
      const answer = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } });
      assert.equal(await answer.text(), 'from the pod');
    }
  } finally {
    child.kill();
    target.closeAllConnections();
    target.close();
  }
}

const found = kubectls();

test('kubectl', {
  skip: found.length > 0 ? false : 'no kubectl 1.27 or newer in PATH or KUBECTL_DIR',
}, async (t) => {
  for (const kubectl of found) {
    await t.test(`1.${kubectl.minor}`, async () => {
      const api = await startTestApi();
      try {
        api.store.create('v1/pods', runningPod('web', { app: 'web' }));
        await portForward(kubectl, api);
        for (const step of steps) await check(kubectl, api, step);
      } finally {
        await api.stop();
      }
    });
  }
});
