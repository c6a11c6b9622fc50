// The tutorial's L7 steps, as typed: a waypoint by command, policy by path and method, a canary by weights, and
// back to L4. Real processes, real capture, real TLS.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { exportJWK, SignJWT } from 'jose';
import { createCa } from '../../certs/index.ts';
import { type Resource, resources } from '../../core/kube/index.ts';
import { systemClock } from '../../core/runtime/index.ts';
import { startSandbox, type TestSandbox } from '../kit/sandbox.ts';

const page = 'http://productpage:9080/productpage';

const ztunnelPolicy = (...accounts: string[]): string => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: productpage-ztunnel}
spec:
  selector: {matchLabels: {app: productpage}}
  action: ALLOW
  rules:
  - from:
    - source:
        principals: [${accounts.map((a) => `cluster.local/ns/default/sa/${a}`).join(', ')}]
`;
const waypointPolicy = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: productpage-waypoint}
spec:
  targetRefs: [{kind: Service, group: "", name: productpage}]
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/curl]}}]
    to: [{operation: {methods: [GET]}}]
`;
const canary = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews, port: 9080}]
  rules:
  - backendRefs:
    - {name: reviews-v1, port: 9080, weight: 90}
    - {name: reviews-v2, port: 9080, weight: 10}
`;

const tokenRules = (issuer: string, jwks: string): string => `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: details}
spec:
  targetRefs: [{kind: Service, group: "", name: details}]
  jwtRules: [{issuer: ${issuer}, jwks: '${jwks}'}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: details-users}
spec:
  targetRefs: [{kind: Service, group: "", name: details}]
  rules:
  - from: [{source: {requestPrincipals: [${issuer}/anna]}}]
  - to: [{operation: {paths: [/health]}}]
`;

const denyHealth = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-health}
spec:
  targetRefs: [{kind: Service, group: "", name: details}]
  action: DENY
  rules:
  - to: [{operation: {paths: [/health]}}]
`;

interface Conditions {
  readonly conditions?: readonly { readonly type: string; readonly status: string }[];
}

describe('waypoint', () => {
  let s: TestSandbox;
  const curl = async (...args: string[]): Promise<{ code: number; out: string }> =>
    s.world.exec('deploy/curl', ['curl', '-sS', '--max-time', '5', ...args]);
  const conditionsOf = (status: unknown): Record<string, string> =>
    Object.fromEntries(
      ((status ?? {}) as Conditions).conditions?.map((c) => [c.type, c.status]) ?? [],
    );

  before(async () => {
    s = await startSandbox();
    await s.world.applyFile('samples/bookinfo/platform/kube/bookinfo.yaml');
    await s.world.applyFile('samples/bookinfo/platform/kube/bookinfo-versions.yaml');
    await s.world.applyFile('samples/curl/curl.yaml');
    await s.world.available('default', 30_000);
    await s.world.label('default', { 'istio.io/dataplane-mode': 'ambient' });
    await s.world.until('all enrolled', 30_000, async () => {
      const { pods } = await s.world.status();
      return pods.filter((p) => p.namespace === 'default').every((p) => p.enrolled);
    });
    await s.world.applyText(ztunnelPolicy('curl'), 'l4');
  });
  after(() => s.stop());

  /** kubectl as typed, which must succeed. */
  const typed = async (command: string): Promise<string> => {
    const ran = await s.run('kubectl', ...command.split(' '));
    assert.equal(ran.code, 0, ran.err);
    return ran.out;
  };

  /** A whole line as typed. */
  const shell = (line: string) => s.run('sh', '-c', line);

  test('4 5 6 7 11 a gateway from outside: applied, annotated, shown, forwarded to, and let in by name', async () => {
    const folder = join(import.meta.dirname, '../../samples/bookinfo');
    await typed(`apply -f ${folder}/gateway-api/bookinfo-gateway.yaml`);
    await typed(
      'annotate gateway bookinfo-gateway networking.istio.io/service-type=ClusterIP --namespace=default',
    );
    const row =
      /^bookinfo-gateway +istio +bookinfo-gateway-istio\.default\.svc\.cluster\.local +True +/m;
    await s.world.until('the gateway', 30_000, async () => row.test(await typed('get gateway')));
    const service = await s.world.kube.get(resources.services, 'default', 'bookinfo-gateway-istio');
    assert.equal((service?.['spec'] as { type: string } | undefined)?.type, 'ClusterIP');
    const forward = spawn('kubectl', ['port-forward', 'svc/bookinfo-gateway-istio', ':80'], {
      env: { ...process.env, KUBECONFIG: join(s.dir, 'kubeconfig') },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    try {
      let told = '';
      forward.stdout.on('data', (chunk: Buffer) => (told += chunk.toString()));
      const port = await s.world.until('the forwarding', 30_000, () =>
        Promise.resolve(/127\.0\.0\.1:(\d+)/.exec(told)?.[1]),
      );
      const get = (path: string): Promise<Response> => fetch(`http://localhost:${port}${path}`);
      // Only curl is let in: the gateway has an identity of its own, and no way around it.
      await s.world.until(
        'a refusal',
        30_000,
        async () => (await get('/productpage')).status === 503,
      );
      await s.world.applyText(ztunnelPolicy('curl', 'bookinfo-gateway-istio'), 'l4');
      const shown = await s.world.until('the page', 30_000, async () => {
        const answer = await get('/productpage');
        return answer.status === 200 ? answer.text() : undefined;
      });
      assert.match(shown, /<title>Simple Bookstore App<\/title>/);
      assert.equal((await get('/health')).status, 404);
    } finally {
      forward.kill();
    }
    await typed(`delete -f ${folder}/gateway-api/bookinfo-gateway.yaml`);
  });

  test('11 12 as typed: the policy is accepted, a caller it does not name gets exit code 56', async () => {
    await s.world.applyText(ztunnelPolicy('bookinfo-gateway-istio'), 'l4');
    await s.world.until('ZtunnelAccepted', 30_000, async () => {
      const p = await s.world.kube.get(
        resources.authorizationPolicies,
        'default',
        'productpage-ztunnel',
      );
      return conditionsOf(p?.['status'])['ZtunnelAccepted'] === 'True';
    });
    const refused = await s.world.until('a reset', 30_000, async () => {
      const r = await shell(
        'kubectl exec deploy/curl -- curl -s "http://productpage:9080/productpage"',
      );
      return r.code === 0 ? undefined : r;
    });
    assert.equal(refused.code, 56);
    assert.match(refused.err, /command terminated with exit code 56/);
  });

  test('M29 13 14 apply, wait, enrol: the Gateway is programmed and the services are bound', async () => {
    const applied = await s.ctl('waypoint', 'apply', '--enroll-namespace', '--wait');
    assert.equal(applied.code, 0, applied.err);
    assert.equal(
      applied.out,
      '✅ waypoint default/waypoint applied\n✅ waypoint default/waypoint is ready!\n' +
        '✅ namespace default labeled with "istio.io/use-waypoint: waypoint"\n',
    );
    const listed = await s.ctl('waypoint', 'list');
    assert.match(
      listed.out,
      /^NAME +REVISION +TRAFFIC TYPE +PROGRAMMED\s*\nwaypoint +\S+ +none +True\s*$/,
    );
    const shown = await s.run('kubectl', 'get', 'gtw', 'waypoint');
    assert.match(shown.out, /^NAME +CLASS +ADDRESS +PROGRAMMED +AGE\n/);
    assert.match(shown.out, /waypoint +istio-waypoint +127\.[\d.]+ +True +/);
    await s.world.until('services with a waypoint', 30_000, async () => {
      const { out } = await s.ctl('ztunnel-config', 'services');
      return /default +productpage +\S+ +waypoint /.test(out);
    });
    const service = await s.world.kube.get(resources.services, 'default', 'productpage');
    assert.equal(conditionsOf(service?.['status'])['istio.io/WaypointBound'], 'True');
  });

  test('15-19 a policy on methods: GET answers, DELETE and others are told RBAC: access denied', async () => {
    await s.world.applyText(waypointPolicy, 'l7');
    await s.world.applyText(ztunnelPolicy('curl', 'waypoint'), 'l4');
    await s.world.until('WaypointAccepted', 30_000, async () => {
      const p = await s.world.kube.get(
        resources.authorizationPolicies,
        'default',
        'productpage-waypoint',
      );
      return conditionsOf(p?.['status'])['WaypointAccepted'] === 'True';
    });
    const denied = await s.world.until('a refusal', 30_000, async () => {
      const r = await curl(page, '-X', 'DELETE', '-w', ' %{http_code}');
      return r.code === 0 && r.out.endsWith('403') ? r : undefined;
    });
    assert.equal(denied.out, 'RBAC: access denied 403');
    const other = await s.world.exec('deploy/reviews-v1', ['curl', '-s', '--max-time', '5', page]);
    assert.equal(other.out, 'RBAC: access denied');
    const allowed = await curl(page);
    assert.equal(
      /<title>.*<\/title>/.exec(allowed.out)?.[0],
      '<title>Simple Bookstore App</title>',
    );
    const rows: readonly (readonly [string, string])[] = [
      [
        'kubectl exec deploy/curl -- curl -s "http://productpage:9080/productpage" -X DELETE',
        'RBAC: access denied',
      ],
      [
        'kubectl exec deploy/reviews-v1 -- curl -s http://productpage:9080/productpage',
        'RBAC: access denied',
      ],
      [
        'kubectl exec deploy/curl -- curl -s http://productpage:9080/productpage | grep -o "<title>.*</title>"',
        '<title>Simple Bookstore App</title>\n',
      ],
    ];
    for (const [command, shown] of rows) {
      const ran = await shell(command);
      assert.equal(ran.out, shown, command);
      assert.equal(ran.code, 0, command);
    }
  });

  test('verify: behind a waypoint both legs are proven, the second by the waypoint itself', async () => {
    const r = await s.ctl('verify', 'mtls', 'deploy/curl', 'svc/productpage', '-o', 'json');
    assert.equal(r.code, 0, r.out + r.err);
    const report = JSON.parse(r.out) as {
      legs: { from: string; to: string; peer: { identity: string }; local: { identity: string } }[];
      policies: { name: string; scope: string }[];
      proofs: { name: string; ok: boolean | null; text: string }[];
    };
    const of = (account: string): string => `spiffe://cluster.local/ns/default/sa/${account}`;
    assert.deepEqual(
      report.legs.map((l) => [l.local.identity, l.peer.identity]),
      [
        [of('curl'), of('waypoint')],
        [of('waypoint'), of('bookinfo-productpage')],
      ],
    );
    assert.match(report.proofs[1]?.text ?? '', /^via waypoint waypoint-.* → productpage-/);
    assert.deepEqual(
      report.proofs.filter((p) => p.ok !== true).map((p) => p.name),
      ['plaintext-refused'].filter(() => report.proofs[5]?.ok === false),
    );
    assert.ok(
      report.policies.some(
        (p) => p.name === 'default/productpage-waypoint' && p.scope === 'Waypoint',
      ),
    );
  });

  test('20 21 a route by weights: about nine in ten, no v3, and its status says so', async () => {
    await s.world.applyText(canary, 'route');
    const route = await s.world.until('route status', 30_000, async () => {
      const { items } = await s.world.kube.list(resources.httpRoutes, 'default');
      const [first] = ((items[0]?.['status'] as { parents?: unknown[] } | undefined)?.parents ??
        []) as unknown[];
      return first;
    });
    assert.deepEqual(conditionsOf(route), {
      Accepted: 'True',
      ResolvedRefs: 'True',
      ResolvedWaypoints: 'True',
    });
    const command = `for i in $(seq 1 100); do curl -s --max-time 3 http://reviews:9080/reviews/0 | grep -o 'reviews-v[0-9]' | head -1; done`;
    const counted = await s.world.until('only v1 and v2', 30_000, async () => {
      const probe = await s.world.exec('deploy/curl', ['sh', '-c', command.replace('100', '10')]);
      if (probe.out.includes('v3')) return undefined;
      return s.world.exec('deploy/curl', ['sh', '-c', command]);
    });
    const lines = counted.out.trim().split('\n');
    assert.equal(lines.length, 100);
    const v1 = lines.filter((l) => l === 'reviews-v1').length;
    const v2 = lines.filter((l) => l === 'reviews-v2').length;
    assert.equal(v1 + v2, 100);
    // Six standard deviations of a binomial with n = 100, p = 0.1.
    assert.ok(v2 <= 28, `${v2} of 100 went to v2`);
  });

  test('F32 bound to a waypoint that is not there: refused while a policy would be skipped', async () => {
    const details = ['http://details:9080/details/0', '-o', '/dev/null', '-w', '%{http_code}'];
    const bind = (labels: object, annotations: object): Promise<unknown> =>
      s.world.kube.patch(
        resources.services,
        'default',
        'details',
        { metadata: { labels, annotations } },
        { kind: 'merge' },
      );
    const answer = (what: string, code: number, out: string): Promise<unknown> =>
      s.world.until(what, 30_000, async () => {
        const r = await curl(...details);
        return r.code === code && r.out === out;
      });
    const policy = waypointPolicy.replaceAll('productpage', 'details');
    await s.world.applyText(policy, 'details policy');
    await bind({ 'istio.io/use-waypoint': 'nowhere' }, {});
    await answer('a reset', 56, '000');
    const shown = await s.ctl('waypoint', 'status');
    assert.match(
      shown.out,
      /^nowhere +False +Programmed +Missing +no such Gateway; asked for by default\/details$/m,
    );
    const explained = await s.ctl('explain', 'deploy/curl', 'svc/details');
    assert.equal(explained.code, 5, explained.err);
    assert.match(explained.out, /note +WaypointIsNotReady: .* every proxy refuses/);
    await bind({}, { 'ambientlite.dev/waypoint-fail-open': 'true' });
    await answer('the way around it', 0, '200');
    await s.world.kube.remove(resources.authorizationPolicies, 'default', 'details-waypoint');
    await bind({ 'istio.io/use-waypoint': null }, { 'ambientlite.dev/waypoint-fail-open': null });
  });

  test('M12 token required: none, good, other subject, wrong issuer, expired, exempt path', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const issuer = 'https://issuer.example';
    const sign = (claims: object): Promise<string> =>
      new SignJWT({ iss: issuer, sub: 'anna', ...claims })
        .setProtectedHeader({ alg: 'ES256' })
        .sign(privateKey);
    const jwks = JSON.stringify({ keys: [await exportJWK(publicKey)] });
    await s.world.applyText(tokenRules(issuer, jwks), 'tokens');
    await s.world.until('its status', 30_000, async () => {
      const o = await s.world.kube.get(resources.requestAuthentications, 'default', 'details');
      const now = conditionsOf(o?.['status']);
      return now['WaypointAccepted'] === 'True' && now['ambientlite.dev/Accepted'] === 'True';
    });
    const rows: readonly (readonly [string, string, string])[] = [
      ['', '/details/0', '403 RBAC: access denied'],
      [await sign({ sub: 'bert' }), '/details/0', '403 RBAC: access denied'],
      [await sign({ iss: 'https://other' }), '/details/0', '401 Jwt issuer is not configured'],
      [await sign({ exp: 1 }), '/details/0', '401 Jwt is expired'],
      ['', '/health', '200'],
      [await sign({}), '/details/0', '200'],
    ];
    for (const [token, path, expected] of rows) {
      const auth = token === '' ? [] : ['-H', `Authorization: Bearer ${token}`];
      await s.world.until(expected, 30_000, async () => {
        const { out } = await curl(`http://details:9080${path}`, ...auth, '-w', '\n%{http_code}');
        const cut = out.lastIndexOf('\n');
        const told = `${out.slice(cut + 1)} ${out.slice(0, cut)}`;
        return expected === '200' ? told.startsWith('200 ') : told === expected;
      });
    }
    await toolsAgree(issuer);
    await s.world.kube.remove(resources.requestAuthentications, 'default', 'details');
    await s.world.kube.remove(resources.authorizationPolicies, 'default', 'details-users');
  });

  /** explain, authz and describe say of the policies above what the rows above have met. */
  async function toolsAgree(issuer: string): Promise<void> {
    const anna = JSON.stringify({ iss: issuer, sub: 'anna' });
    const asked: readonly (readonly [readonly string[], number, RegExp])[] = [
      [['--path', '/details/0'], 5, /verdict +403: no ALLOW policy allows it/],
      [['--path', '/health'], 0, /details-users {2}ALLOW: rule 2 matches {2}← decided/],
      [['--path', '/details/0', '--claims', anna], 0, /details-users rule 1/],
    ];
    for (const [args, code, said] of asked) {
      const ran = await s.ctl('explain', 'deploy/curl', 'svc/details', ...args);
      assert.equal(ran.code, code, ran.out + ran.err);
      assert.match(ran.out, said);
    }
    const check = await s.ctl('authz', 'check', 'svc/details', '--path', '/health', '-o', 'json');
    const rows = JSON.parse(check.out) as { where: string; source: string; allowed: boolean }[];
    assert.ok(
      rows.some((r) => r.where.startsWith('waypoint ') && r.source.endsWith('/curl') && r.allowed),
      check.out,
    );
    const described = await s.ctl('describe', 'service', 'details');
    assert.match(described.out, /At waypoint .*: default\/details-users {2}ALLOW, 2 rules/);
    const file = join(s.dir, 'deny-health.yaml');
    writeFileSync(file, denyHealth);
    const simulated = await s.ctl('authz', 'simulate', '-f', file);
    assert.equal(simulated.code, 5, simulated.out + simulated.err);
    assert.match(
      simulated.out,
      /GET \/health .* allowed → refused +default\/no-health rule 1 at waypoint/,
    );
  }

  describe('docs/security', () => {
    const root = join(import.meta.dirname, '../..');
    const examples = (page: string): string[] => {
      const text = readFileSync(join(root, 'docs/security', page), 'utf8');
      return [...text.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map((m) => m[1] ?? '');
    };
    const answers = (path: string, code: string, ...more: string[]): Promise<unknown> =>
      s.world.until(`${path} ${code}`, 30_000, async () => {
        const url = `http://details:9080${path}`;
        const r = await curl(url, ...more, '-o', '/dev/null', '-w', '%{http_code}');
        return r.out === code;
      });
    const accepted = (resource: Resource, name: string): Promise<unknown> =>
      s.world.until(`${name} accepted`, 30_000, async () => {
        const o = await s.world.kube.get(resource, 'default', name);
        const now = conditionsOf(o?.['status']);
        return now['WaypointAccepted'] === 'True' && now['ambientlite.dev/Accepted'] !== 'False';
      });

    test('end-users.md', async () => {
      for (const yaml of examples('end-users.md')) await s.world.applyText(yaml, 'users');
      await accepted(resources.requestAuthentications, 'details');
      const bearer = (file: string): string => {
        const token = readFileSync(join(root, 'samples/security', file), 'utf8').trim();
        return `Authorization: Bearer ${token}`;
      };
      await answers('/details/0', '403');
      await answers('/details/0', '200', '-H', bearer('demo.jwt'));
      await answers('/details/0', '403', '-H', bearer('guest.jwt'));
      await answers('/details/0', '401', '-H', `${bearer('demo.jwt')}x`);
      await answers('/health', '200');
      await s.world.kube.remove(resources.requestAuthentications, 'default', 'details');
      await s.world.kube.remove(resources.authorizationPolicies, 'default', 'details-staff');
      await answers('/details/0', '200');
    });

    test('external-authorization.md, with ratings as the authorizer', async () => {
      for (const yaml of examples('external-authorization.md')) {
        const here = yaml.replace('authorizer.default', 'ratings.default').replace('9000', '9080');
        await s.world.applyText(here, 'ask');
      }
      await accepted(resources.authorizationPolicies, 'details-ask');
      // It knows /health, and of /details nothing.
      await answers('/details/0', '404');
      await answers('/health', '200');
      await s.world.kube.remove(resources.configMaps, 'istio-system', 'istio');
      await answers('/health', '403');
      await s.world.kube.remove(resources.authorizationPolicies, 'default', 'details-ask');
      await answers('/details/0', '200');
    });

    test('rate-limits.md', async () => {
      for (const yaml of examples('rate-limits.md')) await s.world.applyText(yaml, 'limits');
      for (const name of ['details', 'details-together'])
        await accepted(resources.rateLimitPolicies, name);
      await answers('/details/0', '429');
      const { out } = await curl('http://details:9080/details/0', '-D', '-');
      assert.match(out, /^ratelimit-policy: "each-caller";q=10;w=3600\r$/m);
      assert.match(out, /local_rate_limited$/);
      for (const name of ['details', 'details-together'])
        await s.world.kube.remove(resources.rateLimitPolicies, 'default', name);
      await answers('/details/0', '200');
    });

    test('plugins.md', async () => {
      for (const yaml of examples('plugins.md')) await s.world.applyText(yaml, 'plugins');
      await answers('/details/0', '403');
      const refused = await curl('http://details:9080/details/0');
      assert.match(refused.out, /^ask at the office$/m);
      const open = await curl('http://details:9080/health', '-D', '-');
      assert.match(open.out, /^x-office: open\r$/m);
      const insider = ['curl', '-sS', 'http://details:9080/details/0'];
      const { out } = await s.world.exec('deploy/productpage-v1', insider);
      assert.match(out, /"author"/);
      await s.world.kube.remove(resources.configMaps, 'default', 'waypoint-plugins');
      await answers('/details/0', '200');
    });
  });

  const details = 'http://details:9080/details/0';
  // One after the other: while nobody tells of new endpoints, old ones must stay.
  test('M18 egress: http://api.example by name, through the waypoint, which judges it and speaks TLS to the server', async () => {
    const ca = await createCa({ trustDomain: 'outside.example', clock: systemClock });
    const made = await ca.signServer({ dns: ['api.example'], ips: [], ttlSeconds: 3600 });
    const pair = { cert: made.chainPem, key: made.keyPem };
    const heard: (string | undefined)[] = [];
    const server = createServer(pair, (req, res) => {
      heard.push(`${(req.socket as TLSSocket).servername} ${req.headers.host}`);
      res.end('from outside');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const b64 = (text: string): string => Buffer.from(text).toString('base64');
    await s.world.applyText(
      `
apiVersion: v1
kind: Secret
metadata: {name: api-roots}
type: kubernetes.io/tls
data: {ca.crt: ${b64(made.rootPem)}, tls.crt: ${b64(pair.cert)}, tls.key: ${b64(pair.key)}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, labels: {istio.io/use-waypoint: waypoint}}
spec:
  hosts: [api.example]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: ${port}}]
  endpoints: [{address: localhost}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api}
spec:
  host: api.example
  trafficPolicy: {tls: {mode: SIMPLE, credentialName: api-roots}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: api}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: api}]
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/curl]}}]
    to: [{operation: {methods: [GET]}}]
`,
      'egress',
    );
    const call = (...args: string[]) =>
      curl('http://api.example/', '-w', ' %{http_code}', ...args).then((r) => r.out);
    try {
      await s.world.until('an answer from outside', 30_000, async () => {
        return (await call()) === 'from outside 200';
      });
      assert.equal(heard.at(-1), 'api.example api.example');
      const { length } = heard;
      assert.match(await call('-X', 'POST'), /RBAC: access denied 403$/);
      assert.equal(heard.length, length);
      // Somebody else at its place: its certificate is not taken.
      const other = await createCa({ trustDomain: 'else.example', clock: systemClock });
      const wrong = await other.signServer({ dns: ['api.example'], ips: [], ttlSeconds: 3600 });
      server.setSecureContext({ cert: wrong.chainPem, key: wrong.keyPem });
      server.closeAllConnections();
      assert.match(await call(), / 503$/);
      assert.equal(heard.length, length);
    } finally {
      server.close();
      server.closeAllConnections();
      for (const [resource, name] of [
        [resources.authorizationPolicies, 'api'],
        [resources.destinationRules, 'api'],
        [resources.serviceEntries, 'api'],
        [resources.secrets, 'api-roots'],
      ] as const)
        await s.world.kube.remove(resource, 'default', name);
    }
  });

  test('an endpoint that answers 503 is ejected, shown by explain and metrics, and comes back', async () => {
    const part = (name: string): string => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: shaky-${name}}
spec:
  selector: {matchLabels: {app: shaky, part: ${name}}}
  template:
    metadata: {labels: {app: shaky, part: ${name}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: app
        image: node
        command: [node, -e]
        args:
        - |
          let status = 200;
          require('node:http').createServer((req, res) => {
            if (req.method === 'PUT') status = Number(req.url.slice(1));
            else res.statusCode = status;
            res.end('${name} ');
          }).listen(8080);
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: shaky-${name}}
spec:
  selector: {app: shaky, part: ${name}}
  ports: [{name: http, port: 80, targetPort: 8080}]
`;
    const both = `
apiVersion: v1
kind: Service
metadata: {name: shaky}
spec:
  selector: {app: shaky}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shaky}
spec:
  host: shaky
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    outlierDetection:
      consecutive5xxErrors: 2
      interval: 1s
      baseEjectionTime: 2s
      maxEjectionPercent: 50
`;
    await s.world.applyText([part('a'), part('b'), both].join('---'), 'shaky');
    const set = async (status: number): Promise<boolean> =>
      (await curl('-f', '-X', 'PUT', `http://shaky-b/${status}`)).code === 0;
    const seen = async (): Promise<string> => {
      const line = 'for i in 1 2 3 4 5 6; do curl -s -w "%{http_code} " http://shaky/; done';
      return (await s.world.exec('deploy/curl', ['sh', '-c', line])).out;
    };
    const explained = async (): Promise<string> =>
      (await s.ctl('explain', 'deploy/curl', 'shaky:80')).out;
    await s.world.until('both', 30_000, async () => {
      const all = await seen();
      return all.includes('a 200') && all.includes('b 200');
    });
    assert.ok(await set(503));
    await s.world.until('the ejection', 30_000, async () => {
      await seen();
      return /shaky-b-\S+.*ejected by .*back in \d+ s/.test(await explained());
    });
    const { items } = await s.world.kube.list(resources.pods, 'default');
    const proxy = items.find((i) => i.metadata.name.startsWith('waypoint-'));
    assert.ok(proxy);
    const { podIP } = proxy['status'] as { podIP: string };
    const metrics = await (await fetch(`http://${podIP}:15020/metrics`)).text();
    assert.match(
      metrics,
      /^ambient_waypoint_ejections_total\{.*shaky\.default.*after="5xx".*\} [1-9]/m,
    );
    assert.ok(await set(200), 'its own service knows nothing of it');
    await s.world.until('its return', 30_000, async () => (await seen()).includes('b 200'));
    assert.doesNotMatch(await explained(), /ejected/);
  });

  const restarts = [
    ['default', 'waypoint', page, 'M5 '],
    ['default', 'details-v1', details, 'M24 '],
    ['istio-system', 'istiod', details, ''],
  ] as const;
  for (const [namespace, name, url, row] of restarts) {
    test(`${row}a rolling restart of ${name} under a request every 50 ms: none fails`, async () => {
      const pods = async (): Promise<string[]> => {
        const { items } = await s.world.kube.list(resources.pods, namespace);
        return items.map((p) => p.metadata.name).filter((n) => n.startsWith(`${name}-`));
      };
      const old = await pods();
      const loop = await s.world.loop('deploy/curl', url);
      const answered = (n: number): Promise<unknown> => {
        const wanted = loop.ok + n;
        return s.world.until('answers', 30_000, () => Promise.resolve(loop.ok > wanted));
      };
      await answered(10);
      const ran = await s.run('kubectl', '-n', namespace, 'rollout', 'restart', `deploy/${name}`);
      assert.equal(ran.code, 0, ran.err);
      await s.world.until('the old ones to go', 60_000, async () => {
        const now = await pods();
        return now.length > 0 && !now.some((n) => old.includes(n));
      });
      await answered(20);
      loop.stop();
      assert.deepEqual(loop.failed, []);
    });
  }

  test('docs/waypoint.md: every example is accepted whole, every command runs, and they do as told', async () => {
    const text = readFileSync(join(import.meta.dirname, '../../docs/waypoint.md'), 'utf8');
    const blocks = (language: string): string[] =>
      [...text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
        .filter((m) => m[1] === language)
        .map((m) => m[2] ?? '');
    const examples = blocks('yaml');
    assert.ok(examples.length >= 4);
    for (const [i, yaml] of examples.entries()) await s.world.applyText(yaml, `example ${i}`);
    const kinds: Readonly<Record<string, Resource>> = {
      Gateway: resources.gateways,
      HTTPRoute: resources.httpRoutes,
      DestinationRule: resources.destinationRules,
      VirtualService: resources.virtualServices,
    };
    for (const yaml of examples) {
      const [kind = '', name = ''] = [/^kind: (\w+)/m, /name: ([\w-]+)/].map(
        (r) => r.exec(yaml)?.[1] ?? '',
      );
      const resource = kinds[kind];
      assert.ok(resource, kind);
      await s.world.until(`${kind} ${name} accepted`, 30_000, async () => {
        const object = await s.world.kube.get(resource, 'default', name);
        const status = (object?.['status'] ?? {}) as { parents?: unknown[] };
        const found = conditionsOf(status.parents?.[0] ?? status);
        assert.equal(found['PartiallyInvalid'], undefined, `${kind} ${name}`);
        return found['Accepted'] === 'True';
      });
    }
    for (const resource of [resources.horizontalPodAutoscalers, resources.podDisruptionBudgets]) {
      await s.world.until(`its ${resource.kind}`, 30_000, async () => {
        const made = await s.world.kube.get(resource, 'default', 'waypoint');
        return made?.metadata.ownerReferences?.[0]?.kind === 'Gateway';
      });
    }
    for (const line of blocks('sh').join('').trim().split('\n')) {
      const [program = '', ...args] = line.split(' ');
      const ran = program === 'ambientctl' ? await s.ctl(...args) : await s.run(program, ...args);
      assert.equal(ran.code, 0, `${line}: ${ran.err}`);
    }
    const ratings = (path: string, ...more: string[]): Promise<{ out: string }> =>
      curl(`http://ratings:9080${path}`, '-w', ' %{http_code}', ...more);
    await s.world.until('the fault', 30_000, async () => {
      const { out } = await ratings('/ratings/0', '-H', 'x-test: abort');
      return out === 'fault filter abort 418';
    });
    assert.match(
      (await ratings('/ratings/0', '-H', 'x-test: abort', '-H', 'x-safe: 1')).out,
      / 200$/,
    );
    assert.match((await ratings('/old/0')).out, / 200$/);
    assert.equal((await ratings('/closed')).out, 'closed for today 503');
    const tester = await curl('http://reviews:9080/reviews/0', '-H', 'x-tester: yes');
    assert.match(tester.out, /reviews-v3/);
    const visit = await curl(page, '-o', '/dev/null', '-D', '-');
    assert.match(visit.out, /set-cookie: where="[0-9a-z]+\.[0-9a-z]+"; Path=\/; HttpOnly/i);
    for (const yaml of examples) {
      const [kind = '', name = ''] = [/^kind: (\w+)/m, /name: ([\w-]+)/].map(
        (r) => r.exec(yaml)?.[1] ?? '',
      );
      const resource = kinds[kind];
      if (resource && kind !== 'Gateway') await s.world.kube.remove(resource, 'default', name);
    }
  });

  test('M29 22 the waypoint goes: L4 only', async () => {
    await s.world.label('default', { 'istio.io/use-waypoint': null });
    await s.world.kube.remove(resources.authorizationPolicies, 'default', 'productpage-waypoint');
    const gone = await s.ctl('waypoint', 'delete', '--all');
    assert.equal(gone.out, 'waypoint default/waypoint deleted\n');
    assert.equal((await s.ctl('waypoint', 'list')).out, 'No waypoints found.\n');
    await s.world.until('its pods to go', 30_000, async () => {
      const { items } = await s.world.kube.list(resources.pods, 'default');
      return !items.some((p) => p.metadata.name.startsWith('waypoint-'));
    });
    await s.world.until('direct answers', 30_000, async () => {
      const r = await curl(page, '-X', 'DELETE', '-o', '/dev/null', '-w', '%{http_code}');
      return r.out === '200';
    });
  });
});
