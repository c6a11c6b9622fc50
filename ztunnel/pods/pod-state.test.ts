// The conversation with the node agent, row by row of ztunnel-protocol.md 9.2.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ip } from '../testkit.ts';
import { type PodInfo, PodState, type PodStep, readAddresses } from './pod-state.ts';

const pod = (uid: string, address = '127.1.0.2'): PodInfo => ({
  uid,
  name: uid,
  namespace: 'ns',
  serviceAccount: 'default',
  addresses: [ip(address)],
});
const say = (s: PodStep): string[] =>
  s.actions.map((a) => (a.do === 'start' ? `start ${a.pod.uid}` : `${a.do} ${a.uid}`));
const add = (p: PodState, info: PodInfo): string[] => {
  const actions = say(p.step({ kind: 'add', pod: info }));
  p.started(info.uid);
  return actions;
};

test('Z41 add starts a pod; the same again does nothing', () => {
  const p = new PodState();
  assert.deepEqual(add(p, pod('a')), ['start a']);
  assert.deepEqual(add(p, pod('a')), []);
});

test('add with other facts replaces the pod', () => {
  const p = new PodState();
  add(p, pod('a'));
  assert.deepEqual(add(p, pod('a', '127.1.0.9')), ['stop a', 'start a']);
});

test('ready = snapshot received and nothing pending', () => {
  const p = new PodState();
  p.step({ kind: 'add', pod: pod('a') });
  p.failed('a');
  p.step({ kind: 'snapshot' });
  assert.equal(p.ready, false);
  p.started('a');
  assert.equal(p.ready, true);
});

test('Z43 the snapshot stops pods that were not named since the connection was made', () => {
  const p = new PodState();
  add(p, pod('a'));
  add(p, pod('b', '127.1.0.3'));
  p.step({ kind: 'snapshot' });
  p.connected();
  p.step({ kind: 'keep', uid: 'a' });
  assert.deepEqual(say(p.step({ kind: 'snapshot' })), ['stop b']);
});

test('F20 del after the snapshot stops; before it only forgets; unknown is fine', () => {
  const p = new PodState();
  add(p, pod('a'));
  assert.deepEqual(say(p.step({ kind: 'del', uid: 'a', drainMs: 0 })), []);
  assert.deepEqual(say(p.step({ kind: 'snapshot' })), ['stop a']);
  add(p, pod('a'));
  assert.deepEqual(say(p.step({ kind: 'del', uid: 'a', drainMs: 0 })), ['stop a']);
  assert.deepEqual(say(p.step({ kind: 'del', uid: 'zzz', drainMs: 0 })), []);
});

test('F20 Z41 a drained pod that is added again goes on as before', () => {
  const p = new PodState();
  p.step({ kind: 'snapshot' });
  add(p, pod('a'));
  assert.deepEqual(p.step({ kind: 'del', uid: 'a', drainMs: 5000 }).actions, [
    { do: 'stop', uid: 'a', drainMs: 5000 },
  ]);
  assert.deepEqual(add(p, pod('a')), ['resume a']);
});

test('a new pod on the address of a draining one ends the drain', () => {
  const p = new PodState();
  p.step({ kind: 'snapshot' });
  add(p, pod('a'));
  p.step({ kind: 'del', uid: 'a', drainMs: 5000 });
  assert.deepEqual(add(p, pod('b')), ['stop a', 'start b']);
});

test('K12 two pods on one address, and a pod without one, are refused', () => {
  const p = new PodState();
  add(p, pod('a'));
  assert.match(p.step({ kind: 'add', pod: pod('b') }).error ?? '', /address in use by pod ns\/a/);
  const none = { ...pod('c'), addresses: [] };
  assert.match(p.step({ kind: 'add', pod: none }).error ?? '', /needs an address/);
});

test('a second snapshot and a keep after it break the conversation', () => {
  const p = new PodState();
  p.step({ kind: 'snapshot' });
  assert.equal(p.step({ kind: 'snapshot' }).fatal, true);
  assert.equal(p.step({ kind: 'keep', uid: 'a' }).fatal, true);
});

test('pending starts are forgotten with the connection; running pods stay', () => {
  const p = new PodState();
  add(p, pod('a'));
  p.step({ kind: 'add', pod: pod('b', '127.1.0.3') });
  p.failed('b');
  p.connected();
  assert.deepEqual(
    p.all().map((x) => x.info.uid),
    ['a'],
  );
});

test('K13 addresses that are none make the request unusable', () => {
  assert.deepEqual(readAddresses(['127.1.0.2', '::1']), ['127.1.0.2', '::1']);
  assert.equal(readAddresses(['127.1.0.2', 'x']), undefined);
});
