// What a waypoint is told about security: providers of the mesh configuration, CUSTOM policies, rules for tokens with
// their keys (waypoint-l7.md 6.9, 7).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { KubeObject } from '../../core/kube/index.ts';
import { L7Normalization, L7PolicyAction } from '../../core/proto/index.ts';
import { authenticationStatus } from './authentication-status.ts';
import { keySources } from './authentication.ts';
import type { World } from './binding.ts';
import { noMeshConfig, readMeshConfig } from './mesh-config.ts';
import { rateLimitStatus } from './rate-limit-status.ts';
import { providerFault, securityFor } from './security.ts';
import { policiesAtStake } from './targets.ts';
import { testSettings as settings, worldOf } from './testkit.ts';

const targetRefs = [{ kind: 'Service', group: '', name: 'web' }];
const object = (kind: string, name: string, spec: object, meta: object = {}): KubeObject => ({
  kind,
  metadata: { name, namespace: 'shop', uid: name, generation: 1, ...meta },
  spec,
});
const meshConfig = (mesh: string): KubeObject => ({
  kind: 'MeshConfig',
  metadata: { name: 'istio', namespace: 'istio-system' },
  data: { mesh },
});
const providers = `
extensionProviders:
- name: ext-authz
  envoyExtAuthzGrpc: {service: shop/authz.shop.svc.cluster.local, port: 9000, timeout: 2s, failOpen: true}
- name: http
  envoyExtAuthzHttp:
    service: authz.shop.svc.cluster.local
    port: 9000
    pathPrefix: /check
    includeRequestHeadersInCheck: [x-a, '*']
    includeAdditionalHeadersInCheck: {X-Fixed: f}
    includeRequestBodyInCheck: {maxRequestBytes: 100, allowPartialMessage: true}
- name: elsewhere
  envoyExtAuthzHttp: {service: none.shop.svc.cluster.local, port: 1}
- name: bad
  envoyExtAuthzHttp: {service: authz.shop.svc.cluster.local, port: 9000, timeout: soon}
- name: traces
  opentelemetry: {service: x, port: 1}
`;
function world(...objects: readonly KubeObject[]): World {
  const service = (name: string, port: number): KubeObject =>
    object('Service', name, { clusterIP: '10.0.0.9', ports: [{ name: 'http', port }] });
  return worldOf(settings, [service('web', 80), service('authz', 9000), ...objects]);
}
const told = (w: World) => securityFor(w, w.cluster.services.get('shop', 'web'), 'shop/waypoint');

describe('CUSTOM', () => {
  const custom = (provider: string, rules: readonly object[], annotations = {}): KubeObject =>
    object(
      'AuthorizationPolicy',
      `ask-${provider}`,
      { targetRefs, action: 'CUSTOM', provider: { name: provider }, rules },
      { annotations },
    );

  test('its provider goes with it, once', () => {
    const w = world(meshConfig(providers), custom('ext-authz', [{}]), custom('http', [{}]));
    const t = told(w);
    assert.deepEqual(
      t.policies?.map((p) => [p.action, p.provider]),
      [
        [L7PolicyAction.CUSTOM, 'ext-authz'],
        [L7PolicyAction.CUSTOM, 'http'],
      ],
    );
    const [grpc, http] = t.providers ?? [];
    assert.deepEqual(
      [grpc?.namespace, grpc?.hostname, grpc?.port, grpc?.timeoutMs, grpc?.failOpen, grpc?.http],
      ['shop', 'authz.shop.svc.cluster.local', 9000, 2000, true, undefined],
    );
    assert.deepEqual(http?.http?.include, ['x-a']);
    assert.deepEqual(http.http.additional, [{ name: 'x-fixed', value: 'f' }]);
    assert.deepEqual([http.maxBody, http.partialBody], [100, true]);
  });

  for (const name of ['nobody', 'elsewhere', 'bad', 'traces', 'constructor']) {
    test(`L21 provider ${name}: refused, and said so`, () => {
      const w = world(meshConfig(providers), custom(name, [{}]));
      assert.deepEqual(told(w).providers, [{ name, broken: true }]);
      assert.match(providerFault(w, name) ?? '', new RegExp(`^provider "${name}"`));
    });
  }

  test('end users are told apart only after tokens are checked', () => {
    const rules = [
      {
        from: [{ source: { requestPrincipals: ['*'], namespaces: ['a'] } }],
        when: [{ key: 'request.auth.claims[g]', values: ['x'] }],
      },
    ];
    const rule = (w: World) => told(w).policies?.[0]?.rules?.[0];
    const early = rule(world(custom('http', rules)));
    assert.equal(early?.from?.[0]?.requestPrincipals, undefined);
    assert.deepEqual(early?.from?.[0]?.namespaces?.any, ['a']);
    assert.deepEqual(early.when, []);
    const annotation = { 'ambientlite.dev/custom-after-authentication': 'true' };
    const late = rule(world(custom('http', rules, annotation)));
    assert.deepEqual(late?.from?.[0]?.requestPrincipals?.any, ['*']);
    assert.equal(late.when?.length, 1);
  });
});

test('a mesh configuration that cannot be read changes nothing', () => {
  const good = readMeshConfig(meshConfig(providers), noMeshConfig);
  const broken = readMeshConfig(meshConfig('a: [b'), good);
  assert.equal(broken.providers, good.providers);
  assert.match(broken.fault ?? '', /no YAML/);
  const mode = 'pathNormalization: {normalization: MERGE_SLASHES}';
  assert.equal(readMeshConfig(meshConfig(mode), good).normalization, 'MERGE_SLASHES');
  const odd = readMeshConfig(meshConfig(mode.replace('MERGE_SLASHES', 'ALL')), noMeshConfig);
  assert.equal(odd.normalization, undefined);
  assert.match(odd.fault ?? '', /"ALL" is not known/);
});

describe('RequestAuthentication', () => {
  const jwks = JSON.stringify({ keys: [{ kty: 'EC', crv: 'P-256', x: 'x', y: 'y', d: 'secret' }] });
  const ra = (...jwtRules: readonly object[]): KubeObject =>
    object('RequestAuthentication', 'ra', { targetRefs, jwtRules });
  const rulesOf = (o: KubeObject, w = world(o)) => told(w).jwtRules ?? [];
  const statusOf = (o: KubeObject, more: Partial<World> = {}): string => {
    const w = { ...world(o), ...more };
    const p = w.gateways.requestAuthentications.get('shop/ra');
    const made = p && authenticationStatus(w, p, 'now');
    const all = (made as { conditions: { type: string; status: string; message: string }[] })
      .conditions;
    const c = all.find((x) => x.type === 'ambientlite.dev/Accepted');
    return `${c?.status} ${c?.message}`;
  };

  test('keys go with the rule, their private parts do not; sorted by issuer', () => {
    const rules = rulesOf(ra({ issuer: 'b', jwks }, { issuer: 'a', jwks, fromParams: ['t'] }));
    assert.deepEqual(
      rules.map((r) => [r.issuer, r.fromParams]),
      [
        ['a', ['t']],
        ['b', []],
      ],
    );
    assert.doesNotMatch(rules[0]?.jwks ?? '', /secret/);
    assert.match(statusOf(ra({ issuer: 'a', jwks })), /^True/);
  });

  const bad: readonly (readonly [string, object, RegExp])[] = [
    ['no issuer', { jwks }, /issuer is missing/],
    ['both', { issuer: 'a', jwks, jwksUri: 'http://x' }, /exclude each other/],
    ['garbage', { issuer: 'a', jwks: 'x' }, /no JSON/],
    ['another scheme', { issuer: 'a', jwksUri: 'file:///etc/passwd' }, /no URL/],
    ['nowhere to find keys', { issuer: 'a' }, /the issuer is no URL/],
    [
      'a header that frames',
      { issuer: 'a', jwks, outputPayloadToHeader: 'Content-Length' },
      /header/,
    ],
    [
      'a header that is none',
      { issuer: 'a', jwks, fromHeaders: [{ name: 'a b' }] },
      /header "a b"/,
    ],
  ];
  for (const [name, rule, message] of bad) {
    test(`${name}: its tokens are refused, and said so`, () => {
      assert.equal(rulesOf(ra(rule))[0]?.jwks, '');
      assert.match(statusOf(ra(rule)), /^False/);
      assert.match(statusOf(ra(rule)), message);
    });
  }

  test('J9 keys from elsewhere: fetched for all rules that ask; not there: refused', () => {
    const o = ra(
      { issuer: 'https://a', jwksUri: 'https://a/k', timeout: '2s' },
      { issuer: 'https://b' },
    );
    const w = world(o);
    assert.deepEqual(
      [...keySources(w.gateways.requestAuthentications.values())],
      [
        { kind: 'jwks', url: 'https://a/k', timeoutMs: 2000 },
        { kind: 'issuer', url: 'https://b', timeoutMs: 5000 },
      ],
    );
    const fault = { fault: 'it answers 503' };
    assert.match(
      statusOf(o, { keys: () => fault }),
      /^False .*it answers 503: its tokens are refused/,
    );
    const old = { keys: () => ({ ...fault, keys: '{}' }) };
    assert.match(statusOf(o, old), /^True .*older keys are used/);
    assert.equal(rulesOf(o, { ...w, ...old })[0]?.jwks, '{}');
  });
});

describe('RateLimitPolicy', () => {
  const limits = (spec: object): KubeObject =>
    object('RateLimitPolicy', 'rl', { targetRefs, ...spec });
  const statusOf = (o: KubeObject): string => {
    const w = world(o);
    const p = w.gateways.rateLimits.get('shop/rl');
    const made = p && rateLimitStatus(w, p, 'now');
    const all = (made as { conditions: { type: string; status: string; message: string }[] })
      .conditions;
    const c = all.find((x) => x.type === 'ambientlite.dev/Accepted');
    return `${c?.status} ${c?.message}`;
  };

  test('its limits, what they count by, and who counts', () => {
    const o = limits({
      dryRun: true,
      limits: [
        { requests: 10, by: [{ type: 'Identity' }, { type: 'Header', name: 'X-Key' }] },
        { name: 'all', requests: 5, unit: 'Minute', burst: 7, paths: ['/api*'] },
      ],
      shared: { service: 'authz.shop.svc.cluster.local', port: 9000, failureMode: 'Closed' },
    });
    const [first, second] = told(world(o)).rateLimits ?? [];
    assert.deepEqual(
      [first?.policy, first?.name, first?.requests, first?.unitMs, first?.dryRun, first?.by],
      ['shop/rl', 'limit-0', 10, 1000, true, [{ identity: true }, { header: 'x-key' }]],
    );
    assert.deepEqual(first?.shared, {
      namespace: 'shop',
      hostname: 'authz.shop.svc.cluster.local',
      port: 9000,
      timeoutMs: 0,
      failClosed: true,
      domain: 'shop/rl',
    });
    assert.deepEqual([second?.unitMs, second?.burst, second?.paths?.any], [60_000, 7, ['/api*']]);
    assert.match(statusOf(o), /^True/);
  });

  const bad: readonly (readonly [string, object, RegExp])[] = [
    ['no requests', { limits: [{ requests: 0 }] }, /requests must be 1/],
    ['an unknown unit', { limits: [{ requests: 1, unit: 'constructor' }] }, /unit "constructor"/],
    ['an unknown key', { limits: [{ requests: 1, by: [{ type: 'Moon' }] }] }, /type/],
    ['a header without a name', { limits: [{ requests: 1, by: [{ type: 'Header' }] }] }, /name/],
    [
      'nobody who counts',
      { limits: [{ requests: 1 }], shared: { service: 'x', port: 1 } },
      /x with port 1 was not found/,
    ],
  ];
  for (const [name, spec, message] of bad) {
    test(`${name}: said so`, () => assert.match(statusOf(limits(spec)), message));
  }
});

test('the mode of paths goes to every waypoint', () => {
  const mode = (name: string): number | undefined =>
    told(world(meshConfig(`pathNormalization: {normalization: ${name}}`))).pathNormalization;
  assert.equal(told(world()).pathNormalization, L7Normalization.BASE);
  assert.equal(mode('DEFAULT'), L7Normalization.BASE);
  assert.equal(mode('NONE'), L7Normalization.AS_IT_IS);
  assert.equal(mode('DECODE_AND_MERGE_SLASHES'), L7Normalization.DECODE_AND_MERGE_SLASHES);
});

test('AUDIT is sent to be told of, and keeps nobody from going around its waypoint', () => {
  const audit = object('AuthorizationPolicy', 'watch', {
    targetRefs,
    action: 'AUDIT',
    rules: [{}],
  });
  const w = world(audit);
  assert.deepEqual(
    told(w).policies?.map((p) => [p.key, p.action]),
    [['shop/watch', L7PolicyAction.AUDIT]],
  );
  assert.equal(policiesAtStake(w, w.cluster.services.get('shop', 'web'), 'shop/waypoint'), false);
});

describe('plugins', () => {
  const set = (
    list: string,
    files: Record<string, string> = {},
    namespace = 'shop',
  ): KubeObject => ({
    kind: 'PluginSet',
    metadata: { name: 'waypoint-plugins', namespace },
    data: { 'plugins.yaml': list, ...files },
  });
  const web = 'targetRefs: [{kind: Service, group: "", name: web}]';
  const faultsOf = (w: World): string =>
    [...w.gateways.plugins.values()].flatMap((p) => p.faults).join('; ');

  test('in the order written, the gateway’s among them, to whom they are attached', () => {
    const w = world(
      set(
        `- {name: b, file: other.ts, ${web}, timeout: 50ms, failureMode: Open}
- {name: elsewhere, targetRefs: [{kind: Service, group: "", name: authz}]}
- {name: a, targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: waypoint}]}`,
        { 'other.ts': 'export default {}', 'a.ts': 'A', 'elsewhere.ts': 'E' },
      ),
    );
    assert.deepEqual(told(w).plugins, [
      { name: 'shop/b', source: 'export default {}', timeoutMs: 50, failOpen: true },
      { name: 'shop/a', source: 'A', timeoutMs: 0, failOpen: false },
    ]);
    assert.equal(faultsOf(w), '');
  });

  test('what is wrong is told, and fails closed', () => {
    const list = `- {name: gone, ${web}}
- {name: Bad Name, ${web}}
- {name: long, ${web}}
- {name: odd, ${web}, failureMode: Perhaps, timeout: 1h, sandbox: none}
- {name: odd, ${web}}
- {name: loose}`;
    const w = world(set(list, { 'long.ts': 'x'.repeat(70_000), 'odd.ts': 'O', 'loose.ts': 'L' }));
    assert.deepEqual(
      told(w).plugins?.map((p) => [p.name, p.source, p.timeoutMs, p.failOpen]),
      [
        ['shop/gone', '', 0, false],
        ['shop/unusable-2', '', 0, false],
        ['shop/long', '', 0, false],
        ['shop/odd', 'O', 0, false],
        ['shop/unusable-5', '', 0, false],
      ],
    );
    for (const said of [
      'gone.ts is missing',
      'DNS label',
      'longer than',
      'failureMode',
      'timeout',
      'sandbox is not known',
      'odd is given twice',
      'attached to nothing',
    ]) {
      assert.ok(faultsOf(w).includes(said), said);
    }
  });

  test('more than sixteen: what is left over is not run, and fails as its authors said', () => {
    const many = (more: string): string =>
      Array.from({ length: 16 }, (_, i) => `- {name: p${i}, ${web}}\n`).join('') + more;
    const last = (more: string) => {
      const w = world(set(many(more), { 'late.ts': 'L' }));
      const { plugins = [] } = told(w);
      return [
        plugins.length,
        plugins.at(-1)?.name,
        plugins.at(-1)?.source,
        plugins.at(-1)?.failOpen,
      ];
    };
    assert.deepEqual(last(`- {name: late, ${web}}`), [17, 'shop/unusable-rest', '', false]);
    assert.equal(last(`- {name: late, ${web}, failureMode: Open}`)[0], 16);
    assert.equal(last('')[0], 16);
  });

  test('a list that cannot be read changes nothing', () => {
    const w = world(set(`- {name: a, ${web}}`, { 'a.ts': 'A' }));
    for (const bad of ['{', 'name: a', '', '- [']) {
      w.gateways.apply('PluginSet', 'MODIFIED', set(bad));
      assert.equal(told(w).plugins?.length, 1, bad);
      assert.match(faultsOf(w), /is no list/);
    }
    w.gateways.apply('PluginSet', 'DELETED', set(''));
    assert.deepEqual(told(w).plugins, []);
  });

  test('a list that was never read, as after a restart: everybody in its namespace fails closed', () => {
    for (const bad of ['{', '']) {
      const w = world(set(bad));
      assert.deepEqual(
        told(w).plugins?.map((p) => [p.name, p.source, p.failOpen]),
        [['shop/unreadable', '', false]],
      );
      assert.match(faultsOf(w), /all requests are refused/);
      w.gateways.apply('PluginSet', 'MODIFIED', set('[]'));
      assert.deepEqual(told(w).plugins, []);
    }
    assert.deepEqual(told(world(set('{', {}, 'elsewhere'))).plugins, []);
    assert.equal(told(world(set('{', {}, 'istio-system'))).plugins?.length, 1);
  });

  test('a service whose plugin fails closed is at stake when its waypoint cannot be used', () => {
    const mode = (m: string) => {
      const w = world(set(`- {name: a, ${web}, failureMode: ${m}}`, { 'a.ts': 'A' }));
      return policiesAtStake(w, w.cluster.services.get('shop', 'web'), 'shop/waypoint');
    };
    assert.deepEqual([mode('Closed'), mode('Open')], [true, false]);
  });
});
