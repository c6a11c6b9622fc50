// What is made of all objects at once, and that the cost of a change grows with their number and no faster.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { KubeObject } from '../../core/kube/index.ts';
import { nothingTouched } from '../cluster/index.ts';
import { destinationRuleStatus, virtualServiceStatus } from './rule-status.ts';
import { serviceConfigs } from './service-config.ts';
import { ByHost, perState } from './tables.ts';
import { testSettings as settings, worldOf } from './testkit.ts';

const object = (kind: string, name: string, spec: object): KubeObject => ({
  kind,
  metadata: { name, namespace: 'shop', uid: name, generation: 1 } as never,
  spec,
});
const base: readonly KubeObject[] = [
  {
    kind: 'Namespace',
    metadata: { name: 'shop', labels: { 'istio.io/use-waypoint': 'waypoint' } },
  },
  object('Gateway', 'waypoint', {
    gatewayClassName: 'istio-waypoint',
    listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
  }),
];
const service = (name: string): KubeObject =>
  object('Service', name, { clusterIP: '10.0.0.1', ports: [{ name: 'http', port: 80 }] });

describe('things by the hosts they are for', () => {
  const all = new ByHost<number>()
    .add('a.example.com', 1)
    .add('*.example.com', 2)
    .add('*', 3)
    .add('b.example.org', 4)
    .add('a.example.com', 2);
  const rows: readonly (readonly ['of' | 'within' | 'same', string, readonly number[]])[] = [
    ['of', 'a.example.com', [1, 2, 3]],
    ['of', 'x.example.com', [2, 3]],
    ['of', 'b.example.org', [3, 4]],
    ['same', 'a.example.com', [1, 2]],
    ['same', '*.example.com', [2]],
    ['within', 'b.example.org', [4]],
    ['within', '*.org', [4]],
    ['within', 'x.example.com', []],
  ];
  for (const [how, host, wanted] of rows) {
    test(`${how} ${host}: ${wanted.join(', ') || 'none'}`, () => {
      assert.deepEqual(
        all[how](host).toSorted((a, b) => a - b),
        wanted,
      );
    });
  }
});

test('a table is made once, and again after a change', () => {
  let made = 0;
  const names = perState((world) => {
    made++;
    return [...world.cluster.services.all()].map((s) => s.name);
  });
  const world = worldOf(settings, [...base, service('one')]);
  assert.equal(names(world), names({ ...world, grantsNeeded: true }));
  assert.equal(made, 1);
  world.cluster.apply('Service', 'ADDED', service('two'), nothingTouched());
  assert.deepEqual(names(world), ['one', 'two']);
  world.gateways.apply('VirtualService', 'ADDED', object('VirtualService', 'v', {}));
  names(world);
  assert.equal(made, 3);
  assert.deepEqual(names(worldOf(settings, base)), []);
});

/** How often anything looked at the hosts of rules while all was translated, with a rule of each kind per service. */
function looks(count: number): number {
  let reads = 0;
  const counted = <T extends object>(spec: T): T =>
    new Proxy(spec, {
      get(of, name) {
        if (name === 'host' || name === 'hosts') reads++;
        return Reflect.get(of, name);
      },
    });
  const objects = Array.from({ length: count }, (_, i) => `s${i}`).flatMap((name) => [
    service(name),
    object('DestinationRule', name, counted({ host: name, trafficPolicy: {} })),
    object(
      'VirtualService',
      name,
      counted({ hosts: [name], http: [{ delegate: { name: `${name}-more` } }] }),
    ),
    object(
      'VirtualService',
      `${name}-more`,
      counted({ http: [{ route: [{ destination: { host: name } }] }] }),
    ),
  ]);
  const world = worldOf(settings, [...base, ...objects]);
  assert.equal(serviceConfigs(world).length, count);
  for (const r of world.gateways.destinationRules.values()) destinationRuleStatus(world, r, '');
  for (const v of world.gateways.virtualServices.values()) virtualServiceStatus(world, v, '');
  return reads;
}

test('four times the services and rules are no more than four times the work', () => {
  const [few, many] = [looks(20), looks(80)];
  assert.ok(few > 0);
  assert.ok(many <= 4 * few, `${few} looks became ${many}`);
});
