// From evidence to a verdict and an exit code: nothing but a negotiated connection proves anything.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { exitCode, judge, type Leg, provesMtls, type Report } from './verdict.ts';

const leg: Leg = {
  from: 'a',
  to: 'b',
  protocol: 'HBONE',
  tls: { version: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', alpn: 'h2' },
  peer: { identity: 'spiffe://td/ns/b/sa/b', serial: '1', notAfter: '', chain: [] },
  local: { identity: 'spiffe://td/ns/a/sa/a', serial: '2' },
};

describe('verify verdict', () => {
  const bad: [string, Leg][] = [
    ['plain protocol', { ...leg, protocol: 'TCP' }],
    ['no TLS facts', { ...leg, tls: undefined }],
    ['TLS 1.2', { ...leg, tls: { version: 'TLSv1.2', cipher: 'x', alpn: 'h2' } }],
    ['no ALPN', { ...leg, tls: { version: 'TLSv1.3', cipher: 'x', alpn: '' } }],
    ['no peer', { ...leg, peer: undefined }],
    ['own identity not shown', { ...leg, local: undefined }],
  ];
  test('a whole leg proves mutual TLS', () => assert.ok(provesMtls(leg)));
  for (const [name, l] of bad) test(`not proven: ${name}`, () => assert.ok(!provesMtls(l)));

  const rows: [string, Parameters<typeof judge>[0], string][] = [
    ['not served by its proxy', { served: false, ok: false, legs: [] }, 'plaintext'],
    ['refused', { served: true, ok: false, protocol: 'HBONE', legs: [leg] }, 'refused'],
    ['plain path', { served: true, ok: true, protocol: 'TCP', legs: [] }, 'plaintext'],
    ['proven', { served: true, ok: true, protocol: 'HBONE', legs: [leg] }, 'mtls'],
    [
      'proven, but something could be read on the wire',
      { served: true, ok: true, protocol: 'HBONE', legs: [leg], leaks: true },
      'plaintext',
    ],
    [
      'refused, and something could be read on the wire',
      { served: true, ok: false, protocol: 'HBONE', legs: [leg], leaks: true },
      'plaintext',
    ],
    ['tunnel without proof', { served: true, ok: true, protocol: 'HBONE', legs: [] }, 'unknown'],
    [
      'one of two legs unproven',
      { served: true, ok: true, protocol: 'HBONE', legs: [leg, { ...leg, tls: undefined }] },
      'unknown',
    ],
    [
      'behind a waypoint, second leg unseen',
      { served: true, ok: true, protocol: 'HBONE', legs: [leg], expected: 2 },
      'unknown',
    ],
    [
      'behind a waypoint, second leg plain',
      {
        served: true,
        ok: true,
        protocol: 'HBONE',
        legs: [leg, { from: 'w', to: 'b', protocol: 'TCP' }],
        expected: 2,
      },
      'plaintext',
    ],
    [
      'behind a waypoint, both legs',
      { served: true, ok: true, protocol: 'HBONE', legs: [leg, leg], expected: 2 },
      'mtls',
    ],
  ];
  for (const [name, facts, verdict] of rows)
    test(`${name}: ${verdict}`, () => assert.equal(judge(facts), verdict));

  const report = (verdict: Report['verdict'], accepted: boolean | null): Report => ({
    verdict,
    from: '',
    to: '',
    destination: '',
    legs: [],
    policies: [],
    plaintext: { accepted, decidedBy: '' },
    evidence: [],
    proofs: [],
  });
  const codes: [Report['verdict'], boolean | null, boolean, number][] = [
    ['mtls', false, true, 0],
    ['mtls', true, false, 0],
    ['mtls', true, true, 3],
    ['mtls', null, true, 3],
    ['plaintext', true, false, 4],
    ['refused', false, true, 5],
    ['unknown', null, false, 6],
  ];
  for (const [verdict, accepted, strict, code] of codes) {
    test(`${verdict}, plaintext ${accepted}, strict ${strict}: exit ${code}`, () => {
      assert.equal(exitCode(report(verdict, accepted), strict), code);
    });
  }
});
