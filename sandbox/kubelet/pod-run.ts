// One pod on the node: its address is there, now make its files, wait until it may start, run its
// init containers, then its containers; at the end, stop them. The kubelet owns one of these a pod.
import fs from 'node:fs';
import path from 'node:path';
import type { Clock, Log } from '../../core/base/index.ts';
import type { Launched } from '../loopback/index.ts';
import {
  accountOf,
  type Container,
  type ContainerStatus,
  type Pod,
  type PodStatus,
  timeText,
} from '../objects.ts';
import { ContainerRun } from './container-run.ts';
import {
  commandLine,
  containerEnv,
  type Lookups,
  mountVariable,
  type Prepared,
} from './environment.ts';
import { type ContainerRecord, freshRecord, podStatus, restarts, waiting } from './pod-status.ts';
import type { ProbeContext } from './probes.ts';
import type { VolumeWriter } from './volume-writer.ts';
import { planVolumes, type VolumesResult } from './volumes.ts';

export interface PodRunDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** DIR/pods/UID. */
  readonly dir: string;
  readonly packageRoot: string;
  readonly hostIp: string;
  readonly probeSocket: ProbeContext['open'];
  readonly lookups: Lookups;
  readonly writer: VolumeWriter;
  /** The pod's account, once it exists: a pod does not start without. */
  accountUid(): string | undefined;
  /** Variables every container gets. */
  readonly base: ReadonlyMap<string, string>;
  /** The pod as it is stored now. */
  current(): Pod;
  launch(command: readonly [string, ...string[]], how: LaunchHow): Promise<Launched>;
  ended(session: number): void;
  /** Resolves when the pod's network is there, and it is in the mesh if it is to be. */
  admitted(signal: AbortSignal): Promise<void>;
  publish(status: PodStatus): void;
  event(type: 'Normal' | 'Warning', reason: string, message: string): void;
}

export interface LaunchHow {
  readonly env: ReadonlyMap<string, string>;
  readonly cwd: string;
  readonly stdin: boolean;
}

const mountRetryMs = 200;

export class PodRun {
  readonly #deps: PodRunDeps;
  readonly #runs = new Map<string, ContainerRun>();
  readonly #records = new Map<string, ContainerRecord>();
  readonly #startTime: string;
  readonly #ending = new AbortController();
  readonly #life: Promise<void>;
  #initialized = false;
  #over: { phase: 'Failed'; reason: string; message: string } | undefined;
  #publishing: NodeJS.Immediate | undefined;
  #refreshing = false;

  constructor(deps: PodRunDeps) {
    this.#deps = deps;
    const pod = deps.current();
    this.#startTime = pod.status?.startTime ?? timeText(deps.clock.now());
    fs.mkdirSync(path.join(deps.dir, 'logs'), { recursive: true, mode: 0o700 });
    for (const [container, status] of withStatuses(pod)) {
      this.#records.set(container.name, resumed(status, deps.clock.now()));
    }
    this.#life = this.#live().catch((error: unknown) => {
      deps.log.error('a pod broke down', { pod: pod.metadata.name, error: String(error) });
      this.#over = { phase: 'Failed', reason: 'RunnerError', message: String(error) };
      this.#changed();
    });
  }

  run(container: string): ContainerRun | undefined {
    return this.#runs.get(container);
  }

  /** ConfigMaps or Secrets changed: bring the volumes up to date. */
  async refresh(): Promise<void> {
    if (this.#refreshing || this.#ending.signal.aborted) return;
    this.#refreshing = true;
    try {
      const plan = planVolumes(this.#deps.current(), this.#deps.lookups);
      if (plan.ok) await this.#deps.writer.write(plan.volumes);
    } finally {
      this.#refreshing = false;
    }
  }

  /** Ends every process; then nothing of the pod runs. */
  async stop(graceMs: number): Promise<void> {
    this.#ending.abort();
    await Promise.all([...this.#runs.values()].map((run) => run.stop(graceMs)));
    await this.#life;
    this.#deps.writer.close();
    if (this.#publishing) clearImmediate(this.#publishing);
    this.#publishing = undefined;
  }

  /** The environment of a container, as its own process has it. */
  environment(container: Container): Prepared<Map<string, string>> {
    const { lookups, base, writer } = this.#deps;
    const pod = this.#deps.current();
    const all = new Map(base);
    for (const mount of container.volumeMounts ?? []) {
      const folder = writer.folder(mount.name);
      const place = mount.subPath ? path.join(folder, mount.subPath) : folder;
      all.set(mountVariable(mount.name), place);
    }
    return containerEnv(container, pod, all, lookups);
  }

  async #live(): Promise<void> {
    this.#changed();
    this.#announceLimits();
    if (!(await this.#mountAll())) return;
    await this.#deps.admitted(this.#ending.signal);
    if (this.#ending.signal.aborted) return;
    const { initContainers = [], containers, restartPolicy } = this.#deps.current().spec;
    for (const container of initContainers) {
      if (!(await this.#initialize(container, restartPolicy))) return;
    }
    this.#initialized = true;
    this.#changed();
    await Promise.all(containers.map((c) => this.#newRun(c, restartPolicy).run()));
    this.#changed();
  }

  /** True when the next container may start. */
  async #initialize(container: Container, policy: string | undefined): Promise<boolean> {
    const sidecar = container.restartPolicy === 'Always';
    const run = this.#newRun(container, sidecar || policy !== 'Never' ? 'OnFailure' : 'Never');
    if (sidecar) {
      void run.run();
      return true;
    }
    const exit = await run.run();
    if (exit?.code === 0) return true;
    if (this.#ending.signal.aborted) return false;
    const message = `init container ${container.name} ended with ${exit?.code ?? 'no'} code`;
    this.#over = { phase: 'Failed', reason: 'InitContainerFailed', message };
    this.#changed();
    return false;
  }

  async #mountAll(): Promise<boolean> {
    let told = '';
    while (!this.#ending.signal.aborted) {
      const plan = this.#planMounts();
      if (plan.ok) {
        await this.#deps.writer.write(plan.volumes);
        return true;
      }
      if (told !== plan.message) this.#deps.event('Warning', 'FailedMount', plan.message);
      told = plan.message;
      await new Promise<void>((done) => {
        const timer = this.#deps.clock.after(mountRetryMs, done);
        this.#ending.signal.addEventListener('abort', () => {
          timer.cancel();
          done();
        });
      });
    }
    return false;
  }

  #planMounts(): VolumesResult {
    const pod = this.#deps.current();
    if (this.#deps.accountUid() !== undefined) return planVolumes(pod, this.#deps.lookups);
    return { ok: false, message: `serviceaccount "${accountOf(pod.spec)}" not found` };
  }

  #newRun(container: Container, policy: string | undefined): ContainerRun {
    const deps = this.#deps;
    const record = this.#records.get(container.name) ?? freshRecord;
    const run = new ContainerRun(container, policy, record, {
      pod: () => deps.current(),
      clock: deps.clock,
      logDir: path.join(deps.dir, 'logs'),
      probeSocket: deps.probeSocket,
      launch: (c, command) => this.launch(c, command, false),
      ended: (session) => deps.ended(session),
      changed: () => this.#changed(),
      event: (type, reason, message) => deps.event(type, reason, message),
    });
    this.#runs.set(container.name, run);
    return run;
  }

  /** Starts a process of a container; never throws. */
  async launch(
    container: Container,
    command: readonly string[] | undefined,
    stdin: boolean,
  ): Promise<Prepared<Launched>> {
    const env = this.environment(container);
    if (!env.ok) return env;
    const line = command ? given(command) : commandLine(container, env.value);
    if (!line.ok) return line;
    const { packageRoot } = this.#deps;
    const wanted = container.workingDir;
    const cwd = wanted && fs.existsSync(wanted) ? wanted : packageRoot;
    try {
      return {
        ok: true,
        value: await this.#deps.launch(line.value, { env: env.value, cwd, stdin }),
      };
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      return { ok: false, reason: 'RunContainerError', message: `${line.value[0]}: ${message}` };
    }
  }

  /** What a process is not: said once, in events. */
  #announceLimits(): void {
    const { containers } = this.#deps.current().spec;
    for (const container of containers) {
      const { name, image, command, lifecycle, volumeMounts = [] } = container;
      if (image && command) {
        const why = `Image "${image}" is not pulled: the command of container ${name} runs as a process`;
        this.#deps.event('Normal', 'ImageIgnored', why);
      }
      if (lifecycle?.preStop ?? lifecycle?.postStart) {
        this.#deps.event('Warning', 'LifecycleIgnored', `Lifecycle hooks of ${name} are not run`);
      }
      for (const mount of volumeMounts) {
        const variable = mountVariable(mount.name);
        const why = `${mount.mountPath} does not exist for a process: its place is $(${variable})`;
        this.#deps.event('Normal', 'MountPathIgnored', why);
      }
    }
  }

  #changed(): void {
    if (this.#ending.signal.aborted && this.#publishing === undefined) return;
    this.#publishing ??= setImmediate(() => {
      this.#publishing = undefined;
      this.#publish();
    });
  }

  #publish(): void {
    const { clock, hostIp } = this.#deps;
    const pod = this.#deps.current();
    const containers = new Map(this.#records);
    for (const [name, run] of this.#runs) containers.set(name, run.record);
    const facts = {
      ip: pod.status?.podIP,
      hostIp,
      startTime: this.#startTime,
      containers,
      initialized: this.#initialized,
      over: this.#over,
    };
    this.#deps.publish(podStatus(pod, facts, timeText(clock.now())));
  }
}

function given(command: readonly string[]): Prepared<readonly [string, ...string[]]> {
  const [file, ...args] = command;
  if (file !== undefined) return { ok: true, value: [file, ...args] };
  return { ok: false, reason: 'RunContainerError', message: 'there is no command' };
}

function withStatuses(pod: Pod): [Container, ContainerStatus | undefined][] {
  const statuses = [
    ...(pod.status?.containerStatuses ?? []),
    ...(pod.status?.initContainerStatuses ?? []),
  ];
  return [...(pod.spec.initContainers ?? []), ...pod.spec.containers].map((container) => [
    container,
    statuses.find((s) => s.name === container.name),
  ]);
}

/** What an earlier run of the sandbox left: a container that ran then is restarted now. */
function resumed(status: ContainerStatus | undefined, nowMs: number): ContainerRecord {
  if (!status) return freshRecord;
  const { running, terminated } = status.state;
  const ended = terminated ?? (running && lostWithRunner(running.startedAt, nowMs));
  return {
    ...freshRecord,
    restartCount: status.restartCount + (ended ? 1 : 0),
    lastState: ended ? { terminated: ended } : status.lastState,
    state: waiting('ContainerCreating'),
  };
}

const lostWithRunner = (startedAt: string, nowMs: number) => ({
  exitCode: 137,
  reason: 'SandboxStopped',
  startedAt,
  finishedAt: timeText(nowMs),
});

/** Whether a stored pod has done all it ever will. */
export function isDone(pod: Pod): boolean {
  const statuses = pod.status?.containerStatuses ?? [];
  const over = pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
  const policy = pod.spec.restartPolicy;
  return over && statuses.every((s) => !restarts(policy, s.state.terminated?.exitCode ?? 0));
}
