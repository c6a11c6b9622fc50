// One container of a pod for the pod's whole life: start it, keep its log, ask its probes, start it
// again. Reports every change of its record; ends when told or when its policy says so.
import path from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import type { Readable } from 'node:stream';
import type { Clock, Timer } from '../../core/base/index.ts';
import type { Exit, Launched } from '../loopback/index.ts';
import { type Container, type Pod, timeText } from '../objects.ts';
import type { Prepared } from './environment.ts';
import { LogFile } from './log-file.ts';
import {
  type ContainerRecord,
  containerId,
  isSteady,
  restartDelay,
  restarts,
  waiting,
} from './pod-status.ts';
import {
  freshProbe,
  impatientMs,
  probeOutcome,
  type ProbeState,
  probeTimes,
} from './probe-state.ts';
import { type ProbeContext, runProbe } from './probes.ts';
import { killSession, signalSession } from './sessions.ts';

export interface RunDeps {
  readonly pod: () => Pod;
  readonly clock: Clock;
  readonly logDir: string;
  readonly probeSocket: ProbeContext['open'];
  /** Starts a process of this container, in the pod; `undefined` command = the container's own. */
  launch(container: Container, command: readonly string[] | undefined): Promise<Prepared<Launched>>;
  /** A process of the pod has ended with all it started. */
  ended(session: number): void;
  changed(): void;
  event(type: 'Normal' | 'Warning', reason: string, message: string): void;
}

const probeKinds = ['startupProbe', 'readinessProbe', 'livenessProbe'] as const;
type ProbeKind = (typeof probeKinds)[number];

export class ContainerRun {
  readonly container: Container;
  readonly #deps: RunDeps;
  readonly #policy: string | undefined;
  #record: ContainerRecord;
  #process: Launched | undefined;
  #log: LogFile | undefined;
  #crashes = 0;
  #stopping = false;
  readonly #stopped = Promise.withResolvers<void>();

  constructor(
    container: Container,
    policy: string | undefined,
    record: ContainerRecord,
    deps: RunDeps,
  ) {
    this.container = container;
    this.#policy = policy;
    this.#record = record;
    this.#deps = deps;
  }

  get record(): ContainerRecord {
    return this.#record;
  }

  get log(): LogFile | undefined {
    return this.#log;
  }

  logPath(instance: number): string {
    return path.join(this.#deps.logDir, `${this.container.name}-${instance}.log`);
  }

  /** Runs until the container is over for good; the last exit, or `undefined` if it was stopped. */
  async run(): Promise<Exit | undefined> {
    while (!this.#stopping) {
      const prepared = await this.#start();
      if (!prepared) {
        if (await this.#pause(restartDelay(this.#crashes++))) continue;
        break;
      }
      if (this.#stopping) await killSession(prepared.pid); // told to stop while it was starting
      const exit = await this.#untilExit(prepared);
      if (this.#stopping) return exit;
      if (!restarts(this.#policy, exit.code)) return exit;
      const delay = restartDelay(this.#crashes++);
      const terminated = this.#record.state;
      this.#set({
        state: waiting(
          'CrashLoopBackOff',
          `back-off ${delay} ms restarting failed container=${this.container.name}`,
        ),
        lastState: terminated,
      });
      this.#deps.event(
        'Warning',
        'BackOff',
        `Back-off restarting container ${this.container.name}`,
      );
      if (!(await this.#pause(delay))) break;
      this.#set({ restartCount: this.#record.restartCount + 1 });
    }
    return undefined;
  }

  /** SIGTERM, then SIGKILL after the grace; resolves when no process is left. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#stopped.resolve();
    const running = this.#process;
    if (!running) return;
    signalSession(running.pid, 'SIGTERM');
    await this.#within(running.exit, graceMs);
    await killSession(running.pid);
    await running.exit;
  }

  async #start(): Promise<Launched | undefined> {
    const prepared = await this.#deps.launch(this.container, undefined);
    if (!prepared.ok) {
      if (this.#record.state.waiting?.message !== prepared.message) {
        this.#deps.event('Warning', 'Failed', prepared.message);
      }
      this.#set({ state: waiting(prepared.reason, prepared.message) });
      return undefined;
    }
    const { clock } = this.#deps;
    const launched = prepared.value;
    this.#process = launched;
    this.#log?.end();
    this.#log = new LogFile(this.logPath(this.#record.restartCount), () => clock.now());
    this.#set({
      state: { running: { startedAt: timeText(clock.now()) } },
      pid: launched.pid,
      started: !this.container.startupProbe,
      ready: !this.container.startupProbe && !this.container.readinessProbe,
    });
    this.#deps.event('Normal', 'Started', `Started container ${this.container.name}`);
    return launched;
  }

  async #untilExit(launched: Launched): Promise<Exit> {
    const { clock } = this.#deps;
    const log = this.#log;
    const startedAt = timeText(clock.now());
    const startedMs = clock.monotonic();
    const drained = [
      collect(launched.stdout, (text) => log?.append('stdout', text)),
      collect(launched.stderr, (text) => log?.append('stderr', text)),
    ];
    const probes = probeKinds.map((kind) => this.#watch(kind, launched));
    const exit = await launched.exit;
    for (const end of probes) end();
    // Children it left behind belong to the container and end with it.
    await killSession(launched.pid);
    await this.#within(Promise.all(drained), 1_000);
    launched.stdout.destroy();
    launched.stderr.destroy();
    log?.end();
    this.#process = undefined;
    this.#deps.ended(launched.pid);
    if (isSteady(clock.monotonic() - startedMs)) this.#crashes = 0;
    const id = containerId(launched.pid);
    this.#set({
      ready: false,
      started: false,
      state: {
        terminated: {
          exitCode: exit.code,
          reason: exit.code === 0 ? 'Completed' : 'Error',
          ...(exit.signal === '' ? {} : { message: exit.signal }),
          startedAt,
          finishedAt: timeText(clock.now()),
          ...(id === undefined ? {} : { containerID: id }),
        },
      },
    });
    return exit;
  }

  /** Asks one probe again and again until the process ends; returns what ends it. */
  #watch(kind: ProbeKind, launched: Launched): () => void {
    const probe = this.container[kind];
    if (!probe) return () => {};
    const times = probeTimes(probe);
    let state: ProbeState = freshProbe;
    let over = false;
    let timer: Timer | undefined;
    const ask = async (): Promise<void> => {
      // Until it has started, only the startup probe speaks.
      if (kind === 'startupProbe' || this.#record.started) {
        const outcome = await runProbe(probe, {
          pod: this.#deps.pod(),
          container: this.container,
          limitMs: times.limitMs,
          open: this.#deps.probeSocket,
          exec: (command, limitMs) => this.#execProbe(command, limitMs),
        });
        if (over) return;
        state = probeOutcome(state, outcome.ok, probe);
        if (!outcome.ok && state.healthy !== undefined) {
          this.#deps.event(
            'Warning',
            'Unhealthy',
            `${wordOf(kind)} probe failed: ${outcome.message}`,
          );
        }
        if (this.#judge(kind, state, launched)) return;
      }
      const soon = state.healthy === undefined && kind !== 'livenessProbe';
      timer = this.#deps.clock.after(
        soon ? Math.min(impatientMs, times.periodMs) : times.periodMs,
        () => {
          if (!over) void ask();
        },
      );
    };
    timer = this.#deps.clock.after(times.delayMs, () => void ask());
    return () => {
      over = true;
      timer?.cancel();
    };
  }

  /** True if this probe is not asked any more. */
  #judge(kind: ProbeKind, state: ProbeState, launched: Launched): boolean {
    if (kind === 'readinessProbe') {
      this.#set({ ready: state.healthy === true && this.#record.started });
      return false;
    }
    if (kind === 'startupProbe' && state.healthy === true) {
      this.#set({ started: true, ready: !this.container.readinessProbe });
      return true;
    }
    if (state.healthy !== false) return false;
    this.#deps.event('Normal', 'Killing', `Container ${this.container.name} failed its probe`);
    signalSession(launched.pid, 'SIGTERM');
    const grace = (this.#deps.pod().spec.terminationGracePeriodSeconds ?? 30) * 1_000;
    void this.#within(launched.exit, grace).then(() => killSession(launched.pid));
    return true;
  }

  async #execProbe(command: readonly string[], limitMs: number): Promise<number | undefined> {
    const prepared = await this.#deps.launch(this.container, command);
    if (!prepared.ok) return 127;
    const { pid, stdout, stderr, exit } = prepared.value;
    stdout.resume();
    stderr.resume();
    const code = await this.#within(
      exit.then((e) => e.code),
      limitMs,
    );
    await killSession(pid);
    this.#deps.ended(pid);
    stdout.destroy();
    stderr.destroy();
    return code;
  }

  /** The value, or `undefined` when the time is up first. */
  #within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
    return new Promise((done) => {
      const timer = this.#deps.clock.after(ms, () => done(undefined));
      void promise.then((value) => {
        timer.cancel();
        done(value);
      });
    });
  }

  /** False if the container was stopped meanwhile. */
  async #pause(ms: number): Promise<boolean> {
    await this.#within(this.#stopped.promise, ms);
    return !this.#stopping;
  }

  #set(change: Partial<ContainerRecord>): void {
    this.#record = { ...this.#record, ...change };
    this.#deps.changed();
  }
}

const wordOf = (kind: ProbeKind): string => {
  const word = kind.replace('Probe', '');
  return word.charAt(0).toUpperCase() + word.slice(1);
};

/** Hands over text until the stream ends; never rejects. */
function collect(stream: Readable, take: (text: string) => void): Promise<void> {
  const decoder = new StringDecoder('utf8');
  return new Promise((done) => {
    stream.on('data', (chunk: Buffer) => take(decoder.write(chunk)));
    stream.on('error', () => done());
    stream.on('close', () => done());
    stream.on('end', () => {
      take(decoder.end());
      done();
    });
  });
}
