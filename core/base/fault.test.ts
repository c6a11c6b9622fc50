import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type FaultCode, faults } from './fault-table.ts';
import { fromUnknown, MeshError, parseReason, printable, printReason } from './fault.ts';

const codes = Object.keys(faults) as FaultCode[];

describe('the fault table', () => {
  for (const code of codes) {
    test(`${code} is told in full`, () => {
      const row = faults[code];
      assert.match(code, /^[A-Z][A-Z0-9_]+$/);
      assert.ok(row.status === 0 || (row.status >= 400 && row.status < 600));
      assert.ok(row.help.length > 20 && row.help.endsWith('.'), 'help is a sentence');
    });
  }

  test('a reason survives printing and parsing', () => {
    const policy = fc.stringMatching(/^[a-z0-9-]{1,20}\/[a-z0-9_.-]{1,20}$/);
    fc.assert(
      fc.property(fc.constantFrom(...codes), fc.option(policy, { nil: undefined }), (code, p) => {
        const want = p === undefined ? { code } : { code, policy: p };
        assert.deepEqual(parseReason(printReason(code, p)), want);
      }),
    );
  });

  const junk = [
    '',
    'NO_SUCH_CODE',
    'toString',
    '__proto__',
    'constructor; policy=a/b',
    'policy_denied',
    `POLICY_DENIED${' '.repeat(600)}`,
  ];
  for (const text of junk) {
    test(`L21 ${JSON.stringify(text.slice(0, 30))} is no reason`, () => {
      assert.equal(parseReason(text), undefined);
    });
  }

  test('a policy name with foreign characters is left out, the code stays', () => {
    for (const name of ['a/b"c', 'a/b c', 'a/b\n', 'a/é', 'a/b;x']) {
      assert.deepEqual(parseReason(`POLICY_DENIED; policy=${name}`), { code: 'POLICY_DENIED' });
    }
  });

  test('any text is taken', () => {
    fc.assert(fc.property(fc.string(), (t) => void parseReason(t)));
  });
});

describe('fromUnknown', () => {
  const system = (code: string): Error => Object.assign(new Error('x'), { code });
  const rows: readonly [string, unknown, FaultCode][] = [
    ['connection refused', system('ECONNREFUSED'), 'DIAL_REFUSED'],
    ['host unreachable', system('EHOSTUNREACH'), 'DIAL_REFUSED'],
    ['time-out', system('ETIMEDOUT'), 'DIAL_TIMEOUT'],
    ['reset', system('ECONNRESET'), 'PEER_RESET'],
    ['broken pipe', system('EPIPE'), 'PEER_RESET'],
    ['a plain error', new Error('x'), 'INTERNAL'],
    ['a text', 'x', 'INTERNAL'],
    ['nothing', undefined, 'INTERNAL'],
    ['null', null, 'INTERNAL'],
  ];
  for (const [what, error, code] of rows) {
    test(`${what} → ${code}`, () => assert.equal(fromUnknown(error).code, code));
  }

  test('finds a MeshError among the causes, and gives up on cycles', () => {
    const inner = new MeshError('CERT_REVOKED', { detail: 'serial 1' });
    assert.equal(fromUnknown(new Error('a', { cause: new Error('b', { cause: inner }) })), inner);
    const loop = new Error('loop');
    loop.cause = loop;
    assert.equal(fromUnknown(loop).code, 'INTERNAL');
  });

  test('a MeshError knows its row', () => {
    const e = new MeshError('POLICY_DENIED', { policy: 'a/b' });
    assert.equal(e.row.status, 401);
    assert.equal(e.policy, 'a/b');
    assert.equal(e.message, 'POLICY_DENIED');
  });
});

describe('printable', () => {
  test('only printable ASCII comes out, bounded', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (t) => {
        const out = printable(t, 50);
        assert.match(out, /^[ -~]*…?$/);
        assert.ok(out.length <= 50 * 10 + 1);
      }),
    );
  });
  test('texts that differ stay different', () => {
    assert.notEqual(printable('\\u{a}'), printable('\n'));
  });
});
