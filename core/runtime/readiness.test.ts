import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Readiness } from './readiness.ts';

describe('readiness', () => {
  test('ready once everything named is done; it tells what is pending', async () => {
    const r = new Readiness(['b', 'a']);
    const waited = r.whenReady();
    assert.deepEqual(r.pending, ['a', 'b']);
    r.done('a');
    r.done('a');
    r.done('never named');
    assert.equal(r.ready, false);
    r.done('b');
    await waited;
    assert.equal(r.ready, true);
    await r.whenReady();
  });

  test('a promise can be taken back', () => {
    const r = new Readiness([]);
    assert.equal(r.ready, true);
    r.undo('x');
    assert.deepEqual(r.pending, ['x']);
    r.done('x');
    assert.equal(r.ready, true);
  });
});
