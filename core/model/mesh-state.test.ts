// Look-ups (ztunnel-protocol.md 3.2), endpoints and batches (7.4, checklist Z36–Z40).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { authorize, type Batch, dumpMesh, MeshState, type Workload, workloadUid } from './index.ts';
import {
  anyPolicy,
  anyService,
  anyWorkload,
  cidr,
  host,
  ip,
  member,
  policy,
  service,
  workload,
} from './testkit.ts';

const anonymous = {
  sourceIp: Uint8Array.of(10, 1, 2, 3),
  destinationIp: Uint8Array.of(10, 1, 2, 3),
  destinationPort: 8080,
};

const meshOf = (batch: Batch): MeshState => {
  const mesh = new MeshState();
  mesh.apply(batch);
  return mesh;
};

describe('3.2 findAddress', () => {
  const mesh = meshOf({
    workloads: [workload('a/w', ['10.0.0.1'])],
    services: [service('a/s', ['10.0.0.1', '10.0.0.2'])],
  });
  test('an exact workload comes before a service VIP', () => {
    assert.equal(mesh.findAddress('', ip('10.0.0.1'), 'a')?.kind, 'workload');
  });
  test('else the service by VIP', () => {
    assert.equal(mesh.findAddress('', ip('10.0.0.2'), 'a')?.kind, 'service');
  });
  test('another network is another address', () => {
    assert.equal(mesh.findAddress('n2', ip('10.0.0.1'), 'a'), undefined);
  });
});

describe('3.2 service by VIP', () => {
  const vip = '10.9.0.1';
  const plain = service('x/plain', [vip]);
  const canonical = service('y/canonical', [vip], { canonical: true });
  const own = service('a/own', [vip]);
  const rows: readonly [string, Batch['services'] & object, string, string][] = [
    ['same namespace beats canonical', [canonical, own], 'a', 'own'],
    ['canonical beats first', [plain, canonical], 'a', 'canonical'],
    ['first of equals', [plain, service('z/later', [vip])], 'a', 'plain'],
    ['order of arrival does not matter for ranks', [own, canonical, plain], 'a', 'own'],
  ];
  for (const [what, services, ns, want] of rows) {
    test(what, () => assert.equal(meshOf({ services }).serviceByVip('', ip(vip), ns)?.name, want));
  }

  test('Z40 a NAMESPACE service is for clients of its namespace only, by VIP and host', () => {
    const mesh = meshOf({ services: [service('a/s', [vip], { visibility: 'Namespace' })] });
    assert.equal(mesh.serviceByVip('', ip(vip), 'b'), undefined);
    assert.equal(mesh.serviceByVip('', ip(vip), 'a')?.name, 's');
    assert.equal(mesh.serviceByVip('', ip(vip), undefined)?.name, 's', 'no client: no filter');
    assert.equal(mesh.serviceByHost('s.a', 'b'), undefined);
    assert.equal(mesh.serviceByHost('s.a', 'a')?.name, 's');
    assert.equal(mesh.findHostname('a', 's.a')?.kind, 'service', 'references are not filtered');
  });

  test('Z40 an invisible exact VIP leaves the CIDR ones to be tried', () => {
    const mesh = meshOf({
      services: [
        service('a/exact', [vip], { visibility: 'Namespace' }),
        service('b/wide', [], { cidrVips: [{ network: '', cidr: cidr('10.9.0.0/16') }] }),
      ],
    });
    assert.equal(mesh.serviceByVip('', ip(vip), 'b')?.name, 'wide');
    assert.equal(mesh.serviceByVip('', ip(vip), 'a')?.name, 'exact');
  });
});

describe('Z39 CIDR VIPs', () => {
  const block = (name: string, text: string, more = {}) =>
    service(name, [], { cidrVips: [{ network: '', cidr: cidr(text) }], ...more });
  const rows: readonly [string, ReturnType<typeof block>[], string, string | undefined][] = [
    [
      'the longest prefix wins',
      [block('x/8', '10.0.0.0/8'), block('x/16', '10.1.0.0/16')],
      '10.1.2.3',
      '16',
    ],
    [
      '… whatever the order',
      [block('x/16', '10.1.0.0/16'), block('x/8', '10.0.0.0/8')],
      '10.1.2.3',
      '16',
    ],
    [
      'an exact address beats any block',
      [block('x/31', '10.1.2.2/31'), service('x/one', ['10.1.2.3'])],
      '10.1.2.3',
      'one',
    ],
    [
      'same namespace beats a longer prefix',
      [block('a/8', '10.0.0.0/8'), block('x/16', '10.1.0.0/16')],
      '10.1.2.3',
      '8',
    ],
    [
      'a longer prefix beats canonical',
      [block('x/8', '10.0.0.0/8', { canonical: true }), block('x/16', '10.1.0.0/16')],
      '10.1.2.3',
      '16',
    ],
    [
      'canonical decides between equal prefixes',
      [block('x/p', '10.0.0.0/8'), block('y/q', '10.0.0.0/8', { canonical: true })],
      '10.1.2.3',
      'q',
    ],
    [
      'ties keep the earlier one',
      [block('x/p', '10.0.0.0/8'), block('y/q', '10.0.0.0/8')],
      '10.1.2.3',
      'p',
    ],
    ['IPv6 blocks do not hold IPv4 addresses', [block('x/all', '::/0')], '10.1.2.3', undefined],
    ['IPv6 by itself', [block('x/v6', 'fd00::/8'), block('x/v4', '0.0.0.0/0')], 'fd00::1', 'v6'],
  ];
  for (const [what, services, address, want] of rows) {
    test(what, () => {
      assert.equal(meshOf({ services }).serviceByVip('', ip(address), 'a')?.name, want);
    });
  }
});

describe('3.2 workload by address', () => {
  const entry = (uid: string, more = {}) =>
    workload('a/w', ['10.0.0.1'], { uid: workloadUid(uid), name: uid, ...more });
  const rows: readonly [string, ReturnType<typeof entry>[], string | undefined][] = [
    [
      'a pod beats another kind',
      [entry('c//Pod/a/p', { protocol: 'TCP' }), entry('c/x/WorkloadEntry/a/e')],
      'c//Pod/a/p',
    ],
    [
      'HBONE beats plain',
      [entry('c//Pod/a/p'), entry('c//Pod/a/q', { protocol: 'TCP' })],
      'c//Pod/a/p',
    ],
    ['on a tie the last inserted', [entry('c//Pod/a/p'), entry('c//Pod/a/q')], 'c//Pod/a/q'],
    [
      'HOST_NETWORK is never found by address',
      [entry('c//Pod/a/p', { networkMode: 'HostNetwork' })],
      undefined,
    ],
  ];
  for (const [what, workloads, want] of rows) {
    test(what, () => {
      assert.equal(meshOf({ workloads }).workloadByAddress('', ip('10.0.0.1'))?.uid, want);
    });
  }

  test('3.1.4: a local workload is found by its exact name, account and node', () => {
    const mesh = meshOf({ workloads: [workload('a/w', ['10.0.0.1'], { node: 'n2' })] });
    const name = { namespace: 'a', name: 'w', serviceAccount: 'default' };
    assert.ok(mesh.localWorkload(name, 'n2'));
    assert.ok(mesh.localWorkload(name, ''), 'no node configured: any');
    assert.equal(mesh.localWorkload(name, 'n1'), undefined);
    assert.equal(mesh.localWorkload({ ...name, serviceAccount: 'x' }, 'n2'), undefined);
  });

  test('findHostname: the service of that namespace and name, else the workload', () => {
    const mesh = meshOf({
      workloads: [workload('a/w', [], { hostname: 'db.example.com' })],
      services: [service('b/s', [])],
    });
    assert.equal(mesh.findHostname('a', 'db.example.com')?.kind, 'workload');
    assert.equal(mesh.findHostname('b', 'db.example.com'), undefined);
    assert.equal(mesh.findHostname('b', 's.b')?.kind, 'service');
    assert.equal(mesh.findHostname('a', 's.b'), undefined);
  });

  test('identities of a node: HBONE ones, each once', () => {
    const mesh = meshOf({
      workloads: [
        workload('a/w1', ['10.0.0.1']),
        workload('a/w2', ['10.0.0.2']),
        workload('a/w3', ['10.0.0.3'], { protocol: 'TCP' }),
        workload('a/w4', ['10.0.0.4'], { serviceAccount: 'x', node: 'n2' }),
      ],
    });
    assert.deepEqual(mesh.identitiesOnNode('n1'), [
      { trustDomain: 'cluster.local', namespace: 'a', serviceAccount: 'default' },
    ]);
  });
});

describe('endpoints', () => {
  const s = service('a/s', ['10.9.0.1']);
  const w = (name: string, more = {}) =>
    workload(`a/${name}`, [`10.0.0.${name.length}`], {
      services: new Map([member('a/s')]),
      ...more,
    });

  test('Z36 workloads before their service: endpoints are there once it is', () => {
    const mesh = meshOf({ workloads: [w('x')] });
    assert.deepEqual(
      [...mesh.stagedEndpoints()].map(([k]) => k),
      ['a/s.a'],
    );
    mesh.apply({ services: [s] });
    assert.equal(mesh.endpoints(host('a/s.a')).size, 1);
    assert.deepEqual([...mesh.stagedEndpoints()], []);
  });

  test('Z36 a service that goes and comes back finds its endpoints again', () => {
    const mesh = meshOf({ services: [s], workloads: [w('x')] });
    mesh.apply({ removed: { addresses: ['a/s.a'] } });
    assert.equal(mesh.service(host('a/s.a')), undefined);
    mesh.apply({ services: [s] });
    assert.equal(mesh.endpoints(host('a/s.a')).size, 1);
  });

  test('Z37 many endpoints of one service in one batch, each once', () => {
    const many = Array.from({ length: 2000 }, (_, i) =>
      workload(`a/w${i}`, [`10.1.${i >> 8}.${i & 255}`], { services: new Map([member('a/s')]) }),
    );
    const mesh = meshOf({ workloads: many, services: [s] });
    mesh.apply({ workloads: many });
    assert.equal(mesh.endpoints(host('a/s.a')).size, 2000);
  });

  test('a workload that leaves a service is no endpoint any more', () => {
    const mesh = meshOf({ services: [s], workloads: [w('x')] });
    mesh.apply({ workloads: [w('x', { services: new Map() })] });
    assert.equal(mesh.endpoints(host('a/s.a')).size, 0);
  });

  test('Z38 health is kept with the endpoint, and a changed health policy needs no resend', () => {
    const mesh = meshOf({ services: [s], workloads: [w('x', { status: 'Unhealthy' })] });
    assert.deepEqual(
      [...mesh.endpoints(host('a/s.a')).values()].map((e) => e.healthy),
      [false],
    );
  });

  const ignored = ['nothing', 'a/b/c', '', 'a/', '/b', 'a/unknown.a'];
  for (const name of ignored) {
    test(`K12 removal of ${JSON.stringify(name)} is ignored`, () => {
      const mesh = meshOf({ services: [s], workloads: [w('x')] });
      const change = mesh.apply({ removed: { addresses: [name] } });
      assert.equal(change.workloads.size + change.services.size, 0);
      assert.deepEqual(mesh.counts, { workloads: 1, services: 1, policies: 0 });
    });
  }

  test('the change set names what changed, and no more', () => {
    const mesh = meshOf({ services: [s], workloads: [w('x')], policies: [policy('a/p')] });
    const change = mesh.apply({
      workloads: [w('xx')],
      removed: { addresses: ['Kubernetes//Pod/a/x', 'a/s.a'], policies: [policy('a/p').key] },
    });
    assert.deepEqual([...change.workloads].toSorted(), [
      'Kubernetes//Pod/a/x',
      'Kubernetes//Pod/a/xx',
    ]);
    assert.deepEqual([...change.services], ['a/s.a']);
    assert.deepEqual([...change.policies], ['a/p']);
  });

  test('whatever was applied before, the mesh is a function of what is in it', () => {
    const few = <T>(x: fc.Arbitrary<T>) => fc.array(x, { maxLength: 6 });
    fc.assert(
      fc.property(
        few(anyWorkload),
        few(anyService),
        few(anyPolicy),
        few(fc.nat()),
        (ws, ss, ps, drop) => {
          const mesh = meshOf({ workloads: ws, services: ss, policies: ps });
          const goneW = new Set(ws.filter((_, i) => drop.includes(i)).map((x) => x.uid));
          const goneS = new Set(
            ss.filter((_, i) => drop.includes(i)).map((x) => `${x.namespace}/${x.hostname}`),
          );
          mesh.apply({ removed: { addresses: [...goneW, ...goneS] } });
          const fresh = meshOf({
            workloads: ws.filter((x) => !goneW.has(x.uid)),
            services: ss.filter((x) => !goneS.has(`${x.namespace}/${x.hostname}`)),
            policies: ps,
          });
          const byName = (a: { name?: unknown; uid?: unknown }) => JSON.stringify(a);
          const flat = (m: MeshState) => {
            const d = dumpMesh(m);
            return [
              d.workloads.map(byName).toSorted(),
              d.services.map(byName).toSorted(),
              d.policies,
            ];
          };
          assert.deepEqual(flat(mesh), flat(fresh));
        },
      ),
      { numRuns: 60 },
    );
  });

  test('F40 workloads prepared in slices: nobody sees one before its batch, and then as without slices', () => {
    const found = (m: MeshState, all: readonly Workload[]): unknown[] =>
      all.map((x) => [
        x.addresses.map((ip) => m.workloadByAddress(x.network, ip)?.uid),
        m.localWorkload(x, '')?.uid,
        m.findHostname(x.namespace, x.hostname || 'none')?.kind,
        m.workload(x.uid) === x,
      ]);
    // Few names, so that the same uid comes again with other addresses, accounts and hosts.
    const few = (...texts: string[]) => fc.constantFrom(...texts);
    const small = fc
      .tuple(
        few('a/x', 'a/y', 'b/x'),
        fc.uniqueArray(few('10.0.0.1', '10.0.0.2'), { maxLength: 2 }),
        few('one', 'two'),
        few('', 'host'),
        fc.constantFrom('Standard' as const, 'HostNetwork' as const),
        fc.boolean(),
      )
      .map(([name, ips, serviceAccount, hostname, networkMode, backs]) =>
        workload(name, ips, {
          serviceAccount,
          hostname,
          networkMode,
          services: new Map(backs ? [member('a/s')] : []),
        }),
      );
    const few3 = <T>(x: fc.Arbitrary<T>) => fc.array(x, { maxLength: 3 });
    const step = fc.record({
      ws: fc.array(small, { minLength: 1, maxLength: 4 }),
      ps: few3(anyPolicy),
      end: few('applied', 'applied', 'discarded', 'interrupted'),
      between: small,
      drop: fc.option(fc.nat(3), { nil: undefined }),
      tidy: fc.nat(5),
    });
    const same = (sliced: MeshState, plain: MeshState, all: readonly Workload[]): void => {
      assert.deepEqual(found(sliced, all), found(plain, all));
      assert.deepEqual(dumpMesh(sliced), dumpMesh(plain));
      assert.deepEqual(sliced.counts, plain.counts);
      const endpoints = (m: MeshState): unknown => [...m.endpoints(host('a/s.a'))];
      assert.deepEqual(endpoints(sliced), endpoints(plain));
      for (const w of sliced.workloads()) {
        assert.deepEqual(sliced.judge(w, anonymous), plain.judge(w, anonymous));
        assert.deepEqual(sliced.judge(w, anonymous), authorize(plain.policiesFor(w), anonymous));
      }
    };
    fc.assert(
      fc.property(fc.array(step, { maxLength: 6 }), (steps) => {
        const sliced = new MeshState();
        const plain = new MeshState();
        const all = steps.flatMap((x) => [...x.ws, x.between]);
        for (const { ws, ps, end, between, drop, tidy } of steps) {
          const staged = sliced.stage();
          for (const policy of ps) sliced.prepare(staged, { policy });
          for (const workload of ws) sliced.prepare(staged, { workload });
          same(sliced, plain, all);
          if (end === 'interrupted') {
            for (const m of [sliced, plain]) m.apply({ workloads: [between] });
            same(sliced, plain, all);
          }
          if (end === 'discarded') {
            sliced.discard(staged);
          } else {
            const gone = drop === undefined ? [] : [ws[drop]?.uid ?? ''];
            const removed = { addresses: gone, policies: ps.slice(2).map((p) => p.key) };
            const told = sliced.apply({ staged, removed });
            assert.deepEqual(told, plain.apply({ workloads: ws, policies: ps, removed }));
          }
          same(sliced, plain, all);
          sliced.tidy(tidy);
          same(sliced, plain, all);
        }
      }),
      { numRuns: 150 },
    );
  });

  test('F40 a second batch under way at the same time is neither lost nor seen early', () => {
    const mesh = new MeshState();
    const [first, second] = [mesh.stage(), mesh.stage()];
    mesh.prepare(first, { workload: w('x') });
    mesh.prepare(second, { workload: w('x', { status: 'Unhealthy' }) });
    mesh.prepare(second, { workload: w('xx') });
    assert.equal(mesh.counts.workloads, 0);
    mesh.apply({ staged: second });
    assert.equal(mesh.counts.workloads, 2);
    mesh.apply({ staged: first });
    assert.equal(mesh.workload(w('x').uid)?.status, 'Healthy');
  });
});
