// One decision of a waypoint among 1,000 rules of which none matches, for an ordinary request and for requests made to be slow
// (issue 6: at most 1 ms of policy a request). What a thousand rules may cost at worst is held by
// waypoint/l7/access-property.test.ts; here it is measured.
import { L7PolicyAction } from '../core/proto/index.ts';
import type * as wire from '../core/proto/index.ts';
import { type Draft, encode } from '../core/rpc/index.ts';
import { type AccessFacts, ServiceConfigs } from '../waypoint/index.ts';
import type { Result } from './data-path.ts';
import { longest, median } from './sampling.ts';

type Http = NonNullable<AccessFacts['http']>;
const texts = (value: string) => ({ any: [value] });
const when = (key: string, value: string) => [{ key, values: texts(value) }];

/** As people write them: every kind of field in turn. */
const kinds: readonly ((i: number) => Draft<wire.L7AccessRule>)[] = [
  (i) => ({ from: [{ principals: texts(`td/ns/n${i}/sa/x`) }] }),
  (i) => ({ from: [{ namespaces: texts(`team-*-${i}`) }] }),
  (i) => ({ from: [{ ipBlocks: texts(`10.${i % 250}.9.0/24`) }] }),
  (i) => ({ from: [{ requestPrincipals: texts(`https://iss/u${i}`) }] }),
  (i) => ({ to: [{ hosts: texts(`*.h${i}.example.com`) }] }),
  (i) => ({ to: [{ paths: texts(`/p${i}/*`), methods: texts('GET') }] }),
  (i) => ({ to: [{ paths: texts(`/{*}/x/${i}/{**}`) }] }),
  (i) => ({ when: when('request.headers[x-t]', `v${i}`) }),
  (i) => ({ when: when(`request.headers[x-t${i}]`, '*') }),
  (i) => ({ when: when('request.auth.claims[groups]', `g${i}`) }),
];

const commas = ','.repeat(50_000);
const base: Http = {
  method: 'GET',
  path: '/a/b',
  host: 'web.shop.svc.cluster.local',
  headers: [['x-t', 'a']],
};
const groups = Array.from({ length: 200 }, (_, i) => `z${i}`);
const requests: Readonly<Record<string, Http>> = {
  plain: base,
  user: {
    ...base,
    user: { issuer: 'i', subject: 's', claims: { groups }, spaceDelimited: new Set() },
  },
  path: { ...base, path: '/a'.repeat(25_000) },
  header: {
    ...base,
    headers: [
      ['x-t', commas],
      ['x-forwarded-for', commas],
    ],
  },
  lines: { ...base, headers: groups.slice(0, 100).map((g) => ['x-t', `q,${g},`.repeat(80)]) },
};

function compiled(action: number) {
  const rules = Array.from({ length: 1_000 }, (_, i) => kinds[i % kinds.length]?.(i) ?? {});
  const policies = Array.from({ length: 100 }, (_, i) => ({
    key: `shop/p${i}`,
    action,
    rules: rules.slice(i * 10, i * 10 + 10),
  }));
  const [namespace, hostname] = ['shop', 'web.shop.svc.cluster.local'];
  const config = { namespace, hostname, policies };
  const services = new ServiceConfigs();
  const name = `${namespace}/${hostname}`;
  const bytes = encode('ambientlite.waypoint.v1.ServiceConfig', config);
  const bad = services.apply([{ name, bytes }], []);
  const service = services.get(name);
  if (!service || bad.length > 0) throw new Error(JSON.stringify(bad));
  return service.access;
}

export function* cases(filter = ''): IterableIterator<Result> {
  if (!'rbac/l7'.includes(filter) && !filter.startsWith('rbac')) return;
  const access = { deny: compiled(L7PolicyAction.DENY), allow: compiled(L7PolicyAction.ALLOW) };
  const identity = { trustDomain: 'td', namespace: 'shop', serviceAccount: 'web' };
  for (const [name, http] of Object.entries(requests)) {
    const facts: AccessFacts = {
      principal: 'td/ns/shop/sa/web',
      identity,
      sourceIp: '10.251.0.7',
      destinationIp: '10.1.0.1',
      destinationPort: 80,
      http,
    };
    for (const [action, policies] of Object.entries(access)) {
      const samples = Array.from({ length: 1_000 }, () => {
        const began = performance.now();
        policies.judge(facts);
        return performance.now() - began;
      });
      const more = { longest: longest(samples) };
      yield { name: `rbac/l7-${action}-${name}`, unit: 'ms', value: median(samples), more };
    }
  }
}
