// The status of a pod from what its containers do. Pure.
import {
  type Condition,
  type Container,
  type ContainerState,
  type ContainerStatus,
  type Pod,
  type PodStatus,
  setCondition,
} from '../objects.ts';

/** What the runner knows of one container. */
export interface ContainerRecord {
  readonly state: ContainerState;
  readonly lastState: ContainerState;
  readonly restartCount: number;
  /** Passed its startup probe (or has none) and runs. */
  readonly started: boolean;
  /** Runs, started, and its readiness probe (if any) says so. */
  readonly ready: boolean;
  readonly pid: number | undefined;
}

export const waiting = (reason: string, message?: string): ContainerState => ({
  waiting: message === undefined ? { reason } : { reason, message },
});

export const freshRecord: ContainerRecord = {
  state: waiting('ContainerCreating'),
  lastState: {},
  restartCount: 0,
  started: false,
  ready: false,
  pid: undefined,
};

export interface PodFacts {
  readonly ip: string | undefined;
  readonly hostIp: string;
  readonly startTime: string;
  readonly containers: ReadonlyMap<string, ContainerRecord>;
  readonly initialized: boolean;
  /** Set once the pod is over for good. */
  readonly over:
    | { readonly phase: 'Failed'; readonly reason: string; readonly message: string }
    | undefined;
}

export const containerId = (pid: number | undefined): string | undefined =>
  pid === undefined ? undefined : `process://${pid}`;

export function podPhase(pod: Pod, facts: PodFacts): string {
  if (facts.over) return facts.over.phase;
  const policy = pod.spec.restartPolicy ?? 'Always';
  const records = pod.spec.containers.map((c) => facts.containers.get(c.name) ?? freshRecord);
  const ended = records.map((r) => r.state.terminated);
  if (policy !== 'Always' && ended.every((t) => t !== undefined)) {
    if (ended.every((t) => t?.exitCode === 0)) return 'Succeeded';
    if (policy === 'Never') return 'Failed';
  }
  const begun = records.some(
    (r) => r.state.running ?? r.state.terminated ?? r.lastState.terminated,
  );
  return begun ? 'Running' : 'Pending';
}

export function podStatus(pod: Pod, facts: PodFacts, time: string): PodStatus {
  const phase = podPhase(pod, facts);
  const main = pod.spec.containers.map((c) => containerStatus(c, facts.containers));
  const init = (pod.spec.initContainers ?? []).map((c) => containerStatus(c, facts.containers));
  const ready = phase === 'Running' && main.every((c) => c.ready);
  const names = main.filter((c) => !c.ready).map((c) => c.name);
  const notReady =
    phase === 'Succeeded'
      ? { reason: 'PodCompleted' }
      : {
          reason: 'ContainersNotReady',
          message: `containers with unready status: [${names.join(' ')}]`,
        };
  const answer = (type: string, yes: boolean, no: Partial<Condition> = {}): Condition => ({
    type,
    status: yes ? 'True' : 'False',
    ...(yes ? {} : no),
  });
  let conditions: readonly Condition[] = pod.status?.conditions ?? [];
  for (const condition of [
    answer('PodReadyToStartContainers', facts.ip !== undefined),
    answer('Initialized', facts.initialized, { reason: 'ContainersNotInitialized' }),
    answer('Ready', ready, notReady),
    answer('ContainersReady', ready, notReady),
    answer('PodScheduled', true),
  ]) {
    conditions = setCondition(conditions, condition, time);
  }
  return {
    phase,
    conditions: [...conditions],
    hostIP: facts.hostIp,
    hostIPs: [{ ip: facts.hostIp }],
    ...(facts.ip === undefined
      ? {}
      : { podIP: facts.ip, podIPs: pod.status?.podIPs ?? [{ ip: facts.ip }] }),
    startTime: facts.startTime,
    ...(facts.over ? { reason: facts.over.reason, message: facts.over.message } : {}),
    containerStatuses: main,
    ...(init.length > 0 ? { initContainerStatuses: init } : {}),
    qosClass: 'BestEffort',
  };
}

function containerStatus(
  container: Container,
  records: ReadonlyMap<string, ContainerRecord>,
): ContainerStatus {
  const record = records.get(container.name) ?? freshRecord;
  const id = containerId(record.pid);
  return {
    name: container.name,
    image: container.image ?? '',
    imageID: '',
    ...(id === undefined ? {} : { containerID: id }),
    ready: record.ready,
    started: record.started,
    restartCount: record.restartCount,
    state: record.state,
    lastState: record.lastState,
  };
}

const backoff = { firstMs: 1_000, capMs: 30_000, steadyMs: 60_000 };

/** Pause before restart number `crashes` (0 = the first) of a container that keeps ending. */
export const restartDelay = (crashes: number): number =>
  Math.min(backoff.capMs, backoff.firstMs * 2 ** Math.min(crashes, 10));

/** A run this long forgives the crashes before it. */
export const isSteady = (ranMs: number): boolean => ranMs >= backoff.steadyMs;

/** Whether a container that ended with `code` is started again. */
export function restarts(policy: string | undefined, code: number): boolean {
  if (policy === 'Never') return false;
  return policy === 'OnFailure' ? code !== 0 : true;
}
