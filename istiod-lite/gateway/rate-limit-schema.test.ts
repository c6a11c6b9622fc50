// The check and the schema say the same of the same value: the sandbox's API, which knows the schema alone, is asked
// for the second opinion.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { shape } from '../../core/base/index.ts';
import { checkCustom } from '../../sandbox/api/custom-check.ts';
import { rateLimit, sharedCounter } from './rate-limit-schema.ts';

/** Values around the borders of what is right, and some far from it. */
const texts = fc.oneof(
  fc.constantFrom('', 'a', 'a-b_c', '-a', 'Second', 'Day', 'Week', 'Header', 'Moon', 'Open'),
  fc.string({ maxLength: 70, unit: 'grapheme' }),
);
const numbers = fc.oneof(
  fc.constantFrom(-1, 0, 1, 1.5, 65_535, 65_536, 1_000_000_000, 1_000_000_001),
  fc.integer(),
);
const some = fc.oneof(texts, numbers, fc.boolean(), fc.constant([]), fc.constant({}));
const lists = (of: fc.Arbitrary<unknown>, most: number) =>
  fc.oneof(
    { weight: 5, arbitrary: fc.array(of, { maxLength: most + 1 }) },
    { weight: 1, arbitrary: some },
  );
const key = fc.record({ type: texts, name: fc.oneof(texts, some) }, { requiredKeys: [] });
const limit = fc.record(
  {
    requests: fc.oneof(numbers, some),
    name: texts,
    unit: texts,
    burst: numbers,
    by: lists(key, 8),
    paths: lists(texts, 3),
    methods: lists(some, 3),
    other: some,
  },
  { requiredKeys: [] },
);
const shared = fc.record(
  { service: fc.oneof(texts, some), port: numbers, timeout: texts, failureMode: texts },
  { requiredKeys: [] },
);

const agree = (what: shape.Shape<unknown>, value: unknown): boolean => {
  const faults: string[] = [];
  const read = what.read(value, 'x', faults);
  const { faults: other } = checkCustom(what.schema, value);
  assert.equal(read === undefined, other.length > 0, JSON.stringify({ value, faults, other }));
  assert.equal(read === undefined, faults.length > 0, 'what is refused is told');
  assert.ok(
    faults.every((f) => f.startsWith('x')),
    'and where it stands',
  );
  return read !== undefined;
};

test('type, check and schema are one', () => {
  let right = 0;
  let wrong = 0;
  const count = (fine: boolean): void => {
    if (fine) right++;
    else wrong++;
  };
  fc.assert(fc.property(fc.oneof(limit, some), (value) => count(agree(rateLimit, value))));
  fc.assert(fc.property(fc.oneof(shared, some), (value) => count(agree(sharedCounter, value))));
  for (const requests of [1, 1_000_000_000])
    count(agree(rateLimit, { requests, by: [{ type: 'Path' }] }));
  count(agree(sharedCounter, { service: 'a/b', port: 1, failureMode: 'Closed' }));
  assert.ok(right > 2 && wrong > 50);
});

test('faults name field and value', () => {
  const said = (value: unknown): string[] => {
    const faults: string[] = [];
    rateLimit.read(value, '', faults);
    return faults;
  };
  assert.deepEqual(said({ requests: 0, unit: 'Week', by: [{ type: 'Path' }, { type: 'Moon' }] }), [
    'requests must be 1 to 1000000000 and whole, is 0',
    'unit "Week" is none of Second, Minute, Hour, Day',
    'by[1].type "Moon" is none of Identity, Path, Method, Address, Header, Claim',
  ]);
  assert.deepEqual(said({}), ['requests is missing']);
  assert.deepEqual(said({ requests: null }), ['requests is missing']);
  assert.deepEqual(said({ requests: 1, name: 'a b', other: 1 }), [
    'name must fit ^[a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?$, is "a b"',
  ]);
  assert.deepEqual(said(7), ['must be an object, is 7']);
});

test('names that JavaScript has on every object are no fields and no values', () => {
  const { record, oneOf } = shape;
  const s = record({}, { constructor: oneOf('a') });
  assert.deepEqual(s.read({}, '', []), {});
  assert.equal(oneOf('a').read('constructor', 'x', []), undefined);
});
