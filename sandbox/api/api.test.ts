// The API over real HTTPS, below kubectl: what watches, informers, token reviews and attackers rely on.
import assert from 'node:assert/strict';
import { type IncomingMessage, request as httpRequest } from 'node:http';
import { request } from 'node:https';
import { createServer as createTcp, type AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import type { KubeObject } from '../contract.ts';
import { processRuntime, runningPod, startTestApi, type TestApi } from './test-kit.ts';

let api: TestApi;
const exits: Promise<number>[] = [];
before(async () => {
  api = await startTestApi({
    ...processRuntime,
    async exec(namespace, pod, options) {
      const session = await processRuntime.exec(namespace, pod, options);
      exits.push(session.exit);
      return session;
    },
  });
  api.store.create('v1/pods', runningPod('web'));
});
after(() => api.stop());

interface Answer {
  readonly code: number;
  readonly body: string;
  readonly json: Record<string, unknown>;
  readonly headers: IncomingMessage['headers'];
}

interface Ask {
  readonly method?: string;
  readonly body?: unknown;
  readonly type?: string;
  readonly accept?: string;
  readonly token?: string;
}

function open(path: string, ask: Ask = {}): Promise<IncomingMessage> {
  const token = ask.token ?? api.tokens.adminToken;
  return new Promise((resolve, reject) => {
    const out = request(`${api.url}${path}`, {
      method: ask.method ?? 'GET',
      ca: api.tls.caPem,
      agent: false,
      headers: {
        ...(token ? { authorization: `Bearer ${token}` } : {}),
        accept: ask.accept ?? 'application/json',
        ...(ask.body === undefined ? {} : { 'content-type': ask.type ?? 'application/json' }),
      },
    });
    out.once('response', resolve);
    out.once('error', reject);
    const { body } = ask;
    out.end(typeof body === 'string' || body === undefined ? body : JSON.stringify(body));
  });
}

async function call(path: string, ask: Ask = {}): Promise<Answer> {
  const response = await open(path, ask);
  const body = Buffer.concat(await response.toArray()).toString();
  const json = body.startsWith('{') ? (JSON.parse(body) as Record<string, unknown>) : {};
  return { code: response.statusCode ?? 0, body, json, headers: response.headers };
}

interface WatchLine {
  readonly type: string;
  readonly object: KubeObject & Record<string, unknown>;
}

/** Reads a watch line by line. */
async function watching(path: string) {
  const response = await open(path);
  const lines: WatchLine[] = [];
  const waiting: ((line: WatchLine) => void)[] = [];
  let rest = '';
  response.on('error', () => {});
  response.on('data', (chunk: Buffer) => {
    const parts = (rest + chunk.toString()).split('\n');
    rest = parts.pop() ?? '';
    for (const part of parts) {
      const line = JSON.parse(part) as WatchLine;
      const next = waiting.shift();
      if (next) next(line);
      else lines.push(line);
    }
  });
  return {
    next: () =>
      new Promise<WatchLine>((resolve) => {
        const line = lines.shift();
        if (line) resolve(line);
        else waiting.push(resolve);
      }),
    ended: new Promise<void>((resolve) => response.once('close', resolve)),
    stop: () => response.destroy(),
  };
}

const configMaps = '/api/v1/namespaces/default/configmaps';
const configMap = (name: string, data: object = {}, labels: object = {}) => ({
  metadata: { name, labels },
  data,
});

test('without a valid token there is nothing but health and version', async () => {
  assert.equal((await call('/api/v1/pods', { token: '' })).code, 401);
  const wrong = await call('/api/v1/pods', { token: 'nonsense' });
  assert.deepEqual([wrong.code, wrong.json['reason']], [401, 'Unauthorized']);
  assert.equal((await call('/healthz', { token: '' })).body, 'ok');
  assert.equal((await call('/version', { token: '' })).json['minor'], '33');
});

test('plain HTTP is not served', async () => {
  const url = api.url.replace('https', 'http');
  const outcome = await new Promise<string>((resolve) => {
    const out = httpRequest(`${url}/healthz`, () => resolve('answered'));
    out.once('error', () => resolve('refused'));
    out.end();
  });
  assert.equal(outcome, 'refused');
});

test('objects: create, conflict, replace, status apart, delete', async () => {
  const made = await call(configMaps, { method: 'POST', body: configMap('crud', { a: '1' }) });
  assert.equal(made.code, 201);
  assert.equal(made.json['kind'], 'ConfigMap');
  const again = await call(configMaps, { method: 'POST', body: configMap('crud') });
  assert.deepEqual([again.code, again.json['reason']], [409, 'AlreadyExists']);
  const stale = { ...made.json, data: { a: '2' } } as unknown as KubeObject;
  assert.equal((await call(`${configMaps}/crud`, { method: 'PUT', body: stale })).code, 200);
  const late = await call(`${configMaps}/crud`, { method: 'PUT', body: { ...stale, data: {} } });
  assert.deepEqual([late.code, late.json['reason']], [409, 'Conflict']);
  const gone = await call(`${configMaps}/crud`, { method: 'DELETE' });
  assert.deepEqual([gone.code, gone.json['status']], [200, 'Success']);
  assert.equal((await call(`${configMaps}/crud`)).json['reason'], 'NotFound');
  const pods = '/api/v1/namespaces/default/pods/web';
  const status = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web' },
    status: { phase: 'Failed' },
  };
  const patch = { method: 'PATCH', type: 'application/merge-patch+json', body: status };
  const phase = (a: Answer) => (a.json['status'] as { phase: string }).phase;
  assert.equal(phase(await call(pods, patch)), 'Running');
  const own = { ...patch, body: { status: { phase: 'Pending' } } };
  assert.equal(phase(await call(`${pods}/status`, own)), 'Pending');
});

test('dryRun stores nothing, strict validation names the field, warnings are headers', async () => {
  const dry = await call(`${configMaps}?dryRun=All`, { method: 'POST', body: configMap('dry') });
  assert.equal(dry.code, 201);
  assert.equal((await call(`${configMaps}/dry`)).code, 404);
  const body = { ...configMap('odd'), dta: {} };
  const strict = await call(`${configMaps}?fieldValidation=Strict`, { method: 'POST', body });
  assert.match(String(strict.json['message']), /unknown field "dta"/);
  assert.equal((await call(`${configMaps}/odd`)).code, 404);
  const warned = await call(configMaps, { method: 'POST', body });
  assert.equal(warned.code, 201);
  assert.match(String(warned.headers['warning']), /299 - "unknown field/);
  const typed = await call(configMaps, {
    method: 'POST',
    body: { ...configMap('n'), data: { a: 1 } },
  });
  assert.deepEqual([typed.code, typed.json['reason']], [400, 'BadRequest']);
});

test('lists: pages with continue, tables, metadata alone, selectors', async () => {
  const base = '/api/v1/namespaces/default/secrets';
  for (let i = 0; i < 5; i++) {
    await call(base, {
      method: 'POST',
      body: { metadata: { name: `s${i}`, labels: { n: `${i}` } } },
    });
  }
  const names: string[] = [];
  let more = '';
  for (let i = 0; i < 9; i++) {
    const { json } = await call(`${base}?limit=2${more}`);
    names.push(...(json['items'] as KubeObject[]).map((o) => o.metadata.name));
    const token = (json['metadata'] as { continue?: string }).continue;
    if (!token) break;
    more = `&continue=${token}`;
  }
  assert.deepEqual(names, ['s0', 's1', 's2', 's3', 's4']);
  assert.equal((await call(`${base}?continue=junk`)).code, 400);
  const some = await call(`${base}?labelSelector=${encodeURIComponent('n in (1,3)')}`);
  assert.equal((some.json['items'] as unknown[]).length, 2);
  const accept = 'application/json;as=Table;v=v1;g=meta.k8s.io';
  const table = await call(base, { accept });
  assert.equal(table.json['kind'], 'Table');
  const meta = await call(base, {
    accept: 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io',
  });
  assert.equal(meta.json['kind'], 'PartialObjectMetadataList');
  assert.equal((await call(base, { method: 'DELETE' })).code, 200);
  assert.deepEqual((await call(base)).json['items'], []);
});

test('watch: replay from a version, live events, selectors as entering and leaving, an orderly end', async () => {
  const { json } = await call(configMaps);
  const from = (json['metadata'] as { resourceVersion: string }).resourceVersion;
  await call(configMaps, { method: 'POST', body: configMap('w1', {}, { on: 'yes' }) });
  const all = await watching(`${configMaps}?watch=true&resourceVersion=${from}`);
  const chosen = await watching(
    `${configMaps}?watch=1&resourceVersion=${from}&labelSelector=on%3Dyes`,
  );
  assert.equal((await all.next()).object.metadata.name, 'w1');
  assert.equal((await chosen.next()).type, 'ADDED');
  const label = (value: string | null) =>
    call(`${configMaps}/w1`, {
      method: 'PATCH',
      type: 'application/merge-patch+json',
      body: { metadata: { labels: { on: value } } },
    });
  await label(null);
  assert.equal((await all.next()).type, 'MODIFIED');
  assert.equal((await chosen.next()).type, 'DELETED');
  await label('yes');
  assert.equal((await chosen.next()).type, 'ADDED');
  await call(`${configMaps}/w1`, { method: 'DELETE' });
  assert.equal((await chosen.next()).type, 'DELETED');
  all.stop();
  chosen.stop();
  const short = await watching(`${configMaps}?watch=true&resourceVersion=${from}&timeoutSeconds=0`);
  await short.ended;
});

test('watch: too old is an ERROR event with 410; initial events end with a bookmark', async () => {
  const old = await watching(`${configMaps}?watch=true&resourceVersion=99999999`);
  const line = await old.next();
  assert.deepEqual(
    [line.type, line.object['code'], line.object['reason']],
    ['ERROR', 410, 'Expired'],
  );
  await old.ended;
  await call(configMaps, { method: 'POST', body: configMap('initial') });
  const query =
    'watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true';
  const initial = await watching(`${configMaps}?${query}`);
  let next = await initial.next();
  while (next.type === 'ADDED') next = await initial.next();
  assert.equal(next.type, 'BOOKMARK');
  assert.equal(next.object.metadata.annotations?.['k8s.io/initial-events-end'], 'true');
  initial.stop();
});

test('tokens: bound to a pod, reviewed with its claims, dead with the pod', async () => {
  const accounts = '/api/v1/namespaces/default/serviceaccounts';
  await call(accounts, { method: 'POST', body: { metadata: { name: 'bot' } } });
  const pod = api.store.create('v1/pods', runningPod('bound'));
  const asked = await call(`${accounts}/bot/token`, {
    method: 'POST',
    body: {
      spec: {
        audiences: ['istio-ca'],
        boundObjectRef: { kind: 'Pod', name: 'bound', uid: pod.metadata.uid },
      },
    },
  });
  assert.equal(asked.code, 201);
  const { token } = asked.json['status'] as { token: string };
  const review = async (audiences: string[]) => {
    const answer = await call('/apis/authentication.k8s.io/v1/tokenreviews', {
      method: 'POST',
      body: { spec: { token, audiences } },
    });
    return answer.json['status'] as {
      authenticated: boolean;
      audiences?: string[];
      user?: { username: string; groups: string[]; extra: Record<string, string[]> };
    };
  };
  const good = await review(['istio-ca', 'other']);
  assert.equal(good.authenticated, true);
  assert.deepEqual(good.audiences, ['istio-ca']);
  assert.equal(good.user?.username, 'system:serviceaccount:default:bot');
  assert.ok(good.user?.groups.includes('system:serviceaccounts:default'));
  assert.deepEqual(good.user?.extra['authentication.kubernetes.io/pod-name'], ['bound']);
  assert.deepEqual(good.user?.extra['authentication.kubernetes.io/node-name'], ['n1']);
  assert.equal((await review(['elsewhere'])).authenticated, false);
  assert.equal((await call('/api/v1/pods', { token })).code, 401, 'another audience');
  const own = await call(`${accounts}/bot/token`, { method: 'POST', body: { spec: {} } });
  const mine = (own.json['status'] as { token: string }).token;
  assert.equal((await call('/api/v1/pods', { token: mine })).code, 200);
  assert.equal((await call('/api/v1/pods', { token: `${mine}x` })).code, 401);
  api.store.remove('v1/pods', 'default', 'bound', { graceSeconds: 0 });
  assert.equal((await review(['istio-ca'])).authenticated, false);
});

test('bad input: size, depth, prototypes, NUL, unknown paths and methods end in a Status', async () => {
  const post = (body: string) => call(configMaps, { method: 'POST', body });
  const big = await post(JSON.stringify(configMap('big', { a: 'x'.repeat(5 * 1024 * 1024) })));
  assert.deepEqual([big.code, big.json['reason']], [413, 'RequestEntityTooLarge']);
  assert.equal((await post(`{"a":${'['.repeat(300)}${']'.repeat(300)}}`)).code, 400);
  assert.match((await post('{"metadata":{"name":"p","__proto__":{"x":1}}}')).body, /__proto__/);
  assert.equal(({} as Record<string, unknown>)['x'], undefined);
  assert.equal((await post('{"metadata":{"name":"a\\u0000b"}}')).code, 422);
  assert.equal((await post('not json')).code, 400);
  assert.equal((await post('[]')).code, 400);
  assert.equal((await post('{"metadata":[]}')).code, 400);
  assert.equal((await post('{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"}}')).code, 400);
  assert.equal((await call('/api/v1/namespaces/default/configmaps/%00')).code, 404);
  assert.equal((await call('/apis/none/v1/things')).code, 404);
  assert.equal((await call(configMaps, { method: 'PUT', body: {} })).code, 405);
  assert.equal((await call(`${configMaps}?limit=-1`)).code, 400);
  assert.equal((await call(`${configMaps}?labelSelector=a+in+(`)).code, 400);
  const patch = { method: 'PATCH', body: {}, type: 'text/plain' };
  assert.equal((await call(`${configMaps}/initial`, patch)).code, 415);
  const missing = await call('/api/v1/namespaces/none/configmaps', {
    method: 'POST',
    body: configMap('a'),
  });
  assert.match(String(missing.json['message']), /namespaces "none" not found/);
});

test('a list of many objects is stored text joined, in several writes', async () => {
  const many = 1_201;
  for (let i = 0; i < many; i++) {
    api.store.create('v1/endpoints', {
      apiVersion: 'v1',
      kind: 'Endpoints',
      metadata: { name: `e${i}`, namespace: 'default' },
    });
  }
  const { json } = await call('/api/v1/endpoints');
  assert.equal(json['kind'], 'EndpointsList');
  assert.equal((json['items'] as unknown[]).length, many);
});

function channels(path: string, protocol = 'v4.channel.k8s.io') {
  const socket = new WebSocket(`${api.url.replace('https', 'wss')}${path}`, [protocol], {
    ca: api.tls.caPem,
    headers: { authorization: `Bearer ${api.tokens.adminToken}` },
  });
  const seen = new Map<number, Buffer>();
  socket.on('message', (data: Buffer) => {
    const channel = data[0] ?? -1;
    seen.set(channel, Buffer.concat([seen.get(channel) ?? Buffer.alloc(0), data.subarray(1)]));
  });
  const opened = new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  return { socket, seen, opened, closed };
}

test('exec over WebSocket: all of the output comes before the status', async () => {
  const script = 'cat; head -c 200000 /dev/zero; echo late >&2; exit 3';
  const query = new URLSearchParams([
    ['stdin', 'true'],
    ['stdout', 'true'],
    ['stderr', 'true'],
    ...['sh', '-c', script].map((c): [string, string] => ['command', c]),
  ]);
  const path = `/api/v1/namespaces/default/pods/web/exec?${query.toString()}`;
  const exec = channels(path, 'v5.channel.k8s.io');
  await exec.opened;
  exec.socket.send(Buffer.from('\0hello'));
  exec.socket.send(Buffer.from([255, 0]));
  await exec.closed;
  assert.equal(exec.seen.get(1)?.length, 200_005);
  assert.equal(exec.seen.get(2)?.toString(), 'late\n');
  const status = JSON.parse(exec.seen.get(3)?.toString() ?? '{}') as Record<string, unknown>;
  assert.equal(status['reason'], 'NonZeroExitCode');
  assert.deepEqual(status['details'], { causes: [{ reason: 'ExitCode', message: '3' }] });
});

test('a process ends when its client goes away', async () => {
  const script = 'echo started; exec sleep 600';
  const query = `stdout=true&command=sh&command=-c&command=${encodeURIComponent(script)}`;
  const exec = channels(`/api/v1/namespaces/default/pods/web/exec?${query}`);
  await exec.opened;
  await new Promise((resolve) => exec.socket.once('message', resolve));
  exec.socket.terminate();
  assert.equal(await exits.at(-1), 137);
});

test('port-forward over channels, as client-node speaks it', async () => {
  const echo = createTcp((socket) => socket.pipe(socket));
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
  const { port } = echo.address() as AddressInfo;
  const forward = channels(`/api/v1/namespaces/default/pods/web/portforward?ports=${port}`);
  await forward.opened;
  forward.socket.send(Buffer.from('\0ping'));
  await new Promise<void>((resolve) => {
    forward.socket.on('message', () => {
      if (forward.seen.get(0)?.subarray(2).toString() === 'ping') resolve();
    });
  });
  assert.equal(forward.seen.get(0)?.readUInt16LE(0), port);
  assert.equal(forward.seen.get(1)?.readUInt16LE(0), port);
  forward.socket.terminate();
  await new Promise<void>((resolve) => echo.close(() => resolve()));
});

test('an upgrade that cannot be served is a Status', async () => {
  const refused = channels('/api/v1/namespaces/default/pods/none/exec?stdout=true&command=x');
  await assert.rejects(refused.opened, /404/);
  const wrong = channels('/api/v1/namespaces/default/pods/web/exec?stdout=true');
  await assert.rejects(wrong.opened, /400/);
});
