// Choosing an endpoint: balancers, tables, priorities, breakers, outliers (waypoint-l7.md 5.2–5.4).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseIp, seededRandom } from '../../core/base/index.ts';
import type { Workload } from '../../core/model/index.ts';
import { leastRequest, randomHost, RoundRobin } from './balancers.ts';
import { Breaker, type BreakerRules } from './breaker.ts';
import { maglev, ringHash } from './consistent.ts';
import { xxh64 } from './hash.ts';
import { localityLevels, localityMatches, type LocalityRules } from './locality.ts';
import { type OutlierRules, OutlierState, type Result } from './outlier.ts';
import { chooseLevel, levelLoads } from './priority.ts';

const hosts = (...weights: number[]) => weights.map((weight, i) => ({ name: `h${i}`, weight }));
const shares = <T extends { name: string }>(n: number, next: () => T | undefined) => {
  const counts: Record<string, number> = {};
  for (let i = 0; i < n; i++) {
    const name = next()?.name ?? 'none';
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
};

describe('XXH64', () => {
  const rows: readonly (readonly [string, bigint])[] = [
    ['', 0xef46_db37_51d8_e999n],
    ['a', 0xd24e_c4f1_a98c_6e5bn],
    ['abc', 0x44bc_2cf5_ad77_0999n],
    ['Nobody inspects the spammish repetition', 0xfbce_a83c_8a37_8bf1n],
  ];
  for (const [text, wanted] of rows) {
    test(JSON.stringify(text), () => assert.equal(xxh64(text), wanted));
  }
});

describe('simple balancers', () => {
  test('ROUND_ROBIN: everyone in turn; weights 2:1 as a,b,a and not a,a,b', () => {
    const turns = new RoundRobin();
    const random = seededRandom(1);
    const even = hosts(1, 1, 1);
    assert.deepEqual(
      shares(300, () => turns.next(even, random)),
      { h0: 100, h1: 100, h2: 100 },
    );
    const weighted = new RoundRobin();
    const two = hosts(2, 1);
    assert.deepEqual(
      shares(300, () => weighted.next(two, random)),
      { h0: 200, h1: 100 },
    );
    const order = Array.from({ length: 30 }, () => weighted.next(two, random)?.name).join();
    assert.doesNotMatch(order, /h0,h0,h0/);
  });

  test('ROUND_ROBIN: one that was out for long does not catch up', () => {
    const turns = new RoundRobin();
    const random = seededRandom(2);
    const [a, b] = hosts(1, 1);
    assert.ok(a && b);
    for (let i = 0; i < 10; i++) turns.next([a, b], random);
    for (let i = 0; i < 100; i++) turns.next([a], random);
    const after = shares(10, () => turns.next([a, b], random));
    assert.deepEqual(after, { h0: 5, h1: 5 });
  });

  test('LEAST_REQUEST: of two the idle one, always; weights share by weight ÷ (running + 1)', () => {
    const random = seededRandom(3);
    const pair = hosts(1, 1);
    const busy = (h: { name: string }): number => (h.name === 'h0' ? 5 : 0);
    assert.deepEqual(
      shares(50, () => leastRequest(pair, busy, random)),
      { h1: 50 },
    );
    const counts = shares(6_000, () => leastRequest(hosts(2, 1), () => 0, random));
    assert.ok(Math.abs((counts['h0'] ?? 0) - 4_000) < 250, JSON.stringify(counts));
    const evened = shares(6_000, () =>
      leastRequest(hosts(2, 1), (h) => (h.name === 'h0' ? 1 : 0), random),
    );
    assert.ok(Math.abs((evened['h0'] ?? 0) - 3_000) < 250, JSON.stringify(evened));
  });

  test('RANDOM: in proportion to weight', () => {
    const random = seededRandom(4);
    const counts = shares(8_000, () => randomHost(hosts(3, 1), random));
    assert.ok(Math.abs((counts['h0'] ?? 0) - 6_000) < 250, JSON.stringify(counts));
  });

  test('nobody: undefined, for each', () => {
    const random = seededRandom(5);
    assert.equal(
      leastRequest([], () => 0, random),
      undefined,
    );
    assert.equal(randomHost([], random), undefined);
    assert.equal(new RoundRobin().next([], random), undefined);
    assert.equal(ringHash([])(1n), undefined);
    assert.equal(maglev([], 7)(1n), undefined);
  });
});

const tables = [
  ['ring hash', (h: ReturnType<typeof hosts>) => ringHash(h, 1024)],
  ['maglev', (h: ReturnType<typeof hosts>) => maglev(h, 4099)],
] as const;
const keys = Array.from({ length: 1_000 }, (_, i) => xxh64(`key ${i}`));

for (const [name, build] of tables) {
  describe(name, () => {
    test('the same key goes to the same host, whatever the build', () => {
      fc.assert(
        fc.property(fc.integer({ min: 1, max: 12 }), fc.bigInt(0n, 2n ** 64n - 1n), (n, key) => {
          const all = hosts(...Array.from({ length: n }, () => 1));
          const one = build(all)(key);
          assert.equal(build(all)(key), one);
          assert.ok(one !== undefined && one < n);
        }),
        { numRuns: 25, seed: 7 },
      );
    });

    test('shares follow weights', () => {
      fc.assert(
        fc.property(
          fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 2, maxLength: 6 }),
          (w) => {
            const look = build(hosts(...w));
            const total = w.reduce((a, b) => a + b, 0);
            const counts = w.map(() => 0);
            for (const k of keys) {
              const at = look(k) ?? 0;
              counts[at] = (counts[at] ?? 0) + 1;
            }
            for (const [i, weight] of w.entries()) {
              const share = (counts[i] ?? 0) / keys.length;
              assert.ok(Math.abs(share - weight / total) < 0.12, `${w.join()} ${counts.join()}`);
            }
          },
        ),
        { numRuns: 10, seed: 8 },
      );
    });

    test('one host less: only its keys move, but for a few', () => {
      fc.assert(
        fc.property(fc.integer({ min: 3, max: 10 }), fc.nat(), (n, draw) => {
          const all = hosts(...Array.from({ length: n }, () => 1));
          const gone = draw % n;
          const left = all.filter((_, i) => i !== gone);
          const before = build(all);
          const after = build(left);
          let moved = 0;
          for (const k of keys) {
            const was = all[before(k) ?? -1]?.name;
            const is = left[after(k) ?? -1]?.name;
            if (was !== all[gone]?.name && was !== is) moved++;
          }
          // The size stays, so the others' points grow in number: a few keys move between them.
          assert.ok(moved <= 0.15 * keys.length, `${moved} moved`);
        }),
        { numRuns: 8, seed: 9 },
      );
    });
  });
}

describe('priorities', () => {
  const level = (fit: number, all = 100) => ({
    all: Array.from({ length: all }, (_, i) => i),
    fit: Array.from({ length: fit }, (_, i) => i),
  });
  const rows: readonly (readonly [number, readonly number[]])[] = [
    [100, [100, 0]],
    [72, [100, 0]],
    [71, [99, 1]],
    [50, [70, 30]],
    [25, [35, 65]],
    [0, [0, 100]],
  ];
  for (const [fit, wanted] of rows) {
    test(`${fit} % of the first level are well: ${wanted.join('/')}`, () =>
      assert.deepEqual(levelLoads([level(fit), level(100)]), wanted));
  }

  test('loads sum to 100 whenever anybody is well', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(20), fc.nat(20)), { minLength: 1, maxLength: 5 }),
        (all) => {
          const levels = all.map(([a, b]) => level(Math.min(a, b), Math.max(a, b)));
          const sum = levelLoads(levels).reduce((a, b) => a + b, 0);
          const any = levelLoads(levels).some((l) => l > 0);
          assert.equal(sum, any ? 100 : 0);
        },
      ),
      { seed: 10 },
    );
  });

  test('nobody well: nobody; with a panic threshold: everybody', () => {
    assert.deepEqual(chooseLevel([level(0, 3)], 0, seededRandom(1)), []);
    assert.equal(chooseLevel([level(0, 3)], 50, seededRandom(1)).length, 3);
    assert.equal(chooseLevel([level(1, 4)], 50, seededRandom(1)).length, 4);
    assert.equal(chooseLevel([level(1, 4)], 0, seededRandom(1)).length, 1);
  });
});

describe('localities', () => {
  const at = (locality: string, more: Partial<Workload> = {}): Workload => {
    const [region = '', zone = '', subzone = ''] = locality.split('/');
    const ip = parseIp('10.0.0.1');
    return {
      uid: locality,
      addresses: ip ? [ip] : [],
      locality: { region, zone, subzone },
      network: '',
      node: '',
      clusterId: '',
      ...more,
    } as Workload;
  };
  const placed = (...where: string[]) =>
    where.map((w) => ({ workload: at(w), weight: 1, fit: true }));
  const none: LocalityRules = { disabled: false, distribute: [], failover: [], priority: [] };
  const self = at('eu/a/1');
  const all = placed('eu/a/1', 'eu/a/2', 'eu/b/1', 'us/a/1', 'ap/a/1');
  const shown = (rules: LocalityRules | undefined, outlier: boolean) =>
    localityLevels(all, self, rules, outlier, undefined).map((l) =>
      l.all.map((h) => h.workload.uid).join(' '),
    );

  test('by default, with outlier detection: subzone, zone, region, rest', () => {
    assert.deepEqual(shown(undefined, true), ['eu/a/1', 'eu/a/2', 'eu/b/1', 'us/a/1 ap/a/1']);
  });
  test('without outlier detection nothing would say who is unwell: one level', () => {
    assert.equal(shown(undefined, false).length, 1);
    assert.equal(shown({ ...none, failover: [{ from: 'eu', to: 'us' }] }, false).length, 1);
  });
  test('failover eu → us: others sink', () => {
    const rules = { ...none, failover: [{ from: 'eu', to: 'us' }] };
    assert.deepEqual(shown(rules, true), ['eu/a/1', 'eu/a/2', 'eu/b/1', 'us/a/1', 'ap/a/1']);
  });
  test('failoverPriority by labels', () => {
    const rules = {
      ...none,
      priority: ['topology.kubernetes.io/region', 'topology.kubernetes.io/zone'],
    };
    assert.deepEqual(shown(rules, true), ['eu/a/1 eu/a/2', 'eu/b/1', 'us/a/1 ap/a/1']);
  });
  test('disabled: one level', () =>
    assert.equal(shown({ ...none, disabled: true }, true).length, 1));
  test('distribute: weights by locality, others get nothing', () => {
    const rules = { ...none, distribute: [{ from: 'eu/*', to: { 'eu/a': 80, 'us/*': 20 } }] };
    const [level] = localityLevels(all, self, rules, false, undefined);
    const weights = level?.all.map((h) => [h.workload.uid, h.weight]);
    assert.deepEqual(weights, [
      ['eu/a/1', 40],
      ['eu/a/2', 40],
      ['us/a/1', 20],
    ]);
  });
  test('patterns', () => {
    assert.ok(localityMatches('eu', self.locality));
    assert.ok(localityMatches('eu/*/1', self.locality));
    assert.ok(!localityMatches('eu/b', self.locality));
    assert.ok(localityMatches('*', self.locality));
  });
});

describe('circuit breakers', () => {
  const off: BreakerRules = {
    maxConnections: 0,
    maxPending: 0,
    maxRequests: 0,
    maxRetries: 0,
    budget: undefined,
  };
  test('the limit holds, what is given back can be taken again, giving back twice counts once', () => {
    const b = new Breaker(() => 0);
    const rules = { ...off, maxRequests: 2 };
    const one = b.take('requests', rules);
    const two = b.take('requests', rules);
    assert.ok(one && two);
    assert.equal(b.take('requests', rules), undefined);
    assert.equal(b.overflows, 1);
    one();
    one();
    assert.ok(b.take('requests', rules));
    assert.equal(b.take('requests', rules), undefined);
  });
  test('0 is no limit', () => {
    const b = new Breaker(() => 0);
    for (let i = 0; i < 2_000; i++) assert.ok(b.take('pending', off));
  });
  test('a retry budget: percent of what runs, at least the minimum; it replaces maxRetries', () => {
    const b = new Breaker(() => 0);
    const rules = {
      ...off,
      maxRetries: 1,
      budget: { share: 2_000, minConcurrency: 3, intervalMs: 0 },
    };
    for (let i = 0; i < 3; i++) assert.ok(b.take('retries', rules));
    assert.equal(b.take('retries', rules), undefined);
    for (let i = 0; i < 20; i++) b.hold('requests');
    assert.ok(b.take('retries', rules));
    assert.equal(b.take('retries', rules), undefined);
  });
  test('a retry budget with an interval: percent of what began in it, however short it ran', () => {
    let now = 0;
    const b = new Breaker(() => now);
    const budget = { share: 2_000, minConcurrency: 1, intervalMs: 10_000 };
    const rules = { ...off, budget };
    const allowed = (): number => {
      const held = [];
      for (let one = b.take('retries', rules); one; one = b.take('retries', rules)) held.push(one);
      for (const back of held) back();
      return held.length;
    };
    for (let i = 0; i < 50; i++) b.take('requests', rules)?.();
    assert.equal(allowed(), 10);
    now = 5_000;
    for (let i = 0; i < 25; i++) b.take('requests', rules)?.();
    assert.equal(allowed(), 15);
    now = 10_000;
    assert.equal(allowed(), 5, 'the first ones are over');
    now = 15_000;
    assert.equal(allowed(), 1);
    for (let i = 0; i < 100; i++) b.take('requests', rules);
    now = 60_000;
    assert.equal(allowed(), 20, 'what still runs counts');
  });
});

describe('outlier detection (waypoint-l7.md 5.4)', () => {
  const base: OutlierRules = {
    consecutive5xx: 5,
    consecutiveGateway: 0,
    consecutiveLocal: 5,
    split: false,
    intervalMs: 10_000,
    baseEjectionMs: 30_000,
    maxEjectionPercent: 100,
  };
  const answer = (status: number): Result => ({ kind: 'answer', status });
  const local: Result = { kind: 'local' };
  const times = (n: number, r: Result): Result[] => Array.from({ length: n }, () => r);
  const rows: readonly (readonly [string, Partial<OutlierRules>, readonly Result[], string])[] = [
    ['five 500 in a row', {}, times(5, answer(500)), '5xx'],
    ['four 500', {}, times(4, answer(500)), ''],
    [
      'a good one between',
      {},
      [...times(4, answer(500)), answer(200), ...times(4, answer(500))],
      '',
    ],
    ['0 disables', { consecutive5xx: 0 }, times(50, answer(500)), ''],
    [
      'gateway errors: 502, 503, 504',
      { consecutiveGateway: 3 },
      [502, 503, 504].map(answer),
      'gateway',
    ],
    ['500 is no gateway error', { consecutiveGateway: 3 }, [502, 503, 500, 504].map(answer), ''],
    ['local failures count as 503', {}, times(5, local), '5xx'],
    ['split: only in their own counter', { split: true, consecutiveLocal: 6 }, times(5, local), ''],
    ['split: their own limit', { split: true, consecutiveLocal: 3 }, times(3, local), 'local'],
    [
      'split: an answer resets it',
      { split: true, consecutiveLocal: 3 },
      [local, local, answer(500), local],
      '',
    ],
    ['at most 10 % of few: nobody', { maxEjectionPercent: 10 }, times(9, answer(500)), ''],
  ];
  for (const [name, rules, results, wanted] of rows) {
    test(`${name}: ${wanted || 'stays'}`, () => {
      const s = new OutlierState();
      const why = results.map((r) => s.note('a', r, { ...base, ...rules }, 4, 0)?.why ?? '');
      assert.equal(why.find((w) => w !== '') ?? '', wanted);
    });
  }

  test('10 % of ten hosts is one; a second stays', () => {
    const s = new OutlierState();
    const rules = { ...base, maxEjectionPercent: 10 };
    const hit = (h: string) =>
      times(5, answer(500))
        .map((r) => s.note(h, r, rules, 10, 0))
        .at(-1);
    assert.ok(hit('a'));
    assert.equal(hit('b'), undefined);
  });

  test('back only with a sweep; each time longer; shorter again after good intervals', () => {
    const s = new OutlierState();
    const eject = (now: number) =>
      times(5, answer(500))
        .map((r) => s.note('a', r, base, 2, now))
        .find((e) => e)?.forMs;
    const isOut = (now: number): boolean => s.ejected(base, now).has('a');
    assert.ok(!isOut(0));
    assert.equal(eject(5_000), 30_000);
    assert.ok(isOut(35_000), 'its time is over, the sweep has not come');
    assert.ok(!isOut(40_000));
    assert.equal(eject(41_000), 60_000);
    assert.ok(isOut(100_999));
    assert.ok(!isOut(110_000));
    // Two whole intervals outside: from 2 in a row to 0.
    assert.ok(!isOut(130_000));
    assert.equal(eject(131_000), 30_000);
  });

  test('never longer than 300 s', () => {
    const s = new OutlierState();
    let now = 0;
    let longest = 0;
    for (let n = 0; n < 20; n++) {
      for (const r of times(5, answer(500)))
        longest = s.note('a', r, base, 2, now)?.forMs ?? longest;
      while (s.ejected(base, now).has('a')) now += 1_000;
    }
    assert.equal(longest, 300_000);
  });
});
