// Plugins of a waypoint in real processes of their own: what they may do, in which order, how a new version comes, and that one
// that loops, allocates, throws, ends, reads, spawns or lies gets what is configured and hurts nobody else.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { L7PolicyAction, L7PortProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import { containment, uncontained } from '../../waypoint/plugins/containment.ts';
import { type Ended, PluginProcess } from '../../waypoint/plugins/process.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const dir = mkdtempSync(join(tmpdir(), 'ambient-plugins-'));
let w: TestWaypoint;
let seen: http.IncomingHttpHeaders[] = [];
const apps = ['first', 'last'].map((which) =>
  http.createServer((req, res) => {
    seen.push(req.headers);
    req.resume();
    res.writeHead(200, { 'x-app': '1', 'x-order': '', 'x-endpoint': which }).end('hello');
  }),
);
const listen = (server: http.Server): Promise<number> =>
  new Promise((resolve) => {
    server.listen(0, at(10), () => resolve((server.address() as net.AddressInfo).port));
  });

/** Long for a machine under load: what is tested is not how fast a plugin is. */
const patient = 10_000;
type Plugin = Draft<wire.L7Plugin>;
const plugin = (name: string, source: string, more: Plugin = {}): Plugin => ({
  name: `shop/${name}`,
  source,
  timeoutMs: patient,
  ...more,
});

let vips = 100;
const names = new Map<string, string>();
/** A service with these plugins, on an address of its own. */
function service(
  name: string,
  plugins: readonly Plugin[],
  more: Draft<wire.L7ServiceConfig> = {},
): void {
  if (!names.has(name)) {
    const vip = at(vips++);
    names.set(name, vip);
    w.service(name, vip, 80, endpoints);
  }
  w.configure(name, {
    ports: [{ port: 80, protocol: L7PortProtocol.HTTP }],
    plugins: [...plugins],
    ...more,
  });
}

const endpoints: string[] = [];
interface Got {
  readonly status: number;
  readonly text: string;
  readonly header: (name: string) => string | undefined;
}
async function ask(name: string, path = '/', headers: readonly string[] = []): Promise<Got> {
  const lines = [`GET ${path} HTTP/1.1`, 'host: web', 'connection: close', ...headers];
  const text = await w.exchange(`${names.get(name)}:80`, `${lines.join('\r\n')}\r\n\r\n`);
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0);
  return {
    status,
    text,
    header: (n) => new RegExp(`^${n}: (.*)\r$`, 'im').exec(text)?.[1],
  };
}
async function sample(name: string, labels: Record<string, string>): Promise<number> {
  const { body: text } = await w.metrics.render(undefined);
  let sum = 0;
  for (const line of text.split('\n')) {
    const all = Object.entries(labels).every(([k, v]) => line.includes(`${k}="${v}"`));
    if (line.startsWith(`${name}{`) && all) sum += Number(line.split(' ').at(-1));
  }
  return sum;
}
const logged = (pattern: RegExp): boolean => w.lines.some((l) => pattern.test(l));

const marks = (letter: string): string => `
  const order = (headers: any[]): string => headers.find(([n]) => n === 'x-order')?.[1] ?? '';
  export default {
    onRequest: (r: any) => ({ set: { 'x-order': order(r.headers) + '${letter}' } }),
    onResponse: (r: any) => ({ set: { 'x-order': order(r.headers) + '${letter}' } }),
  };`;
const good = `export default { onRequest: () => ({ set: { 'x-good': 'yes' } }) };`;

before(async () => {
  writeFileSync(
    join(dir, 'all.ts'),
    `export default { onResponse: () => ({ set: { 'x-file': 'one' } }) };`,
  );
  w = await startTestWaypoint(at(1), {
    PLUGIN_FILES: join(dir, 'all.ts'),
    PLUGIN_TIMEOUT: `${patient}ms`,
  });
  for (const a of apps) endpoints.push(`${at(10)}:${await listen(a)}`);
});
after(async () => {
  await w.stop();
  for (const a of apps) {
    a.closeAllConnections();
    a.close();
  }
  rmSync(dir, { recursive: true });
});

describe('what plugins may do', () => {
  test('M34 several plugins: requests in the stated order, answers in the opposite one', async () => {
    seen = [];
    service('ordered', [plugin('c', marks('c')), plugin('a', marks('a')), plugin('b', marks('b'))]);
    const r = await ask('ordered');
    assert.equal(r.status, 200);
    assert.equal(seen[0]?.['x-order'], 'cab');
    assert.equal(r.header('x-order'), 'bac');
  });

  test('every hook: who asks, where to, what came of it', async () => {
    const source = `export default {
      authorize: (r, c) => r.path === '/no' ? { allow: false, status: 402, body: 'pay ' + c.source.serviceAccount } : { allow: true },
      onRequest: (r, c) => r.path === '/own'
        ? { reply: { status: 203, body: c.service.hostname, headers: { 'content-type': 'text/x', 'x-own': '1' } } }
        : { set: { 'x-who': c.source.identity, 'x-plugin': c.plugin }, remove: ['cookie'] },
      pick: (all) => all.at(-1).id,
      onResponse: (r, q, c) => ({ set: { 'x-status': String(r.status), 'x-path': q.path }, remove: ['x-app'] }),
      onLog: (e) => 'log ' + e.status + ' ' + e.request.path,
    };`;
    service('hooks', [plugin('hooks', source)]);
    seen = [];
    const r = await ask('hooks', '/yes?q=1', ['cookie: c']);
    assert.equal(r.status, 200);
    assert.equal(seen[0]?.['x-who'], 'spiffe://cluster.local/ns/shop/sa/client');
    assert.equal(seen[0]?.['x-plugin'], 'shop/hooks');
    assert.equal(seen[0]?.cookie, undefined);
    assert.equal(r.header('x-status'), '200');
    assert.equal(r.header('x-path'), '/yes');
    assert.equal(r.header('x-app'), undefined);
    assert.equal(r.header('x-file'), 'one', 'the plugin of every service');
    for (let i = 0; i < 4; i++) {
      assert.equal((await ask('hooks')).header('x-endpoint'), 'last', 'as pick said');
    }
    await eventually(() => logged(/log 200 \/yes/), 'the line of onLog');
    const no = await ask('hooks', '/no');
    assert.equal(no.status, 402);
    assert.match(no.text, /pay client$/);
    const own = await ask('hooks', '/own');
    assert.equal(own.status, 203);
    assert.equal(own.header('content-type'), 'text/x');
    assert.match(own.text, /hooks\.shop\.svc\.cluster\.local$/);
    assert.equal(seen.length, 5, 'neither came to the application');
    assert.ok((await sample('ambient_refusals_total', { reason: 'PLUGIN_DENIED' })) > 0);
    const labels = { plugin: 'shop/hooks', hook: 'pick', outcome: 'ok' };
    assert.equal(await sample('ambient_waypoint_plugin_calls_total', labels), 5);
    assert.ok(
      (await sample('ambient_waypoint_plugin_duration_milliseconds_count', {
        plugin: 'shop/hooks',
      })) > 5,
    );
  });

  test('a plugin cannot allow what a policy refuses', async () => {
    const deny = { key: 'shop/no', action: L7PolicyAction.DENY, rules: [{}] };
    service(
      'denied',
      [plugin('allows', `export default { authorize: () => ({ allow: true }) };`)],
      {
        policies: [deny],
      },
    );
    const r = await ask('denied');
    assert.equal(r.status, 403);
    assert.match(r.text, /RBAC: access denied$/);
    assert.equal(await sample('ambient_waypoint_plugin_calls_total', { plugin: 'shop/allows' }), 0);
  });

  test('a hook that is not there is not called', async () => {
    service('plain', [plugin('plain', good)]);
    assert.equal((await ask('plain')).status, 200);
    assert.equal(
      await sample('ambient_waypoint_plugin_calls_total', {
        plugin: 'shop/plain',
        hook: 'authorize',
      }),
      0,
    );
    assert.equal(
      await sample('ambient_waypoint_plugin_calls_total', {
        plugin: 'shop/plain',
        hook: 'onRequest',
      }),
      1,
    );
  });
});

describe('a new version', () => {
  const version = (n: number): string =>
    `export default { onRequest: () => ({ set: { 'x-version': '${n}' } }) };`;
  test('serves when it is ready, and no request fails meanwhile', async () => {
    service('swap', [plugin('swap', version(1))]);
    assert.equal((await ask('swap')).status, 200);
    assert.equal(seen.at(-1)?.['x-version'], '1');
    service('swap', [plugin('swap', version(2))]);
    await eventually(async () => {
      assert.equal((await ask('swap')).status, 200);
      return seen.at(-1)?.['x-version'] === '2';
    }, 'version 2');
    service('swap', [plugin('swap', 'export default {{{')]);
    await eventually(
      async () =>
        (await sample('ambient_waypoint_plugin_restarts_total', {
          plugin: 'shop/swap',
          why: 'broken',
        })) > 0,
      'the version that cannot be loaded is noticed',
    );
    assert.equal((await ask('swap')).status, 200);
    assert.equal(seen.at(-1)?.['x-version'], '2', 'the last good one serves on');
    assert.ok(logged(/plugin ended.*shop\/swap/));
  });

  const processes = [
    ['held in as here', containment],
    ['with nothing to hold it', () => uncontained],
  ] as const;
  for (const [how, held] of processes) {
    test(`a call that runs is answered by the old one, ${how}`, async () => {
      const ended: Ended[] = [];
      const source = `export default { onRequest: async () => { await new Promise((r) => setTimeout(r, 50)); return { set: {} }; } };`;
      const old = new PluginProcess({
        source,
        timeoutMs: patient,
        containment: await held(),
        clock: systemClock,
        ended: (why) => void ended.push(why),
      });
      assert.deepEqual([...((await old.loaded) ?? [])], ['onRequest']);
      const call = old.call('onRequest', []);
      old.stop();
      assert.deepEqual(ended, []);
      assert.deepEqual(await call, { set: {} });
      assert.deepEqual(ended, ['stopped']);
      await assert.rejects(old.call('onRequest', []), /does not run/);
    });
  }

  test('a file that changed', async () => {
    writeFileSync(
      join(dir, 'all.ts'),
      `export default { onResponse: () => ({ set: { 'x-file': 'two' } }) };`,
    );
    service('filed', []);
    await eventually(
      async () => (await ask('filed')).header('x-file') === 'two',
      'the new text of the file',
    );
  });
});

// Beside each other: each has a process and services of its own.
describe('plugins that come to an end', { concurrency: 3 }, () => {
  const fatal: readonly (readonly [string, string, string])[] = [
    ['loops for ever', 'for (;;);', 'overrun'],
    ['never answers', 'return new Promise(() => {});', 'overrun'],
    ['allocates without end', 'const all = []; for (;;) all.push(new Array(1e5).fill({}));', ''],
    [
      'allocates outside the heap',
      'const all = []; for (;;) { all.push(Buffer.alloc(1 << 21, 1)); await new Promise((r) => setTimeout(r, 1)); }',
      'memory',
    ],
    ['ends', 'process.exit(0);', 'exit'],
    [
      'answers what nobody asked',
      `const { writeSync } = await import('node:fs'); const t = '{"id":999999}'; writeSync(3, '\\0\\0\\0' + String.fromCharCode(t.length) + t); for (;;) await 0;`,
      'protocol',
    ],
    [
      'writes what is no message',
      `const { writeSync } = await import('node:fs'); writeSync(3, Buffer.alloc(5_000, 0xee)); for (;;) await 0;`,
      'protocol',
    ],
  ];
  for (const [what, code, why] of fatal) {
    test(`one that ${what}: refused or passed over as configured, then another process`, async () => {
      const name = what.replaceAll(' ', '-');
      const source = `export default { async onRequest() { ${code} } };`;
      const timeoutMs = why === 'overrun' ? 100 : patient;
      service(`closed-${name}`, [plugin(name, source, { timeoutMs })]);
      service(`open-${name}`, [plugin(name, source, { timeoutMs, failOpen: true })]);
      service('neighbour', [plugin('good', good)]);
      const [closed, neighbour] = await Promise.all([ask(`closed-${name}`), ask('neighbour')]);
      assert.equal(closed.status, 500);
      assert.equal(neighbour.status, 200);
      const open = await ask(`open-${name}`);
      assert.equal(open.status, 200);
      const labels = { plugin: `shop/${name}`, hook: 'onRequest' };
      assert.ok(
        (await sample('ambient_waypoint_plugin_calls_total', {
          ...labels,
          outcome: 'failed-closed',
        })) > 0,
      );
      assert.ok(
        (await sample('ambient_waypoint_plugin_calls_total', {
          ...labels,
          outcome: 'failed-open',
        })) > 0,
      );
      const ends = why === '' ? {} : { why };
      assert.ok(
        (await sample('ambient_waypoint_plugin_restarts_total', {
          plugin: `shop/${name}`,
          ...ends,
        })) > 0,
      );
      assert.ok(logged(new RegExp(`plugin gave no answer.*shop/${name}`)));
      w.forget(`shop/closed-${name}.shop.svc.cluster.local`);
      w.forget(`shop/open-${name}.shop.svc.cluster.local`);
    });
  }

  test('one that works unasked is ended', async () => {
    service('busy', [
      plugin(
        'busy',
        `setInterval(() => { const t = Date.now(); while (Date.now() - t < 100); }, 1); ${good}`,
      ),
    ]);
    await eventually(
      async () =>
        (await sample('ambient_waypoint_plugin_restarts_total', {
          plugin: 'shop/busy',
          why: 'cpu',
        })) > 0,
      'an end for too much work',
      60_000,
    );
    w.forget('shop/busy.shop.svc.cluster.local');
  });
});

describe('plugins that do wrong', () => {
  const tries: readonly (readonly [string, string, RegExp])[] = [
    ['throws', 'throw new Error("told");', /^500$/],
    ['reads a file', `return said(() => fs.readFileSync('/etc/passwd'));`, /ERR_ACCESS_DENIED/],
    ['reads its own program', `return said(() => fs.readdirSync('/'));`, /ERR_ACCESS_DENIED/],
    ['writes a file', `return said(() => fs.writeFileSync('/tmp/x', ''));`, /ERR_ACCESS_DENIED/],
    ['spawns', `return said(() => child.spawnSync('id'));`, /ERR_ACCESS_DENIED/],
    [
      'starts a thread',
      `return said(() => new threads.Worker('0', { eval: true }));`,
      /ERR_ACCESS_DENIED/,
    ],
    [
      'loads native code',
      `return said(() => process.dlopen({ exports: {} }, '/x.node'));`,
      /ERR_DLOPEN_DISABLED/,
    ],
    [
      'reads the environment',
      `return { set: { 'x-said': JSON.stringify(process.env) } };`,
      /^\{\}$/,
    ],
    ['answers a number', 'return 7;', /^500$/],
    ['puts a line into a header', `return { set: { 'x-said': 'a\\r\\nx-evil: 1' } };`, /^500$/],
    ['puts a line into a name', `return { set: { 'x-said\\r\\nx-evil': '1' } };`, /^500$/],
    ['speaks for the proxy', `return { set: { 'x-forwarded-client-cert': 'URI=x' } };`, /^500$/],
    ['changes the framing', `return { set: { 'content-length': '7' } };`, /^500$/],
    ['answers a megabyte', `return { set: { 'x-said': 'x'.repeat(1 << 17) } };`, /^500$/],
    ['answers what is no JSON', `return { set: { 'x-said': 1n } };`, /^500$/],
  ];
  test('what it tries is refused, what it says is not believed', async (t) => {
    const cases = tries.map(([, code], i) => `async ${JSON.stringify(`/${i}`)}() { ${code} }`);
    const source = `
      import fs from 'node:fs'; import child from 'node:child_process'; import threads from 'node:worker_threads';
      const said = (f) => { try { f(); return { set: { 'x-said': 'done' } }; } catch (e) { return { set: { 'x-said': e.code } }; } };
      const cases = { ${cases.join(',\n')} };
      export default { onRequest: (r) => cases[r.path]() };`;
    service('tries', [plugin('tries', source)]);
    for (const [i, [what, , want]] of tries.entries()) {
      await t.test(what, async () => {
        seen = [];
        const r = await ask('tries', `/${i}`);
        const { headers } = { headers: seen[0] ?? {} };
        assert.match(String(r.status === 200 ? headers['x-said'] : r.status), want);
        assert.equal(headers['x-evil'], undefined);
      });
    }
  });

  test('network and processes of others, where this machine can hold them', async (t) => {
    const { holds } = await containment();
    if (!holds.includes('network')) return t.skip('no namespaces for us here');
    const source = `
      import net from 'node:net';
      const reach = () => new Promise((r) => net.connect(${endpoints[0]?.split(':')[1]}, '${at(10)}').on('connect', () => r('reached')).on('error', (e) => r(e.code)));
      const signal = () => { try { process.kill(${process.pid}, 0); return 'signalled'; } catch (e) { return e.code; } };
      export default { onRequest: async () => ({ set: { 'x-net': await reach(), 'x-kill': signal() } }) };`;
    service('held', [plugin('held', source)]);
    seen = [];
    assert.equal((await ask('held')).status, 200);
    assert.match(String(seen[0]?.['x-net']), /ENETUNREACH|ECONNREFUSED|EADDRNOTAVAIL/);
    assert.equal(seen[0]?.['x-kill'], 'ESRCH');
  });

  test('an endpoint that is none is no choice', async () => {
    service('lost', [plugin('lost', `export default { pick: () => 'nowhere' };`)]);
    assert.equal((await ask('lost')).status, 500);
    service('lost', [
      plugin('lost', `export default { pick: () => 'nowhere' };`, { failOpen: true }),
    ]);
    assert.equal((await ask('lost')).status, 200);
  });

  test('an answer that fails closed is not shown, and the next request is served', async () => {
    const source = `export default { onResponse: (r, q) => { if (q.path === '/bad') throw new Error('no'); return {}; } };`;
    service('answers', [plugin('answers', source)]);
    const bad = await ask('answers', '/bad');
    assert.equal(bad.status, 500);
    assert.doesNotMatch(bad.text, /hello/);
    assert.equal((await ask('answers', '/fine')).status, 200);
  });

  test('one that is not there refuses', async () => {
    service('empty', [plugin('empty', '')]);
    assert.equal((await ask('empty')).status, 500);
    service('empty', [plugin('empty', '', { failOpen: true })]);
    assert.equal((await ask('empty')).status, 200);
  });
});
