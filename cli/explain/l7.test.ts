// What explain, authz check, authz simulate and describe say of requests, beside what the waypoint whose dump they read
// does with them.
import assert from 'node:assert/strict';
import http from 'node:http';
import type net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { seededRandom } from '../../core/base/index.ts';
import { MeshState, namespacedHost } from '../../core/model/index.ts';
import { L7PolicyAction, L7PortProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { readAuthorizationPolicy } from '../../istiod-lite/index.ts';
import { claimBlock } from '../../test/kit/addresses.ts';
import { backs, testService, testWorkload } from '../../test/kit/mesh.ts';
import { startTestWaypoint, type TestWaypoint } from '../../test/kit/waypoint.ts';
import { describeAtWaypoint, printWaypoints, reachAtWaypoint } from './at-waypoint.ts';
import { explain, explainExit, printExplanation } from './explain.ts';
import { findDestination } from './find.ts';
import { policiesAt, readRequest, type RequestFlags, requestVerdict } from './l7.ts';
import { withRequest } from './live.ts';
import { blindSpots, type SeenRequest, simulateRequests } from './simulate-l7.ts';
import { waypointPods } from './waypoints.ts';

const at = await claimBlock();
const vip = at(100);
const key = namespacedHost('shop', 'web.shop.svc.cluster.local');
const caller = 'spiffe://cluster.local/ns/shop/sa/client';
const principals = (account: string) => ({ any: [`cluster.local/ns/shop/sa/${account}`] });
const policies: Draft<wire.L7AccessPolicy>[] = [
  {
    key: 'shop/readers',
    action: L7PolicyAction.ALLOW,
    rules: [
      {
        from: [{ principals: principals('client') }],
        to: [{ methods: { any: ['GET'] } }],
      },
      { when: [{ key: 'request.headers[x-team]', values: { any: ['red'] } }] },
      { from: [{ principals: principals('other') }] },
    ],
  },
  {
    key: 'shop/no-admin',
    action: L7PolicyAction.DENY,
    rules: [{ to: [{ paths: { any: ['/admin*'] } }] }],
  },
];

let w: TestWaypoint;
let dump: unknown;
const app = http.createServer((_, res) => res.end('hello'));

async function admin(path: string): Promise<unknown> {
  const { host, port } = w.waypoint.addresses.admin;
  return (await fetch(`http://${host}:${port}${path}`)).json();
}

before(async () => {
  w = await startTestWaypoint(at(1));
  await new Promise<void>((resolve) => app.listen(0, at(10), resolve));
  w.service('web', vip, 80, [`${at(10)}:${(app.address() as net.AddressInfo).port}`]);
  w.feed.apply({ workloads: [testWorkload('client', at(2)), testWorkload('stranger', at(3))] });
  w.configure('web', { ports: [{ port: 80, protocol: L7PortProtocol.HTTP }], policies });
  dump = await admin('/config_dump');
});
after(async () => {
  await w.stop();
  app.closeAllConnections();
  app.close();
});

const asked = (f: RequestFlags) => ({
  identity: caller,
  sourceIp: at(2),
  destinationIp: vip,
  port: 80,
  request: readRequest(f, 'web'),
});
const held = () => {
  const all = policiesAt(dump, key);
  assert.ok(all);
  return all;
};

describe('the tool says what the waypoint does', () => {
  const rows: readonly (readonly [RequestFlags, string])[] = [
    [{}, 'shop/readers rule 1'],
    [{ method: 'POST' }, 'no ALLOW policy allows it'],
    [{ method: 'POST', header: ['x-team: red'] }, 'shop/readers rule 2'],
    [{ method: 'POST', header: ['x-team:blue'] }, 'no ALLOW policy allows it'],
    [{ path: '/admin/x?y' }, 'shop/no-admin rule 1'],
    [{ path: '/administrator', header: ['x-team:red'] }, 'shop/no-admin rule 1'],
    [{ method: 'get' }, 'no ALLOW policy allows it'],
  ];
  for (const [flags, by] of rows) {
    test(`${JSON.stringify(flags)}: ${by}`, async () => {
      const said = requestVerdict('waypoint', held(), asked(flags));
      assert.equal(said.decidedBy, by);
      const head = [
        `${flags.method ?? 'GET'} ${flags.path ?? '/'} HTTP/1.1`,
        'host: web',
        'connection: close',
        'content-length: 0',
        ...(flags.header ?? []),
      ];
      const text = await w.exchange(`${vip}:80`, `${head.join('\r\n')}\r\n\r\n`);
      assert.equal(text.startsWith('HTTP/1.1 200'), said.allow, text.slice(0, 40));
    });
  }

  test('claims of a checked token', () => {
    const [policy] = policies;
    assert.ok(policy);
    const staff = { when: [{ key: 'request.auth.claims[groups]', values: { any: ['staff'] } }] };
    const all = [{ ...policy, rules: [staff] }];
    const holds = policiesAt({ services: [{ name: key, judges: { access: all } }] }, key);
    assert.ok(holds);
    const judge = (claims: string) => requestVerdict('w', holds, asked({ claims })).allow;
    assert.equal(judge('{"iss": "i", "sub": "s", "groups": ["staff"]}'), true);
    assert.equal(judge('{"iss": "i", "sub": "s"}'), false);
  });

  test('a provider that is asked is named, its answer is not guessed', () => {
    const custom = { key: 'shop/ask', action: L7PolicyAction.CUSTOM, provider: 'opa', rules: [{}] };
    const holds = policiesAt({ services: [{ name: key, judges: { access: [custom] } }] }, key);
    const said = requestVerdict('w', holds ?? [], asked({}));
    assert.deepEqual(said.asks, ['opa']);
    assert.match(said.decidedBy, /opa is asked too/);
  });

  for (const [flags, wrong] of [
    [{ path: 'admin' }, /--path/],
    [{ header: ['x'] }, /--header/],
    [{ claims: '{' }, /--claims is no JSON/],
    [{ claims: '[]' }, /--claims must be/],
  ] as const)
    test(`${JSON.stringify(flags)} cannot be read`, () =>
      assert.throws(() => readRequest(flags, 'web'), wrong));
});

test('explain: the request at its waypoint decides the whole', () => {
  const { view } = w.feed;
  const from = [...view.workloads()].find((x) => x.name === 'client');
  assert.ok(from);
  const to = findDestination(view, 'svc/web.shop', 'shop');
  const decided = { ...explain(view, from, to, seededRandom(1)), outcome: 'mtls' as const };
  const denied = withRequest(
    decided,
    { waypoint: 'wp-1.shop', dump },
    from,
    to,
    asked({ path: '/admin' }).request,
  );
  assert.equal(explainExit(denied), 5);
  const text = printExplanation(denied);
  assert.match(text, /request {3}GET \/admin at waypoint wp-1\.shop/);
  assert.match(text, /shop\/no-admin {2}DENY: rule 1 matches {2}← decided/);
  assert.match(text, /verdict {3}403: shop\/no-admin rule 1/);
  const fine = withRequest(decided, { waypoint: 'wp-1.shop', dump }, from, to, asked({}).request);
  assert.equal(explainExit(fine), 0);
  const elsewhere = withRequest(decided, { waypoint: 'x', dump: {} }, from, to, asked({}).request);
  assert.match(elsewhere.notes.at(-1) ?? '', /does not stand before/);
});

test('authz check: every identity against the service at its waypoint, with who decided and where', () => {
  const service = w.feed.view.service(key);
  assert.ok(service);
  const request = asked({ method: 'GET' }).request;
  const rows = reachAtWaypoint(w.feed.view, service, 'wp-1.shop', held(), request);
  const of = (account: string) => rows.find((r) => r.source.endsWith(`/sa/${account}`));
  assert.deepEqual(of('client'), {
    source: caller,
    port: 80,
    allowed: true,
    decidedBy: 'shop/readers rule 1',
    where: 'waypoint wp-1.shop',
    service: 'web.shop',
    request: 'GET /',
  });
  assert.equal(of('stranger')?.allowed, false);
});

test('describe: what judges requests, and where', () => {
  const facts = describeAtWaypoint({ waypoint: 'wp-1.shop', dump }, key);
  assert.ok(facts);
  assert.equal(
    printWaypoints([facts]),
    '   At waypoint wp-1.shop: shop/readers  ALLOW, 3 rules\n   At waypoint wp-1.shop: shop/no-admin  DENY, 1 rule\n',
  );
  assert.equal(describeAtWaypoint({ waypoint: 'x', dump: {} }, key), undefined);
});

describe('authz simulate: what the waypoint has recorded', () => {
  const policy = (name: string, targetRefs: object[], spec: object) =>
    readAuthorizationPolicy({
      metadata: { name, namespace: 'shop' },
      spec: { targetRefs, ...spec },
    });
  const onService = [{ kind: 'Service', group: '', name: 'web' }];
  const denyGet = {
    action: 'DENY',
    rules: [{ to: [{ operation: { methods: ['GET'], paths: ['/cart'] } }] }],
  };
  let seen: SeenRequest[] = [];
  before(async () => {
    for (const path of ['/cart', '/cart', '/list', '/admin'])
      await w.exchange(
        `${vip}:80`,
        `GET ${path} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n`,
      );
    seen = (await admin('/ambient/connections?recent')) as SeenRequest[];
  });
  const run = (...added: ReturnType<typeof policy>[]) =>
    simulateRequests([{ waypoint: 'wp-1.shop', dump, seen }], added, 'istio-system');
  const changed = (rows: ReturnType<typeof run>) =>
    rows
      .filter((r) => r.before !== r.after)
      .map((r) => [r.destination.split(' ').slice(1).join(' '), r.before, r.after, r.count]);

  test('a DENY for one path cuts that alone', () => {
    const rows = run(policy('new', onService, denyGet));
    assert.deepEqual(changed(rows), [['GET /cart', 'allowed', 'refused', 2]]);
    const cut = rows.find((r) => r.before !== r.after);
    assert.equal(cut?.source, caller);
    assert.equal(cut?.decidedBy, 'shop/new rule 1 at waypoint wp-1.shop');
  });

  test('a policy in place of one of its name', () => {
    const rows = run(policy('no-admin', onService, { action: 'DENY' }));
    assert.ok(changed(rows).some(([what, , next]) => what === 'GET /admin' && next === 'allowed'));
  });

  test('at the Gateway, and only there', () => {
    const gateway = (name: string) => [
      { kind: 'Gateway', group: 'gateway.networking.k8s.io', name },
    ];
    const own =
      String((dump as { gateway?: unknown }).gateway)
        .split('/')
        .at(-1) ?? '';
    assert.equal(changed(run(policy('new', gateway(own), denyGet))).length, 1);
    assert.equal(changed(run(policy('new', gateway('another'), denyGet))).length, 0);
    assert.equal(
      changed(run(policy('new', [{ kind: 'Service', name: 'api' }], denyGet))).length,
      0,
    );
  });

  test('what no record holds is said', () => {
    const when = [{ key: 'request.headers[x-team]', values: ['red'] }];
    const looks = policy('new', onService, { rules: [{ when }] });
    assert.match(blindSpots([looks]).join(), /^shop\/new looks at headers, hosts or claims/);
    assert.deepEqual(blindSpots([policy('new', onService, denyGet)]), []);
  });
});

test('the pods of a waypoint are found by the service that asks for it, ready ones first', () => {
  const hostname = 'waypoint.shop.svc.cluster.local';
  const waypoint = { kind: 'host', namespace: 'shop', hostname, hboneMtlsPort: 15_008 } as const;
  const plain = testService('web', vip, 80, 0);
  const mesh = new MeshState();
  const pod = (name: string, ip: string, status: 'Healthy' | 'Unhealthy') =>
    testWorkload(name, ip, { status, services: backs('waypoint') });
  mesh.apply({
    services: [{ ...plain, waypoint }, testService('waypoint', at(101), 15_008, 15_008)],
    workloads: [pod('waypoint-0', at(5), 'Unhealthy'), pod('waypoint-1', at(6), 'Healthy')],
  });
  assert.deepEqual(waypointPods(mesh, { ...plain, waypoint }), [
    { namespace: 'shop', name: 'waypoint-1' },
    { namespace: 'shop', name: 'waypoint-0' },
  ]);
  assert.deepEqual(waypointPods(mesh, plain), []);
});
