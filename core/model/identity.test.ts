import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  isTrustDomain,
  parseIdentity,
  parseSpiffeId,
  printIdentity,
  trustDomainOf,
} from './index.ts';

const accepted = [
  'spiffe://cluster.local/ns/a/sa/b',
  'spiffe://a_b-c.9/x',
  'spiffe://10.0.0.1/x',
  'spiffe://td/Case-Kept/x',
  `spiffe://td/${'x'.repeat(2048 - 12)}`,
  `spiffe://${'d'.repeat(255)}/x`,
];

const refused = [
  '',
  'spiffe://cluster.local',
  'spiffe://cluster.local/',
  'SPIFFE://cluster.local/x',
  'spiffe://Cluster.local/x',
  'spiffe://[::1]/x',
  'spiffe://td/x/',
  'spiffe://td//x',
  'spiffe://td/ns//sa/',
  'spiffe://td/./x',
  'spiffe://td/../x',
  'spiffe://td/%61',
  'spiffe://t%64/x',
  'spiffe://td:80/x',
  'spiffe://user@td/x',
  'spiffe:///x',
  'spiffe://td/x?y',
  'spiffe://td/x#y',
  'https://td/x',
  'spiffe:td/x',
  `spiffe://${'d'.repeat(256)}/x`,
  `spiffe://td/${'x'.repeat(2049 - 12)}`,
  'spiffe://tđ/x',
  'spiffe://td/é',
  'spiffe://td/x\0',
  'spiffe://td/x\n',
  'spiffe://td/a b',
  'spiffe://td/a+b',
  ' spiffe://td/x',
];

describe('SPIFFE id text (1.4)', () => {
  for (const id of accepted) {
    test(`S2 accepted: ${id.slice(0, 60)}`, () => assert.equal(parseSpiffeId(id), id));
  }
  for (const id of refused) {
    test(`S2 S16 refused: ${JSON.stringify(id.slice(0, 60))}`, () => {
      assert.equal(parseSpiffeId(id), undefined);
    });
  }

  test('ids that differ in case differ', () => {
    assert.notEqual(parseSpiffeId('spiffe://td/A'), parseSpiffeId('spiffe://td/a'));
  });

  const meshForm: readonly [string, boolean][] = [
    ['spiffe://td/ns/a/sa/b', true],
    ['spiffe://td/ns/a/sa/b/c', false],
    ['spiffe://td/ns/a/sa', false],
    ['spiffe://td/sa/a/ns/b', false],
    ['spiffe://td/NS/a/sa/b', false],
    ['spiffe://td/x', false],
  ];
  for (const [id, is] of meshForm) {
    test(`S17 ${id} ${is ? 'has' : 'has not'} the mesh's form`, () => {
      assert.equal(parseIdentity(id) !== undefined, is);
      assert.ok(parseSpiffeId(id), 'it is an id all the same');
    });
  }

  test('print ∘ parse is the identity', () => {
    const segment = fc.stringMatching(/^[A-Za-z0-9_-]{1,20}$/);
    const domain = fc.stringMatching(/^[a-z0-9._-]{1,20}$/);
    fc.assert(
      fc.property(domain, segment, segment, (trustDomain, namespace, serviceAccount) => {
        const id = printIdentity({ trustDomain, namespace, serviceAccount });
        assert.deepEqual(parseIdentity(id), { trustDomain, namespace, serviceAccount });
        assert.equal(trustDomainOf(id), trustDomain);
        assert.ok(isTrustDomain(trustDomain));
      }),
    );
  });
});
