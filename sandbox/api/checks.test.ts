import assert from 'node:assert/strict';
import { test } from 'node:test';
import { duration } from './columns.ts';
import { checkCustom } from './custom-check.ts';
import { parseJson } from './json.ts';
import { readPath, readPaths, writePath } from './json-path.ts';
import { parseRoute } from './route.ts';
import { checkShape } from './shape-check.ts';
import { spdyDictionary } from './spdy-dictionary.ts';

test('shapes tell unknown fields, wrong types and missing fields apart', () => {
  const { value, unknown, mistyped, missing } = checkShape('V1Pod', {
    metadata: { name: 'a', labels: { x: 1 }, creationTimestamp: null },
    spec: {
      containers: [{ image: 'x', prots: 1, resources: { limits: { cpu: 1, memory: 'lots' } } }],
      hostNetwork: 'yes',
    },
  });
  assert.deepEqual(unknown, ['spec.containers[0].prots']);
  assert.deepEqual(
    mistyped.map((f) => f.field),
    ['metadata.labels.x', 'spec.containers[0].resources.limits.memory', 'spec.hostNetwork'],
  );
  assert.deepEqual(
    missing.map((f) => f.field),
    ['spec.containers[0].name'],
  );
  assert.equal('creationTimestamp' in (value as { metadata: object }).metadata, false);
});

const schema = {
  type: 'object',
  required: ['spec'],
  properties: {
    spec: {
      type: 'object',
      required: ['name'],
      properties: {
        name: { type: 'string', minLength: 2, maxLength: 4, pattern: '^[a-z]+$' },
        mode: { type: 'string', enum: ['A', 'B'], default: 'A' },
        port: { 'x-kubernetes-int-or-string': true },
        count: { type: 'integer', minimum: 1, maximum: 5 },
        tags: { type: 'array', maxItems: 2, items: { type: 'string' } },
        keyed: {
          type: 'array',
          'x-kubernetes-list-type': 'map',
          'x-kubernetes-list-map-keys': ['k'],
          items: { type: 'object', properties: { k: { type: 'string' } } },
        },
        free: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
        labels: { type: 'object', additionalProperties: { type: 'string' } },
        either: {
          type: 'object',
          properties: { a: { type: 'string' }, b: { type: 'string' } },
          oneOf: [{ required: ['a'] }, { required: ['b'] }],
        },
      },
    },
  },
} as const;

const check = (spec: object) =>
  checkCustom(schema, { apiVersion: 'x/v1', kind: 'X', metadata: { name: 'n' }, spec });

test('custom schemas prune, fill defaults, and name what is wrong', () => {
  const good = check({ name: 'ab', port: 80, free: { any: [1] }, labels: { a: 'b' }, extra: 1 });
  assert.deepEqual(good.faults, []);
  assert.deepEqual(good.unknown, ['spec.extra']);
  assert.deepEqual(good.value, {
    apiVersion: 'x/v1',
    kind: 'X',
    metadata: { name: 'n' },
    spec: { name: 'ab', port: 80, free: { any: [1] }, labels: { a: 'b' }, mode: 'A' },
  });
  const bad: readonly (readonly [object, string])[] = [
    [{}, 'spec.name'],
    [{ name: 'a' }, 'spec.name'],
    [{ name: 'abcde' }, 'spec.name'],
    [{ name: 'A1' }, 'spec.name'],
    [{ name: 'ab', mode: 'C' }, 'spec.mode'],
    [{ name: 'ab', port: true }, 'spec.port'],
    [{ name: 'ab', count: 0 }, 'spec.count'],
    [{ name: 'ab', count: 1.5 }, 'spec.count'],
    [{ name: 'ab', tags: ['a', 'b', 'c'] }, 'spec.tags'],
    [{ name: 'ab', tags: [1] }, 'spec.tags[0]'],
    [{ name: 'ab', keyed: [{ k: 'x' }, { k: 'x' }] }, 'spec.keyed[1]'],
    [{ name: 'ab', labels: { a: 1 } }, 'spec.labels.a'],
    [{ name: 'ab', either: {} }, 'spec.either'],
    [{ name: 'ab', either: { a: 'x', b: 'y' } }, 'spec.either'],
  ];
  for (const [spec, field] of bad) {
    assert.equal(check(spec).faults[0]?.field, field, JSON.stringify(spec));
  }
});

test('JSON of others: depth and prototypes are refused, prototype words in values are not', () => {
  assert.throws(() => parseJson('['.repeat(200) + ']'.repeat(200)), /nested too deeply/);
  assert.throws(() => parseJson('{"a":{"__proto__":{"x":1}}}'), /__proto__/);
  assert.throws(() => parseJson('{"\\u005f_proto__":{"x":1}}'), /__proto__/);
  assert.throws(() => parseJson('{'), /not JSON/);
  assert.deepEqual(parseJson('{"a":"[[__proto__"}'), { a: '[[__proto__' });
});

test('JSONPath of printer columns and scale', () => {
  const object = {
    spec: { a: [{ n: 'x' }, { n: 'y' }], 'b.c': 1 },
    status: { conditions: [{ type: 'Ready', status: 'True' }] },
  };
  assert.equal(readPath(object, '.status.conditions[?(@.type=="Ready")].status'), 'True');
  assert.deepEqual(readPaths(object, '.spec.a[*].n'), ['x', 'y']);
  assert.equal(readPath(object, '.spec.a[1].n'), 'y');
  assert.equal(readPath(object, ".spec['b.c']"), 1);
  assert.equal(readPath(object, '.spec.b\\.c'), 1);
  assert.equal(readPath(object, '.spec.constructor'), undefined);
  const target: Record<string, unknown> = {};
  writePath(target, '.spec.replicas', 3);
  assert.deepEqual(target, { spec: { replicas: 3 } });
});

test('routes', () => {
  const cases: readonly (readonly [string, object])[] = [
    ['/api/v1/namespaces', { plural: 'namespaces', name: undefined }],
    ['/api/v1/namespaces/x', { plural: 'namespaces', name: 'x' }],
    ['/api/v1/namespaces/x/finalize', { plural: 'namespaces', name: 'x', sub: 'finalize' }],
    ['/api/v1/namespaces/x/pods/y/log', { plural: 'pods', namespace: 'x', name: 'y', sub: 'log' }],
    ['/apis/apps/v1/deployments', { group: 'apps', plural: 'deployments', namespace: undefined }],
    ['/apis/g.io/v1/things/t/status', { plural: 'things', name: 't', sub: 'status' }],
  ];
  for (const [path, expected] of cases) {
    const route = parseRoute(path) as unknown as Record<string, unknown>;
    for (const [key, value] of Object.entries(expected)) assert.equal(route[key], value, path);
  }
  for (const path of [
    '/',
    '/x',
    '/api/v1/namespaces/x//y',
    '/api/v1/pods/%00',
    '/api/v1/pods/%2e%2',
    '/apis/g/v1/namespaces/a/b/c/d/e',
  ]) {
    assert.equal(parseRoute(path).do, 'unknown', path);
  }
});

test('ages print as kubectl prints them', () => {
  const s = 1000;
  const cases: readonly (readonly [number, string])[] = [
    [-5 * s, '0s'],
    [119 * s, '119s'],
    [120 * s, '2m'],
    [272 * s, '4m32s'],
    [3600 * s, '60m'],
    [4 * 3600 * s, '4h'],
    [30 * 3600 * s, '30h'],
    [(3 * 24 + 5) * 3600 * s, '3d5h'],
    [400 * 24 * 3600 * s, '400d'],
  ];
  for (const [ms, expected] of cases) assert.equal(duration(ms), expected);
});

test('the SPDY dictionary is the one of the specification', () => {
  let a = 1;
  let b = 0;
  for (const byte of spdyDictionary) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  assert.equal(spdyDictionary.length, 1423);
  assert.equal((b * 65536 + a).toString(16), 'e3c6a7c2');
});
