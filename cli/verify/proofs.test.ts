// The seven proofs of control-plane.md 8.8, each missing in turn.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { judgeRecord } from './plaintext.ts';
import { type ProofFacts, proofsOf } from './proofs.ts';
import type { Leg } from './verdict.ts';

const leg: Leg = {
  from: 'curl.shop',
  to: 'web.shop',
  protocol: 'HBONE',
  tls: { version: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', alpn: 'h2' },
  peer: { identity: 'spiffe://td/ns/shop/sa/web', serial: '1', notAfter: '', chain: [] },
  local: { identity: 'spiffe://td/ns/shop/sa/curl', serial: '2' },
};
const end = (name: string) => ({ name, annotated: true, served: true });
const whole: ProofFacts = {
  ends: [end('curl.shop'), end('web.shop')],
  legs: [leg],
  roots: [['7'], ['7', '8']],
  report: {
    verdict: 'mtls',
    policies: [],
    plaintext: { accepted: false, decidedBy: 'istio-system/strict' },
  },
  notes: [],
};
const of = (f: ProofFacts): (boolean | null)[] => proofsOf(f).map((p) => p.ok);
const yes = true;
const no = false;

describe('the seven proofs', () => {
  const rows: [string, ProofFacts, (boolean | null)[]][] = [
    ['all', whole, [yes, yes, yes, yes, yes, yes, yes]],
    [
      'the destination is not captured',
      { ...whole, ends: [end('a'), { ...end('b'), served: false, why: 'label none' }] },
      [no, yes, yes, yes, yes, yes, yes],
    ],
    ['one end unknown', { ...whole, ends: [end('a')] }, [null, yes, yes, yes, yes, yes, yes]],
    [
      'around a waypoint',
      { ...whole, bypass: 'addressed by its pod IP' },
      [yes, no, yes, yes, yes, yes, yes],
    ],
    ['different roots', { ...whole, roots: [['7'], ['8']] }, [yes, yes, no, yes, yes, yes, yes]],
    [
      'a leg without certificate',
      { ...whole, legs: [leg, { ...leg, peer: undefined }] },
      [yes, yes, no, no, yes, yes, yes],
    ],
    [
      'refused by policy',
      {
        ...whole,
        report: { ...whole.report, verdict: 'refused', reason: { code: 'POLICY_DENIED' } },
      },
      [yes, yes, yes, yes, no, yes, no],
    ],
    [
      'plaintext accepted too',
      { ...whole, report: { ...whole.report, plaintext: { accepted: true, decidedBy: '' } } },
      [yes, yes, yes, yes, yes, no, yes],
    ],
    [
      'nothing could be asked',
      {
        ends: [],
        legs: [],
        roots: [],
        notes: [],
        report: {
          verdict: 'unknown',
          policies: [],
          plaintext: { accepted: null, decidedBy: '' },
        },
      },
      [null, null, null, null, yes, null, null],
    ],
  ];
  for (const [name, facts, expected] of rows)
    test(name, () => assert.deepEqual(of(facts), expected));

  test('both legs are named, and the waypoint', () => {
    const legs = [
      { ...leg, to: 'waypoint.shop' },
      { ...leg, from: 'waypoint.shop' },
    ];
    const path = proofsOf({ ...whole, legs, waypoint: 'waypoint.shop' })[1];
    assert.equal(path?.text, 'via waypoint waypoint.shop: curl.shop → waypoint.shop → web.shop');
  });

  const sent: [
    string,
    Parameters<typeof judgeRecord>[0],
    { open: boolean; error?: string },
    boolean,
  ][] = [
    ['recorded as refused', { state: 'refused', policy: 'a/b' }, { open: false }, false],
    ['refused, although it still looked open', { state: 'refused' }, { open: true }, false],
    ['recorded as carried', { state: 'live' }, { open: true }, true],
    ['let through, and the application hung up', { state: 'ok' }, { open: false }, true],
    ['not captured, open', undefined, { open: true }, true],
    ['not captured, nobody listens', undefined, { open: false, error: 'ECONNREFUSED' }, false],
  ];
  for (const [name, record, probe, accepted] of sent)
    test(`plaintext really sent: ${name}`, () =>
      assert.equal(judgeRecord(record, probe).accepted, accepted));
});
