// verify mtls --all: one row for each pair, one count for each connection however many proxies recorded it.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pairRows, pairsExit, pairsOf, type SeenRecord } from './pairs.ts';

const tls = { version: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', alpn: 'h2' };
const inbound: SeenRecord = {
  trace: '1',
  direction: 'inbound',
  protocol: 'HBONE',
  state: 'ok',
  startedAt: '2024-01-01T00:00:01.000Z',
  source: { addr: '10.1.0.1:4000', workload: 'curl', namespace: 'shop', identity: 'spiffe://a' },
  destination: { addr: '10.1.0.5:8080', workload: 'web', namespace: 'shop' },
  tls,
};
const outbound: SeenRecord = {
  ...inbound,
  direction: 'outbound',
  destination: {
    addr: '10.1.0.5:15008',
    hboneAddr: '10.1.0.5:8080',
    workload: 'web',
    namespace: 'shop',
    identity: 'spiffe://b',
  },
};
const plain: SeenRecord = {
  trace: '2',
  direction: 'inbound',
  protocol: 'TCP',
  state: 'ok',
  startedAt: '2024-01-01T00:00:02.000Z',
  source: { addr: '10.9.0.1:4000' },
  destination: inbound.destination,
};
const refused: SeenRecord = {
  ...inbound,
  trace: '3',
  state: 'refused',
  reason: 'POLICY_DENIED',
  policy: 'shop/no',
  startedAt: '2024-01-01T00:00:03.000Z',
};

describe('verify mtls --all', () => {
  test('both ends of a connection are one connection', () => {
    const [pair, ...more] = pairsOf([inbound, outbound]);
    assert.deepEqual(more, []);
    assert.deepEqual(pair, {
      source: 'curl.shop',
      destination: 'web.shop:8080',
      verdict: 'mtls',
      connections: 1,
      live: 0,
      mtls: 1,
      plaintext: 0,
      refused: 0,
      bothEnds: 1,
      sourceIdentity: 'spiffe://a',
      destinationIdentity: 'spiffe://b',
      tls,
      lastSeen: '2024-01-01T00:00:01.000Z',
    });
  });

  const rows: [string, SeenRecord[], string[], number][] = [
    ['nobody has talked', [], [], 6],
    ['mutual TLS', [inbound], ['mtls'], 0],
    ['plaintext from outside', [plain], ['plaintext'], 4],
    ['refused alone', [refused], ['refused'], 5],
    ['mutual TLS, and refused once', [inbound, refused], ['mtls'], 0],
    ['both ways', [inbound, { ...plain, source: inbound.source }], ['mixed'], 4],
    ['two sources', [inbound, plain], ['plaintext', 'mtls'], 4],
    [
      'a tunnel that is not TLS 1.3',
      [{ ...inbound, tls: { ...tls, version: 'TLSv1.2' } }],
      ['plaintext'],
      4,
    ],
    [
      'before and behind a waypoint',
      [
        inbound,
        {
          ...outbound,
          destination: { workload: 'wp', namespace: 'shop', hboneAddr: '10.96.0.7:80' },
        },
      ],
      ['mtls', 'mtls'],
      0,
    ],
  ];
  for (const [name, records, verdicts, code] of rows) {
    test(`${name}: exit ${code}`, () => {
      const pairs = pairsOf(records);
      assert.deepEqual(
        pairs.map((p) => p.verdict),
        verdicts,
      );
      assert.equal(pairsExit(pairs), code);
    });
  }

  test('a namespace is that of either end', () => {
    assert.equal(pairsOf([inbound], 'shop').length, 1);
    assert.equal(pairsOf([inbound], 'sale').length, 0);
    assert.equal(pairsOf([plain], 'shop').length, 1);
  });

  test('a refusal says why', () => {
    const table = pairRows(pairsOf([refused]));
    assert.ok(table[1]?.includes('refused (POLICY_DENIED)'), JSON.stringify(table));
  });
});
