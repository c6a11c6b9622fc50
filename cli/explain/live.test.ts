import assert from 'node:assert/strict';
import { test } from 'node:test';
import { absentNote, ejectedPods, judgeNotes, withEjected } from './live.ts';

const dump = {
  clusters: [
    {
      cluster: 'shop/web.shop.svc.cluster.local|80|',
      outliers: [
        { host: 'Kubernetes//Pod/shop/web-1', ejected: true, backInMs: 1500 },
        { host: 'Kubernetes//Pod/shop/web-2', ejected: false },
      ],
    },
    {
      cluster: 'shop/web.shop.svc.cluster.local|80|v2',
      outliers: [{ host: 'Kubernetes//Pod/shop/web-3', ejected: true, backInMs: 10 }],
    },
    {
      cluster: 'shop/web.shop.svc.cluster.local|8080|',
      outliers: [{ host: 'Kubernetes//Pod/shop/web-4', ejected: true }],
    },
  ],
};

test('ejected endpoints of the port, of all subsets, with the time until they are back', () => {
  const service = { namespace: 'shop', hostname: 'web.shop.svc.cluster.local' };
  const out = ejectedPods(dump, service, 80);
  assert.deepEqual(
    [...out],
    [
      ['web-1.shop', 1500],
      ['web-3.shop', 10],
    ],
  );
  const candidate = (pod: string) => ({ pod, address: '', fit: true, why: 'port 80 → 80' });
  const shown = withEjected([candidate('web-1.shop'), candidate('web-2.shop')], out, 'wp.shop');
  assert.deepEqual(
    shown.map((c) => [c.fit, c.why]),
    [
      [false, 'ejected by wp.shop, back in 2 s'],
      [true, 'port 80 → 80'],
    ],
  );
  assert.equal(ejectedPods('nonsense', service, 80).size, 0);
});

test('an absent waypoint is told with what becomes of the traffic', () => {
  const c = { type: 'istio.io/WaypointBound', reason: 'WaypointIsNotReady', message: 'm' };
  const of = (status: string): object => ({ status: { conditions: [{ ...c, status }] } });
  assert.equal(absentNote(of('True'), undefined, false), undefined);
  assert.match(
    absentNote(of('False'), undefined, true) ?? '',
    /^WaypointIsNotReady: m; .* refuses$/,
  );
  assert.match(
    absentNote(of('False'), {}, false) ?? '',
    /no policy is skipped, so it is gone around$/,
  );
  assert.equal(absentNote(undefined, undefined, false), undefined);
  const open = (value: string): object => ({
    metadata: { annotations: { 'ambientlite.dev/waypoint-fail-open': value } },
  });
  const around =
    /by annotation ambientlite\.dev\/waypoint-fail-open it is gone around, with its policies$/;
  assert.match(absentNote(of('False'), open('true'), false) ?? '', around);
  assert.match(absentNote({ ...of('False'), ...open('true') }, {}, false) ?? '', around);
  const own = { ...of('False'), ...open('false') };
  assert.match(absentNote(own, open('true'), false) ?? '', /no policy is skipped/);
});

test('what of the waypoint judges a request, in its order', () => {
  const judges = {
    policies: [
      { key: 'a/allow', action: 'ALLOW', dryRun: true, provider: '' },
      { key: 'a/ask', action: 'CUSTOM', dryRun: false, provider: 'authz' },
    ],
    issuers: [{ issuer: 'i', keys: false }],
    limits: [{ policy: 'a/rl', name: 'each' }],
  };
  const dump = { services: [{ name: 'a/web.a', judges }, { name: 'a/other' }] };
  assert.deepEqual(judgeNotes(dump, { namespace: 'a', hostname: 'web.a' }), [
    'requests are judged by CUSTOM a/ask asks authz',
    'requests are judged by tokens of i (no keys: its tokens are refused)',
    'requests are judged by ALLOW a/allow (dry run)',
    'requests are judged by rate limits a/rl each',
  ]);
  assert.deepEqual(judgeNotes(dump, { namespace: 'a', hostname: 'other' }), []);
});
