// DestinationRule and VirtualService: which holds, what comes of it, what its author reads (waypoint-l7.md 5).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { KubeObject } from '../../core/kube/index.ts';
import { L7Balancer, L7PathKind, L7ProxyHeader } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { field } from '../cluster/index.ts';
import type { World } from './binding.ts';
import { clusterFor, rulesFor } from './destination-rules.ts';
import { destinationRuleStatus, virtualServiceStatus } from './rule-status.ts';
import { serviceConfigs } from './service-config.ts';
import { testSettings as settings, shopObject as object, worldOf } from './testkit.ts';

const service = (name: string, ports: readonly number[] = [80]): KubeObject =>
  object('Service', name, {
    spec: {
      clusterIP: '10.0.0.9',
      ports: ports.map((port) => ({ name: `http-${port}`, port })),
    },
  });
const base: readonly KubeObject[] = [
  {
    kind: 'GatewayClass',
    metadata: { name: 'istio-waypoint' },
    spec: { controllerName: 'istio.io/mesh-controller' },
  },
  {
    kind: 'Namespace',
    metadata: { name: 'shop', labels: { 'istio.io/use-waypoint': 'waypoint' } },
  },
  object('Gateway', 'waypoint', {
    spec: {
      gatewayClassName: 'istio-waypoint',
      listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
    },
    status: { addresses: [{ type: 'IPAddress', value: '10.0.0.5' }] },
  }),
  service('web'),
  service('v2'),
];
function world(...objects: readonly KubeObject[]): World {
  return worldOf(settings, [...base, ...objects]);
}

const at = (second: number): object => ({
  creationTimestamp: new Date(second * 1000).toISOString(),
});
const dr = (name: string, spec: object, meta: object = {}): KubeObject =>
  object('DestinationRule', name, { spec: { host: 'web', ...spec } }, meta);
const vs = (name: string, http: readonly object[], more: object = {}, meta: object = {}) =>
  object('VirtualService', name, { spec: { hosts: ['web'], http, ...more } }, meta);
const simple = (s: string): object => ({ trafficPolicy: { loadBalancer: { simple: s } } });
const web = { namespace: 'shop', hostname: 'web.shop.svc.cluster.local', port: 80, subset: '' };

describe('which DestinationRule holds (waypoint-l7.md 5.1)', () => {
  const rows: readonly (readonly [string, readonly KubeObject[], string])[] = [
    ['none', [], ''],
    ['short name in its own namespace', [dr('a', {})], 'shop/a'],
    ['full name', [dr('a', { host: 'web.shop.svc.cluster.local' })], 'shop/a'],
    ['another host', [dr('a', { host: 'v2' })], ''],
    [
      'exact before wildcard',
      [dr('a', { host: '*.shop.svc.cluster.local' }), dr('b', {})],
      'shop/b',
    ],
    [
      'the longer wildcard',
      [dr('a', { host: '*.cluster.local' }), dr('b', { host: '*.shop.svc.cluster.local' })],
      'shop/b',
    ],
    [
      'the client’s namespace first, even by wildcard',
      [dr('a', {}), dr('b', { host: '*.local' }, { namespace: 'client' })],
      'client/b',
    ],
    [
      'the root namespace last',
      [dr('a', { host: web.hostname }, { namespace: 'istio-system' })],
      'istio-system/a',
    ],
    ['K11 a third namespace never', [dr('a', { host: web.hostname }, { namespace: 'other' })], ''],
    ['exported elsewhere only', [dr('a', { exportTo: ['other'] })], ''],
    ['exported here by name', [dr('a', { exportTo: ['client'] })], 'shop/a'],
    ['`.` is its own namespace', [dr('a', { exportTo: ['.'] })], ''],
    ['a workloadSelector', [dr('a', { workloadSelector: { matchLabels: { a: 'b' } } })], ''],
    ['the oldest first', [dr('a', {}, at(5)), dr('b', {}, at(3))], 'shop/b'],
  ];
  for (const [name, objects, wanted] of rows) {
    test(`${name}: ${wanted || 'none'}`, () => {
      const [first] = rulesFor(world(...objects), web, 'client')?.rules ?? [];
      assert.equal(first ? `${first.namespace}/${first.name}` : '', wanted);
    });
  }

  test('same host: the oldest trafficPolicy whole, subsets united, a repeated one ignored', () => {
    const w = world(
      dr('old', { ...simple('RANDOM'), subsets: [{ name: 'v1', labels: { v: '1' } }] }, at(1)),
      dr(
        'new',
        {
          trafficPolicy: { outlierDetection: {} },
          subsets: [
            { name: 'v1', labels: { v: 'other' } },
            { name: 'v2', labels: { v: '2' } },
          ],
        },
        at(2),
      ),
    );
    const merged = rulesFor(w, web, 'shop');
    assert.deepEqual([...(merged?.subsets.keys() ?? [])], ['v1', 'v2']);
    assert.equal(merged?.subsets.get('v1')?.labels.get('v'), '1');
    const traffic = clusterFor(w, web, 'shop')?.traffic;
    assert.equal(traffic?.balancer, L7Balancer.RANDOM);
    assert.equal(traffic?.outlier, undefined);
  });
});

describe('trafficPolicy', () => {
  const of = (spec: object, d = web, ...more: KubeObject[]) =>
    clusterFor(world(dr('a', spec), ...more), d, 'shop');
  const hash = (h: object): object => ({ trafficPolicy: { loadBalancer: { consistentHash: h } } });
  const rows: readonly (readonly [string, object, Draft<wire.L7TrafficPolicy>])[] = [
    ['nothing: LEAST_REQUEST', {}, { balancer: L7Balancer.LEAST_REQUEST }],
    ['ROUND_ROBIN', simple('ROUND_ROBIN'), { balancer: L7Balancer.ROUND_ROBIN }],
    ['LEAST_CONN is the old name', simple('LEAST_CONN'), { balancer: L7Balancer.LEAST_REQUEST }],
    ['PASSTHROUGH', simple('PASSTHROUGH'), { balancer: L7Balancer.PASSTHROUGH }],
    [
      'hash by header',
      hash({ httpHeaderName: 'X-User' }),
      { balancer: L7Balancer.RING_HASH, tableSize: 0, hash: { header: 'x-user' } },
    ],
    [
      'hash by parameter, maglev',
      hash({ httpQueryParameterName: 'u', maglev: { tableSize: 101 } }),
      { balancer: L7Balancer.MAGLEV, tableSize: 101, hash: { query: 'u' } },
    ],
    [
      'hash by source, ring of its own size',
      hash({ useSourceIp: true, ringHash: { minimumRingSize: 64 } }),
      { balancer: L7Balancer.RING_HASH, tableSize: 64, hash: { sourceIp: true } },
    ],
    [
      'hash by cookie with ttl 0: made, for the browser’s session',
      hash({ httpCookie: { name: 'c', path: '/p', ttl: '0s' } }),
      {
        balancer: L7Balancer.RING_HASH,
        hash: { cookie: { name: 'c', path: '/p', generate: true, ttlMs: 0, attributes: [] } },
      },
    ],
    [
      'a cookie’s attributes, but those that would be more than one',
      hash({
        httpCookie: {
          name: 'c',
          ttl: '1s',
          attributes: [{ name: 'SameSite', value: 'Lax' }, { name: 'Secure' }, { name: 'a;b' }],
        },
      }),
      {
        hash: {
          cookie: {
            name: 'c',
            path: '',
            generate: true,
            ttlMs: 1_000,
            attributes: [
              { name: 'SameSite', value: 'Lax' },
              { name: 'Secure', value: '' },
            ],
          },
        },
      },
    ],
    [
      'warmup: a tenth at first, and linear',
      { trafficPolicy: { loadBalancer: { warmup: { duration: '90s' } } } },
      { warmup: { durationMs: 90_000, minimumShare: 1_000, aggression: 1_000 } },
    ],
    [
      'warmup as asked for',
      {
        trafficPolicy: {
          loadBalancer: {
            simple: 'ROUND_ROBIN',
            warmup: { duration: '1m', minimumPercent: 2.5, aggression: 1.5 },
          },
        },
      },
      { warmup: { durationMs: 60_000, minimumShare: 250, aggression: 1_500 } },
    ],
    [
      'warmup under its old name',
      { trafficPolicy: { loadBalancer: { warmupDurationSecs: '30s' } } },
      { warmup: { durationMs: 30_000, minimumShare: 1_000, aggression: 1_000 } },
    ],
    [
      'pools',
      {
        trafficPolicy: {
          connectionPool: {
            tcp: { maxConnections: 7, connectTimeout: '250ms', idleTimeout: '5s' },
            http: {
              http1MaxPendingRequests: 3,
              http2MaxRequests: 4,
              maxRequestsPerConnection: 1,
              maxRetries: 2,
            },
          },
          retryBudget: {},
        },
      },
      {
        maxConnections: 7,
        connectTimeoutMs: 250,
        idleTimeoutMs: 5_000,
        maxPending: 3,
        maxRequests: 4,
        maxRequestsPerConnection: 1,
        maxRetries: 2,
        tcpIdleTimeoutMs: 5_000,
        retryBudget: { share: 2_000, minConcurrency: 3, intervalMs: 0 },
      },
    ],
    [
      'connections that are watched',
      {
        trafficPolicy: {
          connectionPool: {
            tcp: { tcpKeepalive: { time: '60s', probes: 3 }, maxConnectionDuration: '1h' },
            http: { maxConcurrentStreams: 7, http2KeepAlive: { interval: '5s', timeout: '2s' } },
          },
          proxyProtocol: { version: 'V2' },
          retryBudget: { percent: 12.5, minRetryConcurrency: 1, budgetInterval: '10s' },
        },
      },
      {
        tcpKeepalive: { timeMs: 60_000, probes: 3, intervalMs: 75_000 },
        maxConnectionMs: 3_600_000,
        maxConcurrentStreams: 7,
        http2Keepalive: { intervalMs: 5_000, timeoutMs: 2_000 },
        proxyHeader: L7ProxyHeader.V2,
        retryBudget: { share: 1_250, minConcurrency: 1, intervalMs: 10_000 },
      },
    ],
    [
      'K9 numbers that no counter holds',
      {
        trafficPolicy: {
          connectionPool: {
            tcp: { maxConnections: 2 ** 32 + 1, connectTimeout: '9999999h' },
            http: { maxRetries: -1, http2MaxRequests: Number.POSITIVE_INFINITY },
          },
        },
      },
      {
        maxConnections: 2 ** 31 - 1,
        connectTimeoutMs: 2 ** 31 - 1,
        maxRetries: 0,
        maxRequests: 2 ** 31 - 1,
      },
    ],
    [
      'PROXY header without a version: the first; an idle timeout of 0: as long as can be',
      {
        trafficPolicy: {
          proxyProtocol: {},
          connectionPool: { tcp: { idleTimeout: '9s' }, http: { idleTimeout: '0s' } },
        },
      },
      { proxyHeader: L7ProxyHeader.V1, idleTimeoutMs: 2 ** 31 - 1, tcpIdleTimeoutMs: 9_000 },
    ],
    [
      'an empty outlierDetection has Istio’s defaults',
      { trafficPolicy: { outlierDetection: {} } },
      {
        outlier: {
          consecutive_5xx: 5,
          consecutiveGateway: 0,
          consecutiveLocal: 5,
          splitLocal: false,
          intervalMs: 10_000,
          baseEjectionMs: 30_000,
          maxEjectionPercent: 10,
          minHealthPercent: 0,
        },
      },
    ],
    [
      'the port’s settings replace the whole policy',
      {
        trafficPolicy: {
          loadBalancer: { simple: 'RANDOM' },
          outlierDetection: {},
          portLevelSettings: [
            { port: { number: 80 }, connectionPool: { tcp: { maxConnections: 1 } } },
          ],
        },
      },
      { balancer: L7Balancer.LEAST_REQUEST, maxConnections: 1 },
    ],
  ];
  for (const [name, spec, wanted] of rows) {
    test(name, () => {
      const made = of(spec)?.traffic ?? {};
      for (const [key, value] of Object.entries(wanted)) {
        assert.deepEqual(made[key as keyof typeof made], value, key);
      }
      if (name.startsWith('the port')) assert.equal(made.outlier, undefined);
    });
  }

  test('a subset: its pods by label, its sections over the rule’s', () => {
    const pod = (name: string, labels: object): KubeObject =>
      object('Pod', name, { spec: {}, status: {} }, { labels });
    const spec = {
      trafficPolicy: { loadBalancer: { simple: 'RANDOM' }, outlierDetection: {} },
      subsets: [
        {
          name: 'v1',
          labels: { version: 'v1' },
          trafficPolicy: { loadBalancer: { simple: 'ROUND_ROBIN' } },
        },
      ],
    };
    const pods = [pod('a', { version: 'v1' }), pod('b', { version: 'v2' })];
    const c = of(spec, { ...web, subset: 'v1' }, ...pods);
    assert.deepEqual(c?.members, ['Kubernetes//Pod/shop/a']);
    assert.equal(c?.traffic?.balancer, L7Balancer.ROUND_ROBIN);
    assert.equal(c?.traffic?.outlier?.consecutive_5xx, 5);
    assert.equal(of(spec, { ...web, subset: 'v9' }), undefined);
  });
});

const configOf = (w: World) =>
  serviceConfigs(w).find((c) => c.config.hostname === web.hostname)?.config;
const rulesOf = (w: World) => configOf(w)?.ports?.[0]?.routes?.rules ?? [];
const entriesOf = (w: World) => configOf(w)?.ports?.[0]?.routes?.entries ?? [];
const to = (host: string, more: object = {}): object => ({ destination: { host, ...more } });

describe('VirtualService (waypoint-l7.md 5.5)', () => {
  test('first in the list wins, a rule per match, no match = everything', () => {
    const w = world(
      vs('a', [
        {
          match: [
            { uri: { prefix: '/old/' }, headers: { 'X-A': { exact: '1' }, b: {} } },
            { uri: { regex: '/r.*' }, withoutHeaders: { c: { prefix: 'p' } } },
          ],
          rewrite: { uri: '/new/' },
          route: [to('v2')],
        },
        { route: [to('web')] },
      ]),
    );
    const entries = entriesOf(w);
    assert.deepEqual(
      entries.map((e) => [e.match?.pathKind, e.match?.path, e.rule]),
      [
        [L7PathKind.STRING_PREFIX, '/old/', 0],
        [L7PathKind.REGEX, '/r.*', 1],
        [L7PathKind.ANY, '', 2],
      ],
    );
    assert.deepEqual(entries[0]?.match?.headers, [
      { name: 'x-a', value: '1' },
      { name: 'b', present: true },
    ]);
    const [one, two] = rulesOf(w);
    assert.deepEqual(one?.filters?.rewrite?.path, { rawPrefix: '/new/' });
    assert.deepEqual(two?.filters?.rewrite?.path, { full: '/new/' });
    assert.equal(one?.backends?.[0]?.hostname, 'v2.shop.svc.cluster.local');
    assert.equal(one?.backends?.[0]?.weight, 1);
  });

  test('weights, subsets, faults, mirrors, retries, CORS, redirect', () => {
    const w = world(
      dr('a', { subsets: [{ name: 'v1', labels: {} }] }),
      vs('a', [
        {
          name: 'main',
          route: [
            { ...to('web', { subset: 'v1' }), weight: 90 },
            { ...to('web', { subset: 'nope' }), weight: 10 },
            to('v2'),
          ],
          timeout: '3s',
          retries: { attempts: 4, perTryTimeout: '1s', retryOn: '5xx,429' },
          fault: {
            delay: { percentage: { value: 0.5 }, fixedDelay: '2s' },
            abort: { httpStatus: 418 },
          },
          mirror: { host: 'v2' },
          mirrorPercentage: { value: 25 },
          corsPolicy: { allowOrigins: [{ prefix: 'https://a' }], maxAge: '60s' },
        },
        { match: [{ uri: { exact: '/gone' } }], redirect: { uri: '/here' } },
        { match: [{ uri: { exact: '/me' } }], directResponse: { status: 204 } },
      ]),
    );
    const [main, gone, me] = rulesOf(w);
    assert.deepEqual(
      main?.backends?.map((b) => [b.subset, b.weight, b.noCluster]),
      [
        ['v1', 90, false],
        ['nope', 10, true],
        ['', 0, false],
      ],
    );
    assert.equal(main?.requestTimeoutMs, 3_000);
    assert.equal(main?.backendTimeoutMs, 1_000);
    assert.deepEqual(main?.retry?.codes, [429]);
    assert.deepEqual(main?.retry?.on, ['5xx', 'retriable-status-codes']);
    assert.equal(main?.fault?.delayShare, 5_000);
    assert.equal(main?.fault?.abortShare, 0, 'a missing percentage means none');
    assert.equal(main?.filters?.mirrors?.[0]?.numerator, 250_000);
    assert.equal(main?.filters?.cors?.forwardUnmatched, true);
    assert.equal(gone?.filters?.redirect?.status, 301);
    assert.equal(me?.direct?.status, 204);
  });

  const holds = (...objects: KubeObject[]): string => rulesOf(world(...objects))[0]?.route ?? '';
  const route = object('HTTPRoute', 'r', {
    spec: {
      parentRefs: [{ group: '', kind: 'Service', name: 'web' }],
      rules: [{ backendRefs: [{ name: 'v2', port: 80 }] }],
    },
  });
  const one = [{ route: [to('web')] }];
  const rows: readonly (readonly [string, readonly KubeObject[], string])[] = [
    ['alone', [vs('a', one)], 'shop/a'],
    ['the older', [vs('a', one, {}, at(9)), vs('b', one, {}, at(3))], 'shop/b'],
    [
      'exact host before wildcard, though younger',
      [vs('a', one, { hosts: ['*.local'] }, at(1)), vs('b', one, {}, at(9))],
      'shop/b',
    ],
    ['an HTTPRoute before all', [vs('a', one, {}, at(1)), route], 'shop/r'],
    ['for gateways only', [vs('a', one, { gateways: ['shop/edge'] })], ''],
    ['for the mesh too', [vs('a', one, { gateways: ['shop/edge', 'mesh'] })], 'shop/a'],
    [
      'K11 of another namespace',
      [vs('a', one, { hosts: [web.hostname] }, { namespace: 'other' })],
      '',
    ],
  ];
  for (const [name, objects, wanted] of rows) {
    test(`${name}: ${wanted || 'none'}`, () => assert.equal(holds(...objects), wanted));
  }

  test('what is not supported answers 500 as a rule and is left out as a match', () => {
    const w = world(
      vs('a', [
        { match: [{ uri: { exact: '/' }, odd: 1 }], route: [to('web')] },
        { route: [to('web')], odd: { match: 'a' } },
      ]),
    );
    const rules = rulesOf(w);
    assert.equal(rules.length, 1);
    assert.equal(rules[0]?.broken, true);
  });

  test('the mesh’s retries, for rules that say nothing of them', () => {
    const mesh = (policy: string): KubeObject => ({
      kind: 'MeshConfig',
      metadata: { name: 'istio', namespace: 'istio-system' },
      data: { mesh: `defaultHttpRetryPolicy: ${policy}` },
    });
    const given = configOf(world(mesh('{attempts: 4, retryOn: "5xx,409", backoff: 50ms}')));
    assert.deepEqual(given?.defaultRetry, {
      attempts: 4,
      codes: [409],
      backoffMs: 50,
      on: ['5xx', 'retriable-status-codes'],
      sameHost: false,
    });
    assert.equal(configOf(world(mesh('{attempts: 0}')))?.defaultRetry?.attempts, 0);
    assert.equal(configOf(world())?.defaultRetry, undefined);
  });

  test('the mesh’s time to connect, for destinations that have none of their own', () => {
    const mesh = (connectTimeout: string): KubeObject => ({
      kind: 'MeshConfig',
      metadata: { name: 'istio', namespace: 'istio-system' },
      data: { mesh: `connectTimeout: ${connectTimeout}` },
    });
    const of = (...objects: KubeObject[]) =>
      configOf(world(...objects))?.clusters?.find((c) => c.port === 80)?.traffic?.connectTimeoutMs;
    const own = dr('a', {
      host: 'web',
      trafficPolicy: { connectionPool: { tcp: { connectTimeout: '250ms' } } },
    });
    assert.equal(of(mesh('3s')), 3_000);
    assert.equal(of(mesh('3s'), own), 250);
    assert.equal(of(), undefined);
    assert.equal(of(mesh('never')), undefined);
  });

  test('a rewrite by a regular expression', () => {
    const uriRegexRewrite = { match: '/(.*)/old', rewrite: '/new/\\1' };
    const w = world(vs('a', [{ route: [to('web')], rewrite: { uriRegexRewrite } }]));
    const regex = { pattern: '/(.*)/old', substitution: '/new/\\1' };
    assert.deepEqual(rulesOf(w)[0]?.filters?.rewrite?.path, { regex });
    assert.equal(rulesOf(w)[0]?.broken, false);
  });

  test('redirect by prefix and by port, answers in bytes', () => {
    const w = world(
      vs('a', [
        {
          match: [{ uri: { prefix: '/old' } }, { uri: { exact: '/one' } }],
          redirect: { prefixRewrite: '/new', derivePort: 'FROM_REQUEST_PORT', scheme: 'https' },
        },
        {
          match: [{ uri: { exact: '/b' } }],
          directResponse: { status: 200, body: { bytes: 'aMOp' } },
        },
        {
          match: [{ method: { exact: 'X' } }],
          directResponse: { status: 200, body: { string: 'words' } },
        },
        { directResponse: { status: 200, body: { bytes: '/w==' } } },
      ]),
    );
    const [prefix, exact, bytes, words, no] = rulesOf(w);
    assert.deepEqual(prefix?.filters?.redirect?.path, { rawPrefix: '/new' });
    assert.equal(prefix?.filters?.redirect?.port, 80);
    assert.deepEqual(exact?.filters?.redirect?.path, { full: '/new' });
    assert.equal(Buffer.from(bytes?.direct?.body ?? []).toString(), 'hé');
    assert.equal(no?.broken, true, 'no text');
    assert.equal(Buffer.from(words?.direct?.body ?? []).toString(), 'words');
  });

  test('a host of a ServiceEntry, as a destination and as the host itself', () => {
    const entry = object('ServiceEntry', 'api', {
      spec: {
        hosts: ['api.example.com'],
        ports: [{ number: 80, name: 'http', protocol: 'HTTP' }],
        resolution: 'DNS',
        location: 'MESH_EXTERNAL',
      },
    });
    const w = world(
      entry,
      vs('a', [{ route: [to('api.example.com')] }]),
      vs('b', [{ route: [to('web')], timeout: '2s' }], { hosts: ['api.example.com'] }),
    );
    const [backend] = rulesOf(w)[0]?.backends ?? [];
    assert.deepEqual([backend?.hostname, backend?.noCluster], ['api.example.com', false]);
    const own = serviceConfigs(w).find((c) => c.config.hostname === 'api.example.com')?.config;
    assert.equal(own?.ports?.[0]?.routes?.rules?.[0]?.requestTimeoutMs, 2_000);
    const v = w.gateways.virtualServices.get('shop/b');
    assert.match(JSON.stringify(v && virtualServiceStatus(w, v, 'now')), /Route was valid/);
  });

  const opaque = (spec: object) => {
    const tcpService = object('Service', 'web', {
      spec: {
        clusterIP: '10.0.0.9',
        ports: [
          { name: 'tls', port: 443 },
          { name: 'tcp', port: 90 },
        ],
      },
    });
    const w = world(tcpService, service('v2', [443, 90]), vs('a', [], spec));
    return configOf(w)?.ports?.map((p) => ({
      tcp: p.tcp?.backends?.map((b) => [b.hostname?.split('.', 1)[0], b.port, b.weight]),
      tls: p.tls?.map((t) => [t.hostnames?.join(), t.backends?.[0]?.hostname?.split('.', 1)[0]]),
    }));
  };
  test('tls: by server name and port; tcp: the first of this port', () => {
    const tcp = [
      { match: [{ port: 1 }], route: [to('web')] },
      {
        match: [{ port: 90 }],
        route: [
          { ...to('v2'), weight: 3 },
          { ...to('web'), weight: 1 },
        ],
      },
      { route: [to('web')] },
    ];
    const tls = [
      { match: [{ sniHosts: ['A.example.com', '*.b'], port: 443 }], route: [to('v2')] },
      { match: [{ sniHosts: ['c'] }], route: [to('web')] },
    ];
    const [first, second] = opaque({ http: undefined, tcp, tls: [...tls] }) ?? [];
    assert.deepEqual(first?.tls, [
      ['a.example.com,*.b', 'v2'],
      ['c', 'web'],
    ]);
    assert.deepEqual(second?.tls, [['c', 'web']]);
    assert.deepEqual(opaque({ http: undefined, tcp })?.[1]?.tcp, [
      ['v2', 90, 3],
      ['web', 90, 1],
    ]);
  });
  test('a tcp match with another condition is left out, never widened', () => {
    const tcp = [{ match: [{ sourceLabels: { a: 'b' } }], route: [to('v2')] }];
    assert.deepEqual(
      opaque({ http: undefined, tcp })?.map((p) => p.tcp),
      [undefined, undefined],
    );
  });

  test('L23 K9 expressions that cannot be read: the match left out, a rewrite answers 500, all told', () => {
    const w = world(
      vs('a', [
        { match: [{ uri: { regex: '(a)\\1' } }, { uri: { exact: '/x' } }], route: [to('web')] },
        { match: [{ headers: { a: { regex: '(' } } }], route: [to('v2')] },
        { rewrite: { uriRegexRewrite: { match: 'a', rewrite: '\\1' } }, route: [to('web')] },
        {
          corsPolicy: { allowOrigins: [{ regex: '[' }, { exact: 'https://a' }] },
          route: [to('web')],
        },
      ]),
    );
    assert.deepEqual(
      entriesOf(w).map((e) => e.match?.path),
      ['/x', '', ''],
    );
    const [, rewritten, cors] = rulesOf(w);
    assert.equal(rewritten?.broken, true);
    assert.deepEqual(cors?.filters?.cors?.originMatches, [{ name: '', value: 'https://a' }]);
    const v = w.gateways.virtualServices.get('shop/a');
    const told = JSON.stringify(v && virtualServiceStatus(w, v, 'now'));
    for (const part of [
      /missing \)/,
      /uriRegexRewrite/,
      /match is left out/,
      /origin is left out/,
    ]) {
      assert.match(told, part);
    }
  });

  test('sourceLabels: the pods that have them now', () => {
    const pod = object('Pod', 'p', { spec: {}, status: {} }, { labels: { app: 'curl' } });
    const w = world(
      pod,
      vs('a', [{ match: [{ sourceLabels: { app: 'curl' } }], route: [to('v2')] }]),
    );
    const [entry] = entriesOf(w);
    assert.equal(entry?.match?.bySource, true);
    assert.deepEqual(entry?.match?.sources, ['Kubernetes//Pod/shop/p']);
  });
});

describe('status', () => {
  type Conditions = {
    conditions: { type: string; status: string; reason: string; message: string }[];
  };
  const shown = (o: object | undefined): string[] =>
    ((o as Conditions | undefined)?.conditions ?? []).map(
      (c) => `${c.type} ${c.status} ${c.reason}: ${c.message}`,
    );
  const ofDr = (name: string, ...objects: KubeObject[]): string[] => {
    const w = world(...objects);
    const r = w.gateways.destinationRules.get(`shop/${name}`);
    return r ? shown(destinationRuleStatus(w, r, 'now')) : [];
  };
  const ofVs = (name: string, ...objects: KubeObject[]): string[] => {
    const w = world(...objects);
    const v = w.gateways.virtualServices.get(`shop/${name}`);
    return v ? shown(virtualServiceStatus(w, v, 'now')) : [];
  };
  const one = [{ route: [to('web')] }];

  test('a rule that holds', () =>
    assert.deepEqual(ofDr('a', dr('a', simple('RANDOM'))), [
      'Accepted True Accepted: Rule was valid',
    ]));
  test('a host that nobody has', () =>
    assert.deepEqual(ofDr('a', dr('a', { host: 'nobody' })), [
      'Accepted False NoMatchingHost: no service has the host "nobody.shop.svc.cluster.local"',
    ]));
  test('an older one for the same host', () => {
    const older = dr('old', simple('RANDOM'), at(1));
    assert.deepEqual(ofDr('a', older, dr('a', simple('ROUND_ROBIN'), at(2))), [
      'Accepted False Conflicted: the trafficPolicy of DestinationRule shop/old is older and holds: nothing of it is used',
    ]);
  });
  test('parts that do nothing are named', () => {
    const spec = {
      trafficPolicy: {
        tls: { mode: 'SIMPLE', insecureSkipVerify: true },
        loadBalancer: { simple: 'RANDOM', warmup: { duration: '1s' } },
      },
    };
    assert.match(
      ofDr('a', dr('a', spec))[1] ?? '',
      /PartiallyInvalid True UnsupportedValue: trafficPolicy\.tls\.insecureSkipVerify .*trafficPolicy\.loadBalancer\.warmup with RANDOM is not/,
    );
    assert.equal(
      ofDr('a', dr('a', { trafficPolicy: { tls: { mode: 'ISTIO_MUTUAL' } } })).length,
      1,
    );
  });
  const unreadable: readonly (readonly [unknown, string])[] = [
    [
      { loadBalancer: { warmup: { duration: 'soon' } } },
      'loadBalancer.warmup.duration "soon" is no duration such as 10s',
    ],
    [
      { loadBalancer: { warmup: { duration: 30 } } },
      'loadBalancer.warmup.duration 30 is no duration such as 10s',
    ],
    [{ loadBalancer: { warmup: { aggression: 2 } } }, 'loadBalancer.warmup has no duration'],
    [
      { loadBalancer: { warmup: { duration: '1s', minimumPercent: 200 } } },
      'loadBalancer.warmup.minimumPercent 200 is more than 100',
    ],
    [
      { loadBalancer: { warmup: { duration: '1s', aggression: 0.5 } } },
      'loadBalancer.warmup.aggression 0.5 is less than 1',
    ],
    [
      { connectionPool: { tcp: { tcpKeepalive: { probes: -1 } } } },
      'connectionPool.tcp.tcpKeepalive.probes -1 is less than 0',
    ],
    [
      { connectionPool: { tcp: { maxConnections: 'ten' } } },
      'connectionPool.tcp.maxConnections "ten" is no number',
    ],
    [{ proxyProtocol: { version: 'V3' } }, 'proxyProtocol.version "V3" is none of V1, V2'],
    [{ proxyProtocol: 'V1' }, 'proxyProtocol "V1" is no object'],
    [
      { tls: { mode: 'SIMPEL' } },
      'tls.mode "SIMPEL" is none of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL',
    ],
    [
      { portLevelSettings: [{ retryBudget: { percent: 'a' } }] },
      'portLevelSettings[0].retryBudget.percent "a" is no number',
    ],
  ];
  for (const [trafficPolicy, wanted] of unreadable) {
    test(`K9: a value that cannot be read is told: ${wanted}`, () => {
      assert.deepEqual(ofDr('a', dr('a', { trafficPolicy })), [
        'Accepted True Accepted: Rule was valid',
        `PartiallyInvalid True UnsupportedValue: trafficPolicy.${wanted}`,
      ]);
      const subsets = [{ name: 'v1', labels: {}, trafficPolicy }];
      assert.ok(
        ofDr('a', dr('a', { subsets }))[1]?.endsWith(`: subsets[v1].trafficPolicy.${wanted}`),
      );
    });
  }
  test('a Secret that is not there is told, where a waypoint sends by the rule', () => {
    const tls = { mode: 'SIMPLE', credentialName: 'none' };
    const spec = { trafficPolicy: { tls, portLevelSettings: [{ port: { number: 80 }, tls }] } };
    const fault = 'Secret shop/none of type kubernetes.io/tls not found: nothing is sent';
    assert.equal(
      ofDr('a', dr('a', spec))[1],
      `PartiallyInvalid True UnsupportedValue: trafficPolicy.tls: ${fault}; trafficPolicy.portLevelSettings[0].tls: ${fault}`,
    );
    assert.equal(ofDr('a', dr('a', { ...spec, exportTo: ['other'] })).length, 1);
  });
  test('a VirtualService that holds; shadowed by an older one; by a route', () => {
    assert.deepEqual(ofVs('a', vs('a', one)), ['Accepted True Accepted: Route was valid']);
    assert.deepEqual(ofVs('a', vs('a', one, {}, at(2)), vs('b', one, {}, at(1))), [
      'Accepted False Conflicted: shadowed by VirtualService shop/b',
    ]);
    const route = object('HTTPRoute', 'r', {
      spec: { parentRefs: [{ group: '', kind: 'Service', name: 'web' }] },
    });
    assert.deepEqual(ofVs('a', vs('a', one), route), [
      'Accepted False Conflicted: shadowed by HTTPRoute shop/r',
    ]);
  });
  test('a VirtualService with references that lead nowhere and parts not carried out', () => {
    const all = ofVs('a', vs('a', [{ route: [to('nobody')], odd: { name: 'x' } }]));
    assert.match(all[1] ?? '', /http\[0\]\.odd is not supported: the rule answers 500/);
    assert.match(all[1] ?? '', /destination nobody\.shop\.svc\.cluster\.local not found/);
  });
  const idle: readonly (readonly [object, string])[] = [
    [{ timeout: 'never' }, 'timeout "never" is no duration such as 10s'],
    [
      { retries: { attempts: 2, perTryTimeout: 5 } },
      'retries.perTryTimeout 5 is no duration such as 10s',
    ],
    [
      { retries: { retryOn: '503,reset,connect-failures' } },
      'retries.retryOn "503,reset,connect-failures" is no list of known conditions: "connect-failures"',
    ],
    [{ retries: { backof: '1s' } }, 'retries.backof is not supported'],
    [{ fault: { dely: {} } }, 'fault.dely is not supported'],
    [
      { fault: { delay: { fixedDelay: 'long', percentage: { value: 101 } } } },
      'fault.delay.fixedDelay "long" is no duration such as 10s; http[0].fault.delay.percentage.value 101 is more than 100',
    ],
    [
      { rewrite: { uriRegexRewrite: { rewrite: '/' } } },
      'rewrite.uriRegexRewrite without match is not supported: the rule answers 500',
    ],
    [
      { rewrite: { uri: '/', uriRegexRewrite: { match: '/', rewrite: '/' } } },
      'rewrite.uri beside uriRegexRewrite is not supported: the rule answers 500',
    ],
    [{ rewrite: { uriRegex: {} } }, 'rewrite.uriRegex is not supported: the rule answers 500'],
  ];
  for (const [rule, wanted] of idle) {
    test(`K9: a part of a VirtualService that does nothing is told: ${wanted}`, () => {
      const [accepted, partly] = ofVs('a', vs('a', [{ route: [to('web')], ...rule }]));
      assert.equal(accepted, 'Accepted True Accepted: Route was valid');
      assert.equal(partly, `PartiallyInvalid True UnsupportedValue: http[0].${wanted}`);
    });
  }
  test('K9: a VirtualService whose every part is known says nothing', () => {
    const rule = {
      route: [to('web')],
      timeout: '0s',
      retries: { attempts: 0, retryOn: '5xx, 503', perTryTimeout: '1s', backoff: '25ms' },
      fault: { abort: { httpStatus: 418, percentage: { value: 0.5 } } },
      rewrite: { authority: 'x', uriRegexRewrite: { match: '/', rewrite: '' } },
    };
    assert.equal(ofVs('a', vs('a', [rule])).length, 1);
  });
  test('nothing to say twice', () => {
    const rule = dr('a', simple('RANDOM'));
    const w = world(rule);
    const first = w.gateways.destinationRules.get('shop/a');
    const status = first && destinationRuleStatus(w, first, '2026-01-01T00:00:00Z');
    w.gateways.apply('DestinationRule', 'MODIFIED', { ...rule, status });
    const again = w.gateways.destinationRules.get('shop/a');
    assert.ok(field(status, 'conditions'));
    assert.equal(again && destinationRuleStatus(w, again, 'later'), undefined);
  });
});
