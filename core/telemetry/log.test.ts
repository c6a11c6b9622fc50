import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createLog } from './log.ts';

function capture(options: { level?: string; format?: 'plain' | 'json' } = {}) {
  const lines: string[] = [];
  return { lines, log: createLog('root', { ...options, write: (l) => lines.push(l) }) };
}

describe('log', () => {
  test('a plain line: time, level, scope, message, fields; addresses bare, texts quoted', () => {
    const { lines, log } = capture();
    log
      .child('access')
      .info('done', { 'src.addr': '10.0.0.1:1', name: 'a b', n: 3, none: undefined });
    assert.match(
      lines[0] ?? '',
      /^\d{4}-\d\d-\d\dT[\d:.]+Z\tinfo\taccess\tdone\tsrc\.addr=10\.0\.0\.1:1 name="a b" n=3\n$/,
    );
  });

  test('rule 0.8 control characters of a peer never start a line of their own', () => {
    for (const format of ['plain', 'json'] as const) {
      const { lines, log } = capture({ format });
      log.warn('x', { name: 'a\nb\tc"d' });
      assert.equal(lines.length, 1);
      assert.equal((lines[0] ?? '').trimEnd().split('\n').length, 1);
    }
  });

  for (const key of ['token', 'authorization', 'key', 'privateKey', 'pem', 'password', 'secret']) {
    test(`rule 0.7 the field ${key} is never shown`, () => {
      const { lines, log } = capture();
      log.error('x', { [key]: 'hunter2' });
      assert.ok(!(lines[0] ?? '').includes('hunter2'));
    });
  }

  test('errors are told by their message', () => {
    const { lines, log } = capture({ format: 'json' });
    log.error('x', { error: new Error('broken') });
    assert.equal((JSON.parse(lines[0] ?? '{}') as { error: string }).error, 'broken');
  });

  test('levels change while running, per scope, and go back', () => {
    const { lines, log } = capture();
    const xds = log.child('xds');
    const other = log.child('other');
    xds.debug('no');
    assert.ok(log.setLevels('xds=debug'));
    xds.debug('yes');
    other.debug('no');
    assert.equal(log.levels(), 'xds=debug,info');
    assert.equal(log.setLevels('nonsense'), false);
    log.resetLevels();
    xds.debug('no');
    assert.ok(log.setLevels('off'));
    xds.error('no');
    assert.deepEqual(
      lines.map((l) => l.split('\t')[3]),
      ['yes'],
    );
  });

  test('a scope made after the change has its level too', () => {
    const { lines, log } = capture({ level: 'late=debug,warn' });
    log.child('late').debug('yes');
    log.child('early').info('no');
    assert.equal(lines.length, 1);
  });

  test('F41 a level that is none is told at start', () => {
    assert.throws(() => createLog('x', { level: 'loud' }), RangeError);
  });
});
