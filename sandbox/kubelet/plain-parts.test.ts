import assert from 'node:assert/strict';
import test from 'node:test';
import type { Container, Pod, Volume } from '../objects.ts';
import {
  commandLine,
  containerEnv,
  fieldValue,
  type Lookups,
  mountVariable,
} from './environment.ts';
import { expand } from './expand.ts';
import { printLine, selectLines } from './log-file.ts';
import {
  type ContainerRecord,
  freshRecord,
  isSteady,
  podPhase,
  podStatus,
  restartDelay,
  restarts,
} from './pod-status.ts';
import { freshProbe, probeOutcome } from './probe-state.ts';
import { isSafePath, planVolumes } from './volumes.ts';

const expansions: readonly [string, string][] = [
  ['$(A)', '1'],
  ['x$(A)y$(B)', 'x1y2'],
  ['$$(A)', '$(A)'],
  ['$$$$', '$$'],
  ['$(NOPE)', '$(NOPE)'],
  ['$(A', '$(A'],
  ['$A', '$A'],
  ['$', '$'],
  ['', ''],
];
for (const [text, expected] of expansions) {
  test(`expansion of ${JSON.stringify(text)}`, () => {
    assert.equal(
      expand(
        text,
        new Map([
          ['A', '1'],
          ['B', '2'],
        ]),
      ),
      expected,
    );
  });
}

const pod: Pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: 'p',
    namespace: 'ns',
    uid: 'u',
    labels: { app: 'x', 'a/b': 'c' },
    annotations: { note: 'n' },
  },
  spec: { nodeName: 'sandbox', serviceAccountName: 'sa', containers: [] },
  status: { podIP: '127.64.0.20', hostIP: '127.64.0.1' },
};
const lookups: Lookups = {
  configMap: (name) => (name === 'cm' ? new Map([['k', 'v']]) : undefined),
  secret: (name) => (name === 'sec' ? new Map([['s', 't']]) : undefined),
};

test('field paths', () => {
  const table: readonly [string, string | undefined][] = [
    ['metadata.name', 'p'],
    ['metadata.namespace', 'ns'],
    ['metadata.uid', 'u'],
    ["metadata.labels['a/b']", 'c'],
    ["metadata.labels['no']", ''],
    ["metadata.annotations['note']", 'n'],
    ['metadata.labels', 'a/b="c"\napp="x"'],
    ['spec.nodeName', 'sandbox'],
    ['spec.serviceAccountName', 'sa'],
    ['status.podIP', '127.64.0.20'],
    ['status.hostIP', '127.64.0.1'],
    ['spec.nope', undefined],
  ];
  for (const [path, expected] of table) assert.equal(fieldValue(path, pod), expected, path);
});

const container = (more: Partial<Container>): Container => ({ name: 'c', ...more });

test('environment: order, expansion, references, what is missing', () => {
  const made = containerEnv(
    container({
      envFrom: [{ prefix: 'P_', configMapRef: { name: 'cm' } }],
      env: [
        { name: 'A', value: '$(BASE)/a' },
        { name: 'B', value: '$(A)/b' },
        { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
        { name: 'S', valueFrom: { secretKeyRef: { name: 'sec', key: 's' } } },
        { name: 'O', valueFrom: { configMapKeyRef: { name: 'no', key: 'k', optional: true } } },
      ],
    }),
    pod,
    new Map([['BASE', '/base']]),
    lookups,
  );
  assert.ok(made.ok);
  assert.deepEqual(Object.fromEntries(made.value), {
    BASE: '/base',
    P_k: 'v',
    A: '/base/a',
    B: '/base/a/b',
    IP: '127.64.0.20',
    S: 't',
  });
  for (const env of [
    [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'no', key: 'k' } } }],
    [{ name: 'A', valueFrom: { secretKeyRef: { name: 'sec', key: 'no' } } }],
    [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'spec.nope' } } }],
  ]) {
    const failed = containerEnv(container({ env }), pod, new Map(), lookups);
    assert.equal(!failed.ok && failed.reason, 'CreateContainerConfigError');
  }
});

test('command lines: expansion, and no command is refused with the reason', () => {
  const env = new Map([['X', '1']]);
  const line = commandLine(container({ command: ['a', '$(X)'], args: ['$(X)', '$(Y)'] }), env);
  assert.deepEqual(line.ok && line.value, ['a', '1', '1', '$(Y)']);
  const none = commandLine(container({ image: 'nginx', args: ['x'] }), env);
  assert.equal(!none.ok && none.reason, 'CreateContainerError');
  assert.match(none.ok ? '' : none.message, /images are not run here \(image "nginx"/);
  assert.equal(mountVariable('istio-token'), 'SANDBOX_MOUNT_ISTIO_TOKEN');
});

const withVolumes = (...volumes: Volume[]): Pod => ({ ...pod, spec: { ...pod.spec, volumes } });

test('volumes: config, secret, projected, empty, missing, unsafe', () => {
  const made = planVolumes(
    withVolumes(
      { name: 'a', configMap: { name: 'cm' } },
      { name: 'b', secret: { secretName: 'sec', items: [{ key: 's', path: 'd/e' }] } },
      { name: 'c', emptyDir: {} },
      {
        name: 'd',
        projected: {
          sources: [
            {
              serviceAccountToken: { path: 'token', audience: 'istio-ca', expirationSeconds: 7200 },
            },
            { configMap: { name: 'cm' } },
            { downwardAPI: { items: [{ path: 'n', fieldRef: { fieldPath: 'metadata.name' } }] } },
          ],
        },
      },
      { name: 'e', configMap: { name: 'no', optional: true } },
    ),
    lookups,
  );
  assert.ok(made.ok);
  assert.deepEqual(
    made.volumes.map((v) => [v.name, v.managed, v.files]),
    [
      ['a', true, [{ path: 'k', text: 'v' }]],
      ['b', true, [{ path: 'd/e', text: 't' }]],
      ['c', false, []],
      [
        'd',
        true,
        [
          { path: 'token', token: { audience: 'istio-ca', seconds: 7200 } },
          { path: 'k', text: 'v' },
          { path: 'n', text: 'p' },
        ],
      ],
      ['e', true, []],
    ],
  );
  const missing = planVolumes(withVolumes({ name: 'a', configMap: { name: 'no' } }), lookups);
  assert.match(missing.ok ? '' : missing.message, /configmap "no" not found/);
  const items = [{ key: 'k', path: '../../x' }];
  assert.equal(
    planVolumes(withVolumes({ name: 'a', configMap: { name: 'cm', items } }), lookups).ok,
    false,
  );
  assert.deepEqual(['a', 'a/b', '/a', '../a', ''].map(isSafePath), [
    true,
    true,
    false,
    false,
    false,
  ]);
});

const ended = (exitCode: number): ContainerRecord => ({
  ...freshRecord,
  state: { terminated: { exitCode, reason: 'x' } },
});
const running: ContainerRecord = {
  ...freshRecord,
  state: { running: { startedAt: 't' } },
  started: true,
  ready: true,
  pid: 7,
};
const facts = (...records: ContainerRecord[]) => ({
  ip: '127.64.0.20',
  hostIp: '127.64.0.1',
  startTime: 't',
  containers: new Map(records.map((r, i) => [`c${i}`, r])),
  initialized: true,
  over: undefined,
});
const podOf = (count: number, restartPolicy?: string): Pod => ({
  ...pod,
  spec: {
    ...(restartPolicy ? { restartPolicy } : {}),
    containers: Array.from({ length: count }, (_, i) => ({ name: `c${i}` })),
  },
});

test('phases', () => {
  assert.equal(podPhase(podOf(1), facts(freshRecord)), 'Pending');
  assert.equal(podPhase(podOf(1), facts(running)), 'Running');
  assert.equal(podPhase(podOf(1), facts(ended(0))), 'Running');
  assert.equal(podPhase(podOf(2, 'Never'), facts(ended(0), running)), 'Running');
  assert.equal(podPhase(podOf(1, 'Never'), facts(ended(0))), 'Succeeded');
  assert.equal(podPhase(podOf(1, 'Never'), facts(ended(2))), 'Failed');
  assert.equal(podPhase(podOf(1, 'OnFailure'), facts(ended(0))), 'Succeeded');
  assert.equal(podPhase(podOf(1, 'OnFailure'), facts(ended(2))), 'Running');
});

test('status: ready only when every container is, and the pid is the container id', () => {
  const status = podStatus(podOf(2), facts(running, { ...running, ready: false }), 't1');
  const ready = status.conditions?.find((c) => c.type === 'Ready');
  assert.equal(ready?.status, 'False');
  assert.equal(ready?.message, 'containers with unready status: [c1]');
  assert.equal(status.containerStatuses?.[0]?.containerID, 'process://7');
  const later = podStatus({ ...podOf(2), status }, facts(running, running), 't2');
  const now = later.conditions?.find((c) => c.type === 'Ready');
  assert.deepEqual([now?.status, now?.lastTransitionTime], ['True', 't2']);
  const same = later.conditions?.find((c) => c.type === 'PodScheduled');
  assert.equal(same?.lastTransitionTime, 't1');
});

test('restarts: policies, back-off from 1 s to 30 s, forgiven after a steady minute', () => {
  assert.deepEqual(
    [
      restarts('Always', 0),
      restarts(undefined, 0),
      restarts('OnFailure', 0),
      restarts('OnFailure', 1),
    ],
    [true, true, false, true],
  );
  assert.equal(restarts('Never', 1), false);
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5, 99].map(restartDelay),
    [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000],
  );
  assert.equal(isSteady(59_999), false);
  assert.equal(isSteady(60_000), true);
});

test('probes count to their thresholds', () => {
  const probe = { failureThreshold: 2, successThreshold: 2 };
  let state = freshProbe;
  const feed = (ok: boolean): boolean | undefined => {
    state = probeOutcome(state, ok, probe);
    return state.healthy;
  };
  assert.deepEqual([true, true, false, true, false, false, true, true].map(feed), [
    undefined,
    true,
    true,
    true,
    true,
    false,
    false,
    true,
  ]);
});

test('log lines: selection and printing', () => {
  const line = (second: number, text: string, flag = 'F'): string =>
    `2026-01-01T00:00:0${second}.000000000Z stdout ${flag} ${text}`;
  const lines = [line(1, 'one'), line(2, 'two'), line(3, 'three')];
  const pick = (query: Parameters<typeof selectLines>[1]): string =>
    selectLines(lines, query)
      .map((l) => printLine(l, false))
      .join('');
  assert.equal(pick({}), 'one\ntwo\nthree\n');
  assert.equal(pick({ tailLines: 1 }), 'three\n');
  assert.equal(pick({ tailLines: 0 }), '');
  assert.equal(pick({ sinceMs: Date.UTC(2026, 0, 1, 0, 0, 2) }), 'two\nthree\n');
  assert.equal(printLine(line(1, 'a  b'), true), '2026-01-01T00:00:01.000000000Z a  b\n');
  assert.equal(printLine(line(1, 'part', 'P'), false), 'part');
});
