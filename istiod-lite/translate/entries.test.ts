// Address allocation of ServiceEntries, and hosts that change hands (control-plane.md 2.5).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { KubeObject } from '../../core/kube/index.ts';
import { parseIp } from '../../core/base/index.ts';
import { MeshState } from '../../core/model/index.ts';
import { ClusterState, type EventType, type Kind, nothingTouched } from '../cluster/index.ts';
import { type EntryStatus, planEntryStatuses, Translator } from './index.ts';

const entry = (
  name: string,
  spec: object,
  more: { labels?: Record<string, string>; addresses?: object[] } = {},
): KubeObject => ({
  metadata: {
    name,
    namespace: 'shop',
    creationTimestamp: '2026-01-01T00:00:00Z',
    ...(more.labels && { labels: more.labels }),
  },
  spec: { resolution: 'DNS', ports: [{ number: 80, name: 'http' }], ...spec },
  ...(more.addresses && { status: { addresses: more.addresses } }),
});

function clusterOf(...objects: KubeObject[]): ClusterState {
  const cluster = new ClusterState('istio-system');
  for (const o of objects) cluster.apply('ServiceEntry', 'ADDED', o, nothingTouched());
  return cluster;
}

const allocateAddresses = (cluster: ClusterState): EntryStatus[] =>
  planEntryStatuses(cluster, 0).filter((s) => s.addresses);

describe('address allocation', () => {
  const rows: readonly [string, KubeObject, boolean][] = [
    ['an entry without addresses', entry('e', { hosts: ['a.example.com'] }), true],
    [
      'addresses in the spec',
      entry('e', { hosts: ['a.example.com'], addresses: ['10.0.0.1'] }),
      false,
    ],
    ['resolution NONE', entry('e', { hosts: ['a.example.com'], resolution: 'NONE' }), false],
    ['a wildcard host', entry('e', { hosts: ['*.example.com'] }), false],
    [
      'a wildcard host resolved anew each time',
      entry('e', { hosts: ['*.example.com'], resolution: 'DYNAMIC_DNS' }),
      true,
    ],
    [
      'opted out',
      entry(
        'e',
        { hosts: ['a.example.com'] },
        { labels: { 'networking.istio.io/enable-autoallocate-ip': 'False' } },
      ),
      false,
    ],
    [
      'another value of the label',
      entry(
        'e',
        { hosts: ['a.example.com'] },
        { labels: { 'networking.istio.io/enable-autoallocate-ip': 'no' } },
      ),
      true,
    ],
    [
      'it has them already',
      entry(
        'e',
        { hosts: ['a.example.com'] },
        { addresses: [{ value: '240.240.0.1', host: 'a.example.com' }] },
      ),
      false,
    ],
    ['a broken entry', entry('e', { hosts: ['b ad'] }), false],
  ];
  for (const [what, o, want] of rows) {
    test(`${what}: ${want ? 'allocated' : 'left alone'}`, () => {
      assert.equal(allocateAddresses(clusterOf(o)).length > 0, want);
    });
  }

  test('one of each family per host, in the documented blocks, none twice, always the same', () => {
    const many = Array.from({ length: 500 }, (_, i) =>
      entry(`e${i}`, { hosts: [`h${i}.example.com`, `g${i}.example.com`] }),
    );
    const all = allocateAddresses(clusterOf(...many)).flatMap((a) => a.addresses ?? []);
    assert.equal(all.length, 2000);
    assert.equal(new Set(all.map((a) => a.value)).size, 2000);
    for (const { value } of all) assert.match(value, /^(240\.240\.\d+\.\d+|2001:2::[0-9a-f]+)$/);
    for (const { value } of all) assert.doesNotMatch(value, /^240\.240\.\d+\.(0|255)$/);
    assert.deepEqual(
      allocateAddresses(clusterOf(...many)).flatMap((a) => a.addresses ?? []),
      all,
    );
  });

  test('a host added later gets its own, the others keep theirs', () => {
    const kept = [{ value: '240.240.9.9', host: 'a.example.com' }];
    const [a] = allocateAddresses(
      clusterOf(entry('e', { hosts: ['a.example.com', 'b.example.com'] }, { addresses: kept })),
    );
    assert.deepEqual(a?.addresses?.[0], kept[0]);
    assert.equal(a?.addresses?.length, 3);
  });
});

describe('K9 an entry that is not used says why', () => {
  const bad = entry('e', { hosts: ['b ad'] });

  test('once, and takes it back when it is good again', () => {
    const [plan] = planEntryStatuses(clusterOf(bad), 0);
    const [condition] = plan?.conditions ?? [];
    assert.equal(condition?.status, 'False');
    assert.match(condition.message, /not used: host "b ad" is no host name/);
    const told = { ...bad, status: { conditions: [condition] } };
    assert.deepEqual(planEntryStatuses(clusterOf(told), 5), []);
    const good = { ...told, spec: { hosts: ['good.example.com'], resolution: 'NONE' } };
    const [again] = planEntryStatuses(clusterOf(good), 5);
    assert.equal(again?.conditions?.[0]?.status, 'True');
  });

  test('conditions of others stay', () => {
    const foreign = {
      type: 'x',
      status: 'True',
      reason: 'r',
      message: 'm',
      observedGeneration: 1,
      lastTransitionTime: 't',
    };
    const [plan] = planEntryStatuses(clusterOf({ ...bad, status: { conditions: [foreign] } }), 0);
    assert.deepEqual(
      plan?.conditions?.map((c) => c.type),
      ['x', 'ambientlite.dev/Accepted'],
    );
  });

  test('one that always was good hears nothing', () => {
    assert.deepEqual(
      planEntryStatuses(clusterOf(entry('e', { hosts: ['a.b'], resolution: 'NONE' })), 0),
      [],
    );
  });
});

describe('11 wildcard hosts whose names are resolved as they are asked for', () => {
  const wild = (more: object = {}) =>
    entry('e', {
      hosts: ['*.example.com'],
      resolution: 'DYNAMIC_DNS',
      ports: [{ number: 80, name: 'http', protocol: 'HTTP' }],
      ...more,
    });
  const port = (protocol: string): object => ({ ports: [{ number: 9, name: 'p', protocol }] });
  const rows: [string, KubeObject, boolean, string | undefined][] = [
    ['HTTP', wild(), false, undefined],
    ['TLS without consent', wild(port('TLS')), false, 'PartiallyInvalid'],
    ['TLS', wild(port('TLS')), true, undefined],
    ['HTTP2', wild(port('HTTP2')), true, 'PartiallyInvalid'],
    ['inside the mesh', wild({ location: 'MESH_INTERNAL' }), true, 'Invalid'],
    ['no wildcard at all', wild({ hosts: ['a.example.com'], ...port('TCP') }), false, undefined],
  ];
  for (const [what, o, wildcardTls, reason] of rows) {
    test(`${what}: ${reason ?? 'nothing is said'}`, () => {
      const [plan] = planEntryStatuses(clusterOf(o), 0, { wildcardTls });
      const found = plan?.conditions?.find((c) => c.type === 'ambientlite.dev/Accepted');
      assert.equal(found?.reason, reason);
    });
  }
});

describe('K9 parts of a ServiceEntry that contradict its resolution', () => {
  const wild = { hosts: ['*.example.com', 'a.example.com'] };
  const endpoints = [{ address: '192.0.2.1' }];
  const rows: [object, string | undefined][] = [
    [
      { ...wild, resolution: 'DNS' },
      'not served: host *.example.com: resolution DNS cannot ask for a wildcard, DYNAMIC_DNS can',
    ],
    [{ ...wild, resolution: 'DNS_ROUND_ROBIN', endpoints }, undefined],
    [{ ...wild, resolution: 'DNS', workloadSelector: { labels: { a: 'b' } } }, undefined],
    [{ ...wild, resolution: 'STATIC', endpoints }, undefined],
    [
      {
        hosts: ['*.example.com'],
        resolution: 'DYNAMIC_DNS',
        endpoints,
        ports: [{ number: 80, name: 'http', protocol: 'HTTP' }],
      },
      'not served: endpoints: resolution DYNAMIC_DNS takes names from requests',
    ],
  ];
  for (const [spec, message] of rows) {
    test(`${JSON.stringify(spec)}: ${message ?? 'nothing'}`, () => {
      const [plan] = planEntryStatuses(clusterOf(entry('e', spec)), 0);
      const found = plan?.conditions?.find((c) => c.type === 'ambientlite.dev/Accepted');
      assert.equal(found?.message, message);
    });
  }
});

describe('3.8 WaypointMissing', () => {
  const wild = { hosts: ['*.example.com'], resolution: 'NONE' };
  const named = { hosts: ['a.example.com'], resolution: 'NONE' };
  const race = { 'istio.io/connect-strategy': 'RACE_FIRST_TCP_CONNECT' };
  const use = { 'istio.io/use-waypoint': 'egress' };
  const made = (spec: object, meta: object = {}): KubeObject => {
    const o = entry('e', spec);
    return { ...o, metadata: { ...o.metadata, ...meta } };
  };
  const rows: [string, KubeObject, string | undefined][] = [
    ['a wildcard host', made(wild), 'NoWaypointForWildcardService'],
    ['a wildcard host that asks for one', made(wild, { labels: use }), undefined],
    ['a racing connect', made(named, { annotations: race }), 'NoWaypointForRacingConnectStrategy'],
    ['an ordinary host', made(named), undefined],
  ];
  for (const [what, o, reason] of rows) {
    test(`${what}: ${reason ?? 'nothing'}`, () => {
      const [plan] = planEntryStatuses(clusterOf(o), 0);
      const found = plan?.conditions?.find((c) => c.type === 'istio.io/WaypointMissing');
      assert.equal(found?.reason, reason);
      if (!found) return;
      const told = { ...o, status: { conditions: [found] } };
      assert.deepEqual(planEntryStatuses(clusterOf(told), 5), [], 'said once');
      const bound = { ...told, metadata: { ...told.metadata, labels: use } };
      assert.deepEqual(planEntryStatuses(clusterOf(bound), 5)[0]?.conditions, [], 'taken back');
    });
  }
});

describe('hosts that change hands', () => {
  const settings = {
    clusterId: 'Kubernetes',
    trustDomain: 'cluster.local',
    clusterDomain: 'cluster.local',
    rootNamespace: 'istio-system',
    network: '',
  };
  const host = 'web.shop.svc.cluster.local';
  const key = `shop/${host}`;

  function run() {
    const cluster = new ClusterState('istio-system');
    const translator = new Translator(settings);
    return (kind: Kind, type: EventType, o: KubeObject) => {
      const touched = nothingTouched();
      cluster.apply(kind, type, o, touched);
      const out = translator.translate(cluster, touched);
      return {
        given: out.services.filter((s) => s.hostname === host).map((s) => s.name),
        removed: out.removedAddresses.filter((n) => n === key),
      };
    };
  }
  const kube: KubeObject = {
    metadata: { name: 'web', namespace: 'shop' },
    spec: { clusterIP: '10.9.0.1', ports: [{ port: 80 }] },
  };
  const other = entry('mine', { hosts: [host] });

  test('a Kubernetes Service takes the host from an entry, which has it back when that goes', () => {
    const step = run();
    assert.deepEqual(step('ServiceEntry', 'ADDED', other), { given: ['mine'], removed: [] });
    assert.deepEqual(step('Service', 'ADDED', kube), { given: ['web'], removed: [] });
    assert.deepEqual(step('Service', 'DELETED', kube), { given: ['mine'], removed: [] });
    assert.deepEqual(step('ServiceEntry', 'DELETED', other), { given: [], removed: [key] });
  });

  test('K11 an entry of another namespace takes neither host nor address from a Service, but for its own', () => {
    const cluster = new ClusterState('istio-system');
    const translator = new Translator(settings);
    const mesh = new MeshState();
    const add = (kind: Kind, o: KubeObject): void => {
      const touched = nothingTouched();
      cluster.apply(kind, 'ADDED', o, touched);
      mesh.apply({ services: translator.translate(cluster, touched).services });
    };
    const evil = entry('evil', { hosts: [host, 'a.example.com'], addresses: ['10.9.0.1'] });
    const theirs = { ...evil, metadata: { ...evil.metadata, namespace: 'evil' } };
    const ip = parseIp('10.9.0.1');
    assert.ok(ip);
    for (const order of [
      () => [add('ServiceEntry', theirs), add('Service', kube)],
      () => [add('Service', kube), add('ServiceEntry', theirs)],
    ]) {
      order();
      for (const namespace of ['shop', 'third', undefined]) {
        const found = mesh.findAddress('', ip, namespace);
        assert.equal(found?.kind === 'service' && found.service.namespace, 'shop');
        assert.equal(mesh.serviceByHost(host, namespace)?.namespace, 'shop');
      }
      assert.equal(mesh.serviceByHost(host, 'evil')?.namespace, 'evil');
      // What trespasses is its own namespace's alone, with all its hosts.
      assert.equal(mesh.serviceByHost('a.example.com', 'third'), undefined);
      assert.equal(mesh.serviceByHost('a.example.com', 'evil')?.namespace, 'evil');
    }
  });

  test('an entry that goes while the Service has the host removes nothing', () => {
    const step = run();
    step('Service', 'ADDED', kube);
    step('ServiceEntry', 'ADDED', other);
    assert.deepEqual(step('ServiceEntry', 'DELETED', other).removed, []);
  });
});
