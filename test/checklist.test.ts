// Every scenario of the mesh (reliability-checklist.md 4.3, M1 to M35) has a test that says so in its name. Two of them
// cannot be had, because what they are about is not in scope: those stand here, and in docs/out-of-scope.md.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '..');
const rows = Array.from({ length: 35 }, (_, i) => `M${i + 1}`);
/** Row → why, as readers are told. */
const outOfScope = new Map([
  ['M22', 'Several clusters or networks in one mesh'],
  ['M23', 'Sidecars and their injection'],
]);

/** Ids in names of tests; `'M5 '` alone is put before a name. */
function named(): Set<string> {
  const out = new Set<string>();
  const folders = '{core,certs,ztunnel,waypoint,istiod-lite,cli,test}';
  for (const file of globSync(`${folders}/**/*.test.ts`, { cwd: root })) {
    const source = readFileSync(join(root, file), 'utf8');
    for (const [, name = ''] of source.matchAll(/\b(?:test|describe)\(\s*['`]([^'`]*)/g)) {
      for (const [id] of name.matchAll(/\bM\d+\b/g)) out.add(id);
    }
    for (const [, id = ''] of source.matchAll(/'(M\d+) '/g)) out.add(id);
  }
  return out;
}

test('each row of the mesh scenarios has a test, or a reason in docs/out-of-scope.md', () => {
  const tested = named();
  assert.deepEqual(
    rows.filter((r) => !tested.has(r) && !outOfScope.has(r)),
    [],
    'no test is named after them',
  );
  assert.deepEqual(
    [...outOfScope.keys()].filter((r) => tested.has(r)),
    [],
    'tested after all: take them off the list',
  );
  const told = readFileSync(join(root, 'docs/out-of-scope.md'), 'utf8');
  for (const [row, why] of outOfScope) assert.ok(told.includes(why), `${row}: ${why}`);
});
