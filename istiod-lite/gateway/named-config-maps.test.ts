// ConfigMaps that other objects name: each is followed, and no name that nothing can have keeps anybody waiting.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeClient, KubeObject } from '../../core/kube/index.ts';
import type { ObjectKey } from '../cluster/index.ts';
import { NamedConfigMaps } from './named-config-maps.ts';

interface Watch {
  readonly query: { readonly fieldSelector?: string; readonly namespace?: string };
  readonly handlers: Parameters<KubeClient['watch']>[1];
}

function followed() {
  const watches = new Set<Watch>();
  const table = new Map<ObjectKey, string | undefined>();
  let changes = 0;
  const kube = {
    watch(...[, handlers, query = {}]: Parameters<KubeClient['watch']>) {
      const one = { handlers, query };
      watches.add(one);
      return () => void watches.delete(one);
    },
  } as KubeClient;
  const maps = new NamedConfigMaps({
    kube,
    read: (o: KubeObject) => o.metadata.name,
    table,
    changed: () => void changes++,
  });
  return { maps, table, watches, changes: () => changes };
}

test('all are known once each has been read or is not there', () => {
  const { maps, table, watches, changes } = followed();
  const names = ['shop/a', 'shop/b.c', undefined] as const;
  assert.equal(maps.settle(names), false);
  const [first, second] = watches;
  assert.deepEqual(first?.query, { fieldSelector: 'metadata.name=a', namespace: 'shop' });
  first?.handlers.event('ADDED', { metadata: { name: 'a', namespace: 'shop' } });
  assert.equal(maps.settle(names), false);
  second?.handlers.synced?.(true);
  assert.equal(maps.settle(names), true);
  assert.deepEqual(
    [...table],
    [
      ['shop/a', 'a'],
      ['shop/b.c', undefined],
    ],
  );
  assert.equal(changes(), 2);
  assert.equal(maps.settle(['shop/b.c']), true);
  assert.deepEqual([watches.size, [...table.keys()]], [1, ['shop/b.c']]);
});

test('a name that no object can have is not asked for: there is none', () => {
  const { maps, table, watches } = followed();
  const odd = ['a,metadata.name!=b', 'a\\', 'a/b', '', 'A', 'a'.repeat(254)];
  const names = odd.map((name): ObjectKey => `shop/${name}`);
  assert.equal(maps.settle(names), true);
  assert.equal(watches.size, 0);
  assert.deepEqual([...table.keys()], names);
  assert.equal(maps.settle([]), true);
  assert.equal(table.size, 0);
});
