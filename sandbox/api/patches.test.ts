import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jsonPatch, mergePatch } from './merge-patch.ts';
import { applyPatch, strategicPatch } from './strategic-patch.ts';

test('merge patch: the cases of RFC 7396', () => {
  const cases: readonly (readonly [unknown, unknown, unknown])[] = [
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [
      ['a', 'b'],
      ['c', 'd'],
      ['c', 'd'],
    ],
    [{ a: 'b' }, ['c'], ['c']],
    [{ a: 'foo' }, null, null],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: 'b', c: null }, { a: 'b' }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ];
  for (const [target, patch, expected] of cases)
    assert.deepEqual(mergePatch(target, patch), expected);
});

test('JSON patch: the operations of RFC 6902', () => {
  const start = { a: { 'x/y': 1 }, list: [1, 2, 3] };
  const cases: readonly (readonly [object, unknown])[] = [
    [
      { op: 'add', path: '/b', value: 2 },
      { ...start, b: 2 },
    ],
    [
      { op: 'add', path: '/list/1', value: 9 },
      { ...start, list: [1, 9, 2, 3] },
    ],
    [
      { op: 'add', path: '/list/-', value: 9 },
      { ...start, list: [1, 2, 3, 9] },
    ],
    [
      { op: 'remove', path: '/list/0' },
      { ...start, list: [2, 3] },
    ],
    [
      { op: 'replace', path: '/a/x~1y', value: 5 },
      { ...start, a: { 'x/y': 5 } },
    ],
    [
      { op: 'move', from: '/list/0', path: '/first' },
      { ...start, list: [2, 3], first: 1 },
    ],
    [
      { op: 'copy', from: '/list', path: '/again' },
      { ...start, again: [1, 2, 3] },
    ],
    [{ op: 'test', path: '/a', value: { 'x/y': 1 } }, start],
  ];
  for (const [operation, expected] of cases)
    assert.deepEqual(jsonPatch(start, [operation]), expected);
  assert.deepEqual(start, { a: { 'x/y': 1 }, list: [1, 2, 3] });
  const wrong = [
    { op: 'remove', path: '/none' },
    { op: 'replace', path: '/list/3', value: 1 },
    { op: 'add', path: '/list/5', value: 1 },
    { op: 'add', path: 'a', value: 1 },
    { op: 'add', path: '/__proto__/x', value: 1 },
    { op: 'test', path: '/a', value: 1 },
    { op: 'frob', path: '/a' },
  ];
  for (const operation of wrong) {
    assert.throws(
      () => jsonPatch(start, [operation]),
      { name: 'StatusError' },
      JSON.stringify(operation),
    );
  }
});

const pod = {
  metadata: { labels: { a: '1' }, finalizers: ['f1', 'f2'] },
  spec: {
    containers: [
      { name: 'a', image: '1', env: [{ name: 'X', value: '1' }], args: ['p', 'q'] },
      { name: 'b', image: '1' },
    ],
    nodeSelector: { x: '1', y: '2' },
    tolerations: [{ key: 'k' }],
  },
};

const patchSpec = (spec: object): Record<string, unknown> =>
  (strategicPatch('V1Pod', pod, { spec }) as { spec: Record<string, unknown> }).spec;

test('strategic patch merges lists by key and replaces the others', () => {
  const changed = patchSpec({
    containers: [
      { name: 'b', image: '2' },
      { name: 'c', image: '3' },
      { name: 'a', args: ['r'] },
    ],
    tolerations: [{ key: 'z' }],
  });
  assert.deepEqual(changed['containers'], [
    { name: 'a', image: '1', env: [{ name: 'X', value: '1' }], args: ['r'] },
    { name: 'b', image: '2' },
    { name: 'c', image: '3' },
  ]);
  assert.deepEqual(changed['tolerations'], [{ key: 'z' }]);
  const env = patchSpec({ containers: [{ name: 'a', env: [{ name: 'Y', value: '2' }] }] });
  assert.deepEqual((env['containers'] as { env: unknown }[])[0]?.env, [
    { name: 'X', value: '1' },
    { name: 'Y', value: '2' },
  ]);
});

test('strategic patch directives: delete, replace, order, retain, primitive lists', () => {
  const names = (spec: Record<string, unknown>) =>
    (spec['containers'] as { name: string }[]).map((c) => c.name);
  assert.deepEqual(names(patchSpec({ containers: [{ name: 'a', $patch: 'delete' }] })), ['b']);
  assert.deepEqual(names(patchSpec({ containers: [{ $patch: 'replace' }, { name: 'z' }] })), ['z']);
  assert.deepEqual(
    names(
      patchSpec({
        containers: [{ name: 'c' }],
        '$setElementOrder/containers': [{ name: 'c' }, { name: 'b' }, { name: 'a' }],
      }),
    ),
    ['c', 'b', 'a'],
  );
  assert.deepEqual(
    patchSpec({ nodeSelector: { z: '3', $retainKeys: ['z', 'x'] } })['nodeSelector'],
    {
      x: '1',
      z: '3',
    },
  );
  assert.deepEqual(patchSpec({ nodeSelector: { $patch: 'replace', q: '1' } })['nodeSelector'], {
    q: '1',
  });
  const meta = strategicPatch('V1Pod', pod, {
    metadata: { finalizers: ['f3'], '$deleteFromPrimitiveList/finalizers': ['f1'] },
  }) as { metadata: { finalizers: string[] } };
  assert.deepEqual(meta.metadata.finalizers, ['f2', 'f3']);
  assert.throws(() => patchSpec({ containers: [{ image: 'x' }] }), /has no name/);
});

test('apply keeps what others wrote; a service port is known by number and protocol', () => {
  const service = { spec: { clusterIP: '127.64.128.1', ports: [{ port: 53, protocol: 'UDP' }] } };
  const applied = applyPatch('V1Service', service, {
    spec: {
      ports: [
        { port: 53, protocol: 'TCP' },
        { port: 53, protocol: 'UDP', name: 'dns' },
      ],
    },
  });
  assert.deepEqual(applied, {
    spec: {
      clusterIP: '127.64.128.1',
      ports: [
        { port: 53, protocol: 'UDP', name: 'dns' },
        { port: 53, protocol: 'TCP' },
      ],
    },
  });
  assert.deepEqual(
    applyPatch(undefined, { spec: { rules: [1], a: 1 } }, { spec: { rules: [2] } }),
    {
      spec: { rules: [2], a: 1 },
    },
  );
});
