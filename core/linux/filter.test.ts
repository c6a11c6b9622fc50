import assert from 'node:assert/strict';
import test from 'node:test';
import { buildFilter, runFilter, type TrapRule, verdicts } from './filter.ts';
import { callNumbers, errno } from './numbers.ts';

const rules: TrapRule[] = [
  { nr: 42, action: { do: 'notify' } },
  { nr: 257, when: { arg: 2, mask: 0b11, value: 0 }, action: { do: 'notify' } },
  { nr: 425, action: { do: 'fail', errno: errno.ENOSYS } },
];

for (const name of ['x64', 'arm64']) {
  const arch = callNumbers(name)?.arch ?? 0;
  const program = buildFilter(arch, rules);
  const run = (nr: number, args: number[] = [], from = arch): number =>
    runFilter(program, { arch: from, nr, args });

  test(`${name}: trapped, conditional, refused and free calls`, () => {
    assert.equal(run(42), verdicts.notify);
    assert.equal(run(257, [0, 0, 0x80000]), verdicts.notify);
    assert.equal(run(257, [0, 0, 0x80001]), verdicts.allow);
    assert.equal(run(425), verdicts.fail(errno.ENOSYS));
    assert.equal(run(0), verdicts.allow);
  });

  test(`${name}: calls of another machine type fail, they cannot be judged`, () => {
    assert.equal(run(42, [], 0x40000003), verdicts.fail(errno.ENOSYS));
    assert.equal(run(42 | 0x40000000), verdicts.fail(errno.ENOSYS));
  });
}

test('an unknown machine has no numbers', () => {
  assert.equal(callNumbers('mips'), undefined);
});
