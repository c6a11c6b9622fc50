// Register before check, judge again when the mesh changes (ztunnel-protocol.md 4.4, checklist P8, F39).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseIpBytes } from '../base/index.ts';
import { Admission, type Batch, MeshState, type RbacConnection } from './index.ts';
import { keys, match, only, policy, workload } from './testkit.ts';

const w = workload('ns/w', ['10.0.0.2']);
const connection = (port: number): RbacConnection => ({
  sourceIp: parseIpBytes('10.0.0.1') ?? new Uint8Array(4),
  destinationIp: parseIpBytes('10.0.0.2') ?? new Uint8Array(4),
  destinationPort: port,
});
const denyPort = (port: number, more = {}) =>
  policy('ns/deny', {
    action: 'Deny',
    rules: [[[match({ destinationPorts: only(port) })]]],
    ...more,
  });

function setUp(batch: Batch = { workloads: [w] }) {
  const mesh = new MeshState();
  mesh.apply(batch);
  const admission = new Admission<string>(mesh);
  const change = (b: Batch): string[] =>
    admission.rejudge(mesh.apply(b)).map((d) => `${d.ticket.handle} ${d.verdict.code}`);
  return { mesh, admission, change };
}

describe('admission', () => {
  test('an allowed connection is registered, a refused one is not', () => {
    const { admission } = setUp({ workloads: [w], policies: [denyPort(81)] });
    assert.ok(admission.admit(w.uid, connection(80), 'a').verdict.allow);
    const refused = admission.admit(w.uid, connection(81), 'b');
    assert.equal(refused.verdict.allow, false);
    assert.deepEqual(
      [...admission.live()].map((t) => t.handle),
      ['a'],
    );
  });

  test('P8 a new deny closes exactly the connections it refuses', () => {
    const { admission, change } = setUp();
    for (const port of [80, 81, 81]) admission.admit(w.uid, connection(port), `c${port}`);
    assert.deepEqual(change({ policies: [denyPort(81)] }), [
      'c81 POLICY_DENIED',
      'c81 POLICY_DENIED',
    ]);
    assert.equal(admission.size, 1);
    assert.deepEqual(change({ policies: [denyPort(82)] }), [], 'closed ones are not told again');
  });

  test('P8 a policy that is made stricter, and one that is deleted', () => {
    const allow = (port: number) =>
      policy('ns/allow', { rules: [[[match({ destinationPorts: only(port) })]]] });
    const { admission, change } = setUp({ workloads: [w], policies: [allow(80)] });
    admission.admit(w.uid, connection(80), 'c');
    assert.deepEqual(change({ policies: [allow(81)] }), ['c POLICY_NOT_ALLOWED']);
    assert.deepEqual(change({ removed: { policies: keys('ns/allow') } }), []);
    assert.ok(admission.admit(w.uid, connection(80), 'd').verdict.allow);
  });

  test('P8 a changed list of policies on the workload counts like a changed policy', () => {
    const strict = denyPort(80, { scope: 'WorkloadSelector' });
    const { admission, change } = setUp({ workloads: [w], policies: [strict] });
    admission.admit(w.uid, connection(80), 'c');
    assert.deepEqual(change({ workloads: [{ ...w, authorizationPolicies: keys('ns/deny') }] }), [
      'c POLICY_DENIED',
    ]);
  });

  test('a list that names a policy not yet here refuses (no window)', () => {
    const { admission, change } = setUp();
    admission.admit(w.uid, connection(80), 'c');
    assert.deepEqual(change({ workloads: [{ ...w, authorizationPolicies: keys('ns/later') }] }), [
      'c POLICY_PENDING',
    ]);
  });

  test('F39 changes elsewhere leave connections alone', () => {
    const { admission, change } = setUp();
    admission.admit(w.uid, connection(80), 'c');
    assert.deepEqual(
      change({ policies: [policy('other/deny', { action: 'Deny', rules: [[]] })] }),
      [],
    );
    assert.deepEqual(change({ workloads: [workload('ns/x', ['10.0.0.9'])] }), []);
    assert.deepEqual(change({}), []);
    assert.equal(admission.size, 1);
  });

  test('a workload that vanishes keeps its connections: the pod’s end closes them', () => {
    const { admission, change } = setUp();
    admission.admit(w.uid, connection(80), 'c');
    assert.deepEqual(change({ removed: { addresses: [w.uid] } }), []);
    assert.equal(admission.size, 1);
    assert.equal(admission.judge(w.uid, connection(80)).allow, false, 'new ones wait');
  });

  test('a released connection is judged no more', () => {
    const { admission, change } = setUp();
    const { ticket } = admission.admit(w.uid, connection(80), 'c');
    admission.release(ticket);
    admission.release(ticket);
    assert.deepEqual(change({ policies: [denyPort(80)] }), []);
  });
});
