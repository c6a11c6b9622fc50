import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createMetrics } from './metrics.ts';

describe('metrics', () => {
  test('what was counted is rendered with its labels', async () => {
    const m = createMetrics();
    const c = m.counter({ name: 'a_total', help: 'A', labels: ['x'] });
    c.add({ x: 'one' });
    c.add({ x: 'one' }, 2);
    c.add({ x: 'q"\n\\' });
    m.gauge({ name: 'g', help: 'G' }).set({}, 5);
    m.histogram({ name: 'h', help: 'H', buckets: [1, 2] }).observe({}, 1.5);
    const { type, body } = await m.render(undefined);
    assert.match(type, /^text\/plain/);
    assert.match(body, /a_total\{x="one"\} 3\n/);
    assert.match(body, /a_total\{x="q\\"\\n\\\\"\} 1\n/);
    assert.match(body, /g 5\n/);
    assert.match(body, /h_bucket\{le="2"\} 1\n/);
    assert.equal(await m.value('a_total', { x: 'one' }), 3);
    assert.equal(await m.value('a_total', { x: 'none' }), 0);
    assert.deepEqual(
      m.declared().map((d) => `${d.type} ${d.name}`),
      [
        'counter ambient_log_lines_dropped_total',
        'counter ambient_uncaught_faults_total',
        'counter a_total',
        'gauge g',
        'histogram h',
      ],
    );
  });

  test('OpenMetrics on request, with its end mark', async () => {
    const { type, body } = await createMetrics().render(
      'application/openmetrics-text; version=1.0.0',
    );
    assert.match(type, /^application\/openmetrics-text/);
    assert.ok(body.endsWith('# EOF\n'));
  });

  test('L22 series are bounded: what is too much shares one series', async () => {
    const m = createMetrics();
    const c = m.counter({ name: 'a_total', help: 'A', labels: ['x'] });
    for (let i = 0; i < 20_050; i++) c.add({ x: `v${i}` });
    c.add({ x: 'v0' });
    assert.equal(await m.value('a_total', { x: 'overflow' }), 50);
    assert.equal(await m.value('a_total', { x: 'v0' }), 2, 'known ones go on');
  });

  test('L21 labels called __proto__ are ordinary', async () => {
    const m = createMetrics();
    m.counter({ name: 'a_total', help: 'A', labels: ['x'] }).add({ x: '__proto__' });
    assert.equal(await m.value('a_total', { x: '__proto__' }), 1);
  });

  test('two registries share nothing', async () => {
    const [a, b] = [createMetrics(), createMetrics()];
    a.counter({ name: 'a_total', help: 'A' }).add({});
    b.counter({ name: 'a_total', help: 'A' });
    assert.equal(await b.value('a_total', {}), 0);
  });
});
