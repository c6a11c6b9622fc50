// Outputs → snapshots: only what differs grows the revision.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { cidr, member, policy, service, workload } from '../../core/model/testkit.ts';
import { addressType, authorizationType } from '../../core/xds/index.ts';
import type { Outputs } from '../translate/index.ts';
import { Publisher } from './publish.ts';

const nothing: Outputs = { workloads: [], services: [], removedAddresses: [], statuses: [] };

describe('publisher', () => {
  const w = workload('a/w', ['10.0.0.1'], { services: new Map([member('a/s')]) });
  const s = service('a/s', ['10.9.0.1'], {
    cidrVips: [{ network: '', cidr: cidr('10.8.0.0/16') }],
  });

  test('names and aliases are Istio’s (6.7)', () => {
    const p = new Publisher();
    p.publish({ ...nothing, workloads: [w], services: [s], policies: [policy('a/p')] });
    const addresses = p.snapshots.type(addressType);
    const aliases = Object.fromEntries(
      [...(addresses?.entries() ?? [])].map((e) => [e.name, e.aliases]),
    );
    assert.deepEqual(aliases, {
      'Kubernetes//Pod/a/w': ['/10.0.0.1'],
      'a/s.a': ['/10.9.0.1', '/10.8.0.0/16'],
    });
    assert.ok(p.snapshots.type(authorizationType)?.get('a/p'));
    assert.deepEqual(
      addresses?.byGroup('a/s.a').map((e) => e.name),
      ['Kubernetes//Pod/a/w'],
    );
  });

  test('the same outputs again are no revision', () => {
    const p = new Publisher();
    const out = { ...nothing, workloads: [w], services: [s], policies: [policy('a/p')] };
    assert.equal(p.publish(out), true);
    assert.equal(p.publish(out), false);
    assert.equal(p.publish(nothing), false);
    assert.equal(p.snapshots.revision, 1);
    assert.equal(p.publish({ ...out, workloads: [{ ...w, status: 'Unhealthy' }] }), true);
    assert.equal(p.snapshots.revision, 2);
  });

  test('policies that are no longer listed are removed; without a list they stay', () => {
    const p = new Publisher();
    p.publish({ ...nothing, policies: [policy('a/p'), policy('a/q')] });
    p.publish({ ...nothing, workloads: [w] });
    assert.equal(p.snapshots.type(authorizationType)?.size, 2);
    p.publish({ ...nothing, policies: [policy('a/q')] });
    assert.deepEqual(
      [...(p.snapshots.type(authorizationType)?.entries() ?? [])].map((e) => e.name),
      ['a/q'],
    );
    assert.deepEqual(p.snapshots.type(authorizationType)?.since(2)?.removed, ['a/p']);
  });

  test('removals of unknown names are no revision', () => {
    assert.equal(new Publisher().publish({ ...nothing, removedAddresses: ['x'] }), false);
  });
});
