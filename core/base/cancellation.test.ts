import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Cancellation } from './cancellation.ts';

describe('cancellation', () => {
  test('tells its listeners once, with the first reason', () => {
    const c = new Cancellation();
    const heard: string[] = [];
    c.onAbort((r) => heard.push(`a ${r.message}`));
    c.onAbort((r) => heard.push(`b ${r.message}`));
    assert.equal(c.aborted, false);
    c.abort(new Error('one'));
    c.abort(new Error('two'));
    assert.deepEqual(heard, ['a one', 'b one']);
    assert.equal(c.aborted, true);
    assert.equal(c.reason?.message, 'one');
  });

  test('who comes late is told at once, who left is not', () => {
    const c = new Cancellation();
    const heard: string[] = [];
    const leave = c.onAbort(() => heard.push('left'));
    leave();
    leave();
    c.abort(new Error('one'));
    c.onAbort(() => heard.push('late'));
    assert.deepEqual(heard, ['late']);
  });

  test('a listener may leave, and take another along, while they are told', () => {
    const c = new Cancellation();
    const heard: string[] = [];
    const leave = c.onAbort(() => {
      leave();
      heard.push('a');
    });
    c.onAbort(() => heard.push('b'));
    c.abort(new Error('one'));
    assert.deepEqual(heard, ['a', 'b']);
  });

  test('until: what is waited for, or the abort if that comes first', async () => {
    const c = new Cancellation();
    assert.equal(await c.until(Promise.resolve(1)), 1);
    await assert.rejects(c.until(Promise.reject(new Error('failed'))), /failed/);
    const late = Promise.withResolvers<void>();
    const waiting = c.until(late.promise);
    c.abort(new Error('left'));
    late.reject(new Error('nobody hears of it'));
    await assert.rejects(waiting, /left/);
    await assert.rejects(c.until(new Promise(() => {})), /left/);
  });

  test('any: the first of several', () => {
    const [a, b] = [new Cancellation(), new Cancellation()];
    const both = Cancellation.any(a, b);
    b.abort(new Error('b'));
    a.abort(new Error('a'));
    assert.equal(both.reason?.message, 'b');
    assert.equal(Cancellation.any(a, b).reason?.message, 'a');
  });
});
