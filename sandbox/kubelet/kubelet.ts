// The node: gives every pod an address, runs it, ends it, and answers for its logs, commands and
// ports (PodRuntime). Follows the store's pods; each running pod is a PodRun.
import fs from 'node:fs';
import path from 'node:path';
import type { Socket } from 'node:net';
import { PassThrough, type Duplex, type Readable } from 'node:stream';
import type { Clock, Log } from '../../core/base/index.ts';
import {
  type ExecSession,
  type KubeObject,
  type PodRuntime,
  type Store,
  sandboxKeys,
  type Tokens,
} from '../contract.ts';
import type { Recorder } from '../controllers/index.ts';
import type { AddressPlan, NodePlace } from '../addresses.ts';
import { firstFreeHost, type Launched, type LaunchSpec, nextFree } from '../loopback/index.ts';
import { accountOf, as, isDeleting, isTerminal, keys, type Pod } from '../objects.ts';
import { notFound, statusError } from '../store/index.ts';
import { baseVariables, type PodPaths, writeKubeconfig } from './base-env.ts';
import { lookupsIn, notStarted, pickContainer } from './runtime-parts.ts';
import { readEnded, type LogQuery } from './log-file.ts';
import { isDone, PodRun } from './pod-run.ts';
import { killSession, SessionRecords } from './sessions.ts';
import { VolumeWriter } from './volume-writer.ts';

export interface KubeletOptions {
  readonly store: Store;
  readonly tokens: Tokens;
  readonly recorder: Recorder;
  readonly clock: Clock;
  readonly log: Log;
  readonly addresses: AddressPlan;
  readonly proxyMode: 'addressed' | 'shared';
  readonly netnsRecords: string;
  /** The sandbox's directory. */
  readonly dir: string;
  readonly packageRoot: string;
  readonly apiUrl: string;
  readonly caPem: string;
  launch(spec: LaunchSpec): Promise<Launched>;
  forget(session: number): void;
  // The kubelet itself opens no connection: only the driver knows in which network a pod is, and the host's own
  // may have somebody else at the same address.
  /** A connection to a pod as `kubectl port-forward` makes it. */
  dial(pod: Pod, port: number): Promise<Duplex>;
  /** An opened socket for a probe, as the node makes it. */
  probeSocket(pod: Pod, host: string, port: number): Socket;
  /** Resolves when the pod may start: its network is in force, and it is in the mesh if it is to be. */
  admit(pod: Pod, signal: AbortSignal): Promise<void>;
}

interface Entry {
  readonly uid: string;
  readonly run: PodRun;
  ending: Promise<void> | undefined;
}

const podKind = { group: '', plural: 'pods' };

export class Kubelet implements PodRuntime {
  readonly #options: KubeletOptions;
  readonly #entries = new Map<string, Entry>(); // by uid
  readonly #records: SessionRecords;
  readonly #sessions = new Set<number>();
  #lastHost = firstFreeHost - 1;
  #unwatch: (() => void)[] = [];
  #beginning: string | undefined;
  /** Some pod waits for the address of another. */
  #waiting = false;
  #stopped = false;

  constructor(options: KubeletOptions) {
    this.#options = options;
    this.#records = new SessionRecords(options.dir);
  }

  /** Ends what an earlier run left, then runs the pods there are and those to come. */
  async start(): Promise<void> {
    const { store, log } = this.#options;
    const ended = await this.#records.endStale();
    if (ended > 0) log.info('ended processes of an earlier run', { sessions: ended });
    this.#dropOrphanedDirs();
    this.#unwatch = [
      store.watch(keys.pods, ({ type, object }) => {
        if (type === 'DELETED') {
          this.#end(as<Pod>(object), 0);
          this.#lookAtWaiting();
        } else this.#look(as<Pod>(object));
      }),
      ...[keys.configMaps, keys.secrets].map((resource) =>
        store.watch(resource, ({ object }) => this.#refresh(object)),
      ),
    ];
    for (const object of store.list(keys.pods).items) this.#look(as<Pod>(object));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const off of this.#unwatch) off();
    await Promise.all([...this.#entries.values()].map((e) => e.ending ?? e.run.stop(2_000)));
    await Promise.all([...this.#sessions].map((session) => killSession(session)));
    for (const session of this.#sessions) this.#ended(session);
    this.#entries.clear();
  }

  /** Pids of a pod's main containers. */
  pids(uid: string): number[] {
    const entry = this.#entries.get(uid);
    const pod = entry && this.#stored(uid);
    return (pod?.spec.containers ?? []).flatMap((c) => {
      const record = entry?.run.run(c.name)?.record;
      return record?.state.running && record.pid !== undefined ? [record.pid] : [];
    });
  }

  logs(namespace: string, name: string, options: Parameters<PodRuntime['logs']>[2]): Readable {
    const pod = this.#find(namespace, name);
    const container = pickContainer(pod, options.container);
    const run = this.#entries.get(pod.metadata.uid ?? '')?.run.run(container.name);
    const now = this.#options.clock.now();
    const since = options.sinceTime === undefined ? Number.NaN : Date.parse(options.sinceTime);
    const sinceMs = options.sinceSeconds === undefined ? since : now - options.sinceSeconds * 1_000;
    const query: LogQuery = {
      follow: options.follow === true,
      timestamps: options.timestamps === true,
      ...(Number.isNaN(sinceMs) ? {} : { sinceMs }),
      ...(options.tailLines === undefined ? {} : { tailLines: options.tailLines }),
      ...(options.limitBytes === undefined ? {} : { limitBytes: options.limitBytes }),
    };
    const status = [
      ...(pod.status?.containerStatuses ?? []),
      ...(pod.status?.initContainerStatuses ?? []),
    ].find((s) => s.name === container.name);
    const instance = run?.record.restartCount ?? status?.restartCount ?? 0;
    const file = (n: number): string =>
      path.join(this.#podDir(pod.metadata.uid ?? ''), 'logs', `${container.name}-${n}.log`);
    if (options.previous === true) {
      if (instance > 0 && fs.existsSync(file(instance - 1))) {
        return readEnded(file(instance - 1), query);
      }
      const why = `previous terminated container "${container.name}" in pod "${name}" not found`;
      throw statusError(400, 'BadRequest', why);
    }
    if (run?.log) return run.log.read(query);
    if (fs.existsSync(file(instance))) return readEnded(file(instance), query);
    const reason = status?.state.waiting?.reason ?? 'ContainerCreating';
    throw statusError(
      400,
      'BadRequest',
      `container "${container.name}" in pod "${name}" is waiting to start: ${reason}`,
    );
  }

  async exec(
    namespace: string,
    name: string,
    options: Parameters<PodRuntime['exec']>[2],
  ): Promise<ExecSession> {
    const pod = this.#find(namespace, name);
    const container = pickContainer(pod, options.container);
    const run = this.#entries.get(pod.metadata.uid ?? '')?.run;
    if (!run?.run(container.name)?.record.state.running) {
      const why = `container not found ("${container.name}"): it is not running`;
      throw statusError(400, 'BadRequest', why);
    }
    const started = await run.launch(container, options.command, true);
    if (!started.ok) return notStarted(started.message);
    const { pid, stdin, stdout, stderr, exit } = started.value;
    if (!options.stdin) stdin?.end();
    return {
      stdin: stdin ?? new PassThrough(),
      stdout,
      stderr,
      exit: exit.then(async ({ code }) => {
        await killSession(pid);
        this.#ended(pid);
        return code;
      }),
      kill: () => void killSession(pid),
    };
  }

  async dial(namespace: string, name: string, port: number): Promise<Duplex> {
    const pod = this.#find(namespace, name);
    const ip = pod.status?.podIP;
    if (ip === undefined || isTerminal(pod)) {
      throw statusError(400, 'BadRequest', `pod "${name}" is not running`);
    }
    try {
      return await this.#options.dial(pod, port);
    } catch (error) {
      const why = error instanceof Error ? error.message : 'refused';
      throw statusError(502, 'BadGateway', `cannot reach port ${port} of pod "${name}": ${why}`);
    }
  }

  #find(namespace: string, name: string): Pod {
    const pod = this.#options.store.get(keys.pods, namespace, name);
    if (!pod) throw notFound(podKind, name);
    return as<Pod>(pod);
  }

  #stored(uid: string): Pod | undefined {
    const pods = this.#options.store.list(keys.pods).items;
    const pod = pods.find((p) => p.metadata.uid === uid);
    return pod && as<Pod>(pod);
  }

  #podDir(uid: string): string {
    return path.join(this.#options.dir, 'pods', uid);
  }

  /** One look at a stored pod: start it, end it, or nothing. */
  #look(pod: Pod): void {
    const uid = pod.metadata.uid ?? '';
    if (this.#stopped) return;
    if (isDeleting(pod)) {
      this.#end(pod, (pod.metadata.deletionGracePeriodSeconds ?? 30) * 1_000);
      return;
    }
    if (this.#entries.has(uid) || this.#beginning === uid || isDone(pod)) return;
    this.#begin(pod);
  }

  #lookAtWaiting(): void {
    if (!this.#waiting) return;
    this.#waiting = false;
    for (const object of this.#options.store.list(keys.pods).items) this.#look(as<Pod>(object));
  }

  #begin(pod: Pod): void {
    const { namespace, name, uid = '' } = pod.metadata;
    const { store, log } = this.#options;
    const node = this.#nodeFor(pod);
    const ip = this.#addressFor(pod, node.name);
    if (ip === 'taken') {
      // Its fixed address is still another pod's, which is ending: looked at again when that is gone.
      this.#waiting = true;
      return;
    }
    if (ip === undefined) {
      log.error('no address is left', { pod: name });
      return;
    }
    this.#beginning = uid; // the writes' events come back to #look
    store.modify(keys.pods, namespace, name, (o) => {
      as<Pod>(o).spec.nodeName = node.name;
    });
    store.modify(
      keys.pods,
      namespace,
      name,
      (o) => {
        const p = as<Pod>(o);
        const podIPs = [ip, this.#options.addresses.six(ip) ?? []]
          .flat()
          .map((one) => ({ ip: one }));
        const own = { podIP: ip, podIPs, hostIP: node.ip };
        p.status = { ...p.status, phase: 'Pending', ...own };
      },
      { status: true },
    );
    this.#beginning = undefined;
    this.#entries.set(uid, {
      uid,
      run: this.#newRun(this.#stored(uid) ?? pod, node, ip),
      ending: undefined,
    });
  }

  #newRun(pod: Pod, place: NodePlace, ip: string): PodRun {
    const { namespace = 'default', name, uid = '' } = pod.metadata;
    const { store, clock, log, recorder, tokens, packageRoot } = this.#options;
    const dir = this.#podDir(uid);
    const node = store.get(keys.nodes, undefined, place.name);
    const paths: PodPaths = { dir, sandboxDir: this.#options.dir };
    const accountUid = (): string | undefined =>
      store.get(keys.serviceAccounts, namespace, accountOf(pod.spec))?.metadata.uid;
    const writer = new VolumeWriter({
      dir,
      pod,
      accountUid,
      nodeUid: node?.metadata.uid ?? '',
      defaultAudience: 'https://kubernetes.default.svc.cluster.local',
      tokens,
      clock,
      log,
    });
    let last = pod;
    const current = (): Pod => {
      const found = store.get(keys.pods, namespace, name);
      if (found?.metadata.uid === uid) last = as<Pod>(found);
      return last;
    };
    const captured = !isHost(pod);
    return new PodRun({
      clock,
      log,
      dir,
      packageRoot,
      hostIp: place.ip,
      probeSocket: (of, host, port) => this.#options.probeSocket(of, host, port),
      lookups: lookupsIn(store, namespace),
      writer,
      accountUid,
      base: baseVariables(pod, paths, this.#options),
      current,
      launch: async ([file, ...args], { env, cwd, stdin }) => {
        const launched = await this.#options.launch({
          ip,
          captured,
          stdin,
          file,
          args,
          env: Object.fromEntries(env),
          cwd,
        });
        this.#sessions.add(launched.pid);
        this.#records.add(launched.pid);
        return launched;
      },
      ended: (session) => this.#ended(session),
      admitted: async (signal) => {
        await writeKubeconfig(paths, this.#options, writer, !captured);
        await this.#options.admit(current(), signal);
      },
      publish: (status) => {
        const found = store.get(keys.pods, namespace, name);
        if (found?.metadata.uid !== uid) return;
        store.modify(keys.pods, namespace, name, (o) => void (o['status'] = status), {
          status: true,
        });
      },
      event: (type, reason, message) => recorder.event(pod, type, reason, message),
    });
  }

  /** Ends a pod's processes, then takes the object out of the store. */
  #end(pod: Pod, graceMs: number): void {
    const { namespace, name, uid = '' } = pod.metadata;
    const entry = this.#entries.get(uid);
    const finish = (): void => {
      this.#entries.delete(uid);
      const { store } = this.#options;
      if (!this.#stopped && store.get(keys.pods, namespace, name)?.metadata.uid === uid) {
        store.remove(keys.pods, namespace, name, { graceSeconds: 0 });
      }
      fs.rmSync(this.#podDir(uid), { recursive: true, force: true });
    };
    if (!entry) {
      finish();
      return;
    }
    // Asked again, with less patience (`--force`): what still runs ends now.
    if (entry.ending && graceMs === 0) void entry.run.stop(0).catch(() => {});
    entry.ending ??= entry.run.stop(graceMs).then(finish, (error: unknown) => {
      this.#options.log.error('a pod did not end', { pod: name, error: String(error) });
    });
  }

  #ended(session: number): void {
    this.#sessions.delete(session);
    this.#records.remove(session);
    this.#options.forget(session);
  }

  #refresh(changed: KubeObject): void {
    for (const entry of this.#entries.values()) {
      const pod = this.#stored(entry.uid);
      if (pod?.metadata.namespace !== changed.metadata.namespace) continue;
      entry.run.refresh().catch((error: unknown) => {
        this.#options.log.warn('volumes were not refreshed', { error: String(error) });
      });
    }
  }

  /** Its own again after a restart, its fixed one (or `taken`), or the next free one. */
  #addressFor(pod: Pod, node: string): string | undefined {
    const { store, addresses } = this.#options;
    if (addresses.hostNetwork && pod.spec.hostNetwork === true) {
      return addresses.nodes.find((n) => n.name === node)?.ip;
    }
    const taken = new Set<string>();
    for (const object of store.list(keys.pods).items) {
      const other = as<Pod>(object);
      if (other.metadata.uid === pod.metadata.uid || isTerminal(other)) continue;
      if (other.status?.podIP) taken.add(other.status.podIP);
    }
    const fixed = Number(pod.metadata.annotations?.[sandboxKeys.hostNumber]);
    const old = pod.status?.podIP;
    if (Number.isInteger(fixed)) {
      const ip = addresses.podIp(node, fixed);
      return taken.has(ip) ? 'taken' : ip;
    }
    if (old !== undefined && addresses.isPodIp(node, old) && !taken.has(old)) return old;
    const at = (n: number): string => addresses.podIp(node, n);
    const next = nextFree(this.#lastHost, firstFreeHost, at, taken);
    if (next === undefined) return undefined;
    this.#lastHost = next;
    return at(next);
  }

  /** The one it has, the first for fixed addresses, or the one with the fewest pods. */
  #nodeFor(pod: Pod): NodePlace {
    const { store, addresses } = this.#options;
    const [first] = addresses.nodes;
    if (!first) throw new Error('there is no node');
    const own = addresses.nodes.find((n) => n.name === pod.spec.nodeName);
    if (own || pod.metadata.annotations?.[sandboxKeys.hostNumber] !== undefined)
      return own ?? first;
    const count = new Map<string, number>();
    for (const { spec } of store.list(keys.pods).items.map(as<Pod>)) {
      count.set(spec.nodeName ?? '', (count.get(spec.nodeName ?? '') ?? 0) + 1);
    }
    return addresses.nodes.reduce((a, b) =>
      (count.get(b.name) ?? 0) < (count.get(a.name) ?? 0) ? b : a,
    );
  }

  #dropOrphanedDirs(): void {
    const root = path.join(this.#options.dir, 'pods');
    if (!fs.existsSync(root)) return;
    const known = new Set(this.#options.store.list(keys.pods).items.map((p) => p.metadata.uid));
    for (const uid of fs.readdirSync(root)) {
      if (!known.has(uid)) fs.rmSync(path.join(root, uid), { recursive: true, force: true });
    }
  }
}

/** Mesh programs: their own calls are not captured. */
export const isHost = (pod: Pod): boolean =>
  pod.metadata.annotations?.[sandboxKeys.network] === 'host';
