// Composition of a sandbox on driver `loopback`: address block, store, API, capture, network view,
// controllers, kubelet, enrolment; then the mesh's manifests. One directory holds all it keeps.
import fs from 'node:fs';
import path from 'node:path';
import type { Clock, Log } from '../core/base/index.ts';
import { systemClock, systemRandom } from '../core/runtime/index.ts';
import { createTokens, makeServingCertificate, startApi, writeKubeconfig } from './api/index.ts';
import { createRecorder, startControllers } from './controllers/index.ts';
import type { PodRuntime, Store } from './contract.ts';
import { Enrolment } from './enrol/index.ts';
import { isHost, Kubelet, zdsSocket } from './kubelet/index.ts';
import {
  apiAddress,
  apiPort,
  type Capture,
  claimBlock,
  hostAddress,
  type Means,
  Network,
  startCapture,
} from './loopback/index.ts';
import { applyObjects, readManifests } from './manifests.ts';
import { as, isReady, keys, type Pod } from './objects.ts';
import { openStore, type SandboxStore } from './store/index.ts';
import { type SandboxStatus, StateFiles, type SandboxState } from './state.ts';

export interface SandboxOptions {
  /** Everything the sandbox keeps. Made if absent. */
  readonly dir: string;
  readonly driver: 'loopback';
  readonly log: Log;
  /** Apply the mesh's manifests. Default true. */
  readonly mesh?: boolean;
  /** Where `manifests/` and the programs are. Default: this package. */
  readonly packageRoot?: string;
  readonly clock?: Clock;
  /** `preload`: do without seccomp. Default: what the machine allows. */
  readonly capture?: 'seccomp' | 'preload' | undefined;
  /** Called when the sandbox cannot go on. */
  readonly onLost?: (reason: string) => void;
}

export interface Sandbox {
  readonly state: SandboxState;
  readonly store: Store;
  readonly runtime: PodRuntime;
  status(): SandboxStatus;
  /** Ends every pod and serves no more; the data stay. */
  stop(): Promise<void>;
}

const ownRoot = path.resolve(import.meta.dirname, '..');

/** Starts everything; rejects, with nothing left behind, if any part cannot start. */
export async function startSandbox(options: SandboxOptions): Promise<Sandbox> {
  const undo: (() => Promise<void> | void)[] = [];
  const unwind = async (): Promise<void> => {
    for (const step of undo.splice(0).toReversed()) await step();
  };
  try {
    return await assemble(options, undo, unwind);
  } catch (error) {
    await unwind();
    throw error;
  }
}

async function assemble(
  options: SandboxOptions,
  undo: (() => Promise<void> | void)[],
  unwind: () => Promise<void>,
): Promise<Sandbox> {
  const { dir, log } = options;
  const clock = options.clock ?? systemClock;
  const packageRoot = options.packageRoot ?? ownRoot;
  fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
  const files = new StateFiles(dir);
  undo.push(files.lock());
  const claimed = await claimBlock(files.lastBlock());
  undo.push(() => claimed.release());
  const { block } = claimed;

  const store = openStore({ dir: path.join(dir, 'store'), log: log.child('store') });
  undo.push(() => store.close());
  const keysDir = path.join(dir, 'keys');
  const tokens = createTokens({ dir: keysDir });
  const apiIp = apiAddress(block);
  const tls = await makeServingCertificate({ dir: keysDir, clock, ips: [apiIp] });
  const apiUrl = `https://${apiIp}:${apiPort}`;

  const capture = await startCapture({
    log: log.child('capture'),
    force: options.capture,
    dir,
    block,
    onLost: (reason) => options.onLost?.(reason),
  });
  undo.push(() => capture.stop());
  const network = new Network({
    store,
    block,
    podsDir: path.join(dir, 'pods'),
    log: log.child('network'),
    setView: (view) => capture.setView(view),
  });
  undo.push(() => network.stop());

  const recorder = createRecorder(store, 'kubelet', () => clock.now());
  const enrolment = new Enrolment({
    store,
    recorder,
    clock,
    random: systemRandom,
    log: log.child('enrol'),
    socketPath: zdsSocket(dir),
    syncUrl: `http://${hostAddress(block, 2)}:8080/debug/syncz`,
    flags: (uid) => network.flags(uid),
    setFlags: (uid, flags) => network.setFlags(uid, flags),
  });
  const kubelet = new Kubelet({
    store,
    tokens,
    recorder,
    clock,
    log: log.child('kubelet'),
    block,
    dir,
    packageRoot,
    apiUrl,
    caPem: tls.caPem,
    launch: (spec) => capture.launch(spec),
    forget: (session) => capture.forget(session),
    admit: async (pod, signal) => {
      await network.settled();
      if (!isHost(pod)) await enrolment.admit(pod, signal);
    },
  });

  const api = await startApi({
    store,
    tokens,
    runtime: kubelet,
    host: apiIp,
    port: apiPort,
    tls,
    log: log.child('api'),
  });
  undo.push(() => api.stop());
  const admin = { url: apiUrl, caPem: tls.caPem, token: tokens.adminToken };
  writeKubeconfig(path.join(dir, 'kubeconfig'), admin);

  const controllers = startControllers({
    store,
    resources: store.registry,
    block,
    rootPem: tls.caPem,
    clock,
    random: systemRandom,
    log: log.child('controllers'),
  });
  undo.push(() => controllers.stop());
  await enrolment.start();
  undo.push(() => enrolment.stop());
  undo.push(() => kubelet.stop());
  await kubelet.start();

  const manifests = readManifests(path.join(packageRoot, 'manifests'));
  await applyObjects(manifests.crds, store.registry, admin);
  if (options.mesh !== false) await applyObjects(manifests.mesh, store.registry, admin);

  const state: SandboxState = {
    pid: process.pid,
    block,
    api: apiUrl,
    driver: 'loopback',
    means: capture.means.kind,
    reason: capture.means.reason,
    started: new Date(clock.now()).toISOString(),
    dir,
  };
  undo.push(files.write(state, packageRoot));
  log.info('the sandbox is up', { api: apiUrl, means: capture.means.kind });
  const status = (): SandboxStatus => statusOf(store, kubelet, network, capture, state);
  undo.push(await files.serveStatus(status));
  return { state, store, runtime: kubelet, status, stop: unwind };
}

function statusOf(
  store: SandboxStore,
  kubelet: Kubelet,
  network: Network,
  capture: Capture,
  state: SandboxState,
): SandboxStatus {
  const pods = store.list(keys.pods).items.map(as<Pod>);
  const means: Means = capture.means;
  const row = (pod: Pod) => {
    const uid = pod.metadata.uid ?? '';
    return {
      namespace: pod.metadata.namespace ?? '',
      name: pod.metadata.name,
      ip: pod.status?.podIP ?? '',
      pid: kubelet.pids(uid)[0],
      phase: pod.status?.phase ?? '',
      ready: isReady(pod),
      enrolled: network.flags(uid).outbound,
    };
  };
  const isMesh = (pod: Pod): boolean => pod.metadata.namespace === 'istio-system';
  return {
    driver: state.driver,
    means: means.kind,
    reason: means.reason,
    dir: state.dir,
    api: state.api,
    pods: pods.map(row),
    mesh: pods.filter(isMesh).map((pod) => {
      const { name, ip, pid, ready } = row(pod);
      const ports = pod.spec.containers.flatMap((c) => (c.ports ?? []).map((p) => p.containerPort));
      return { name, ip, ports, pid, ready };
    }),
  };
}
