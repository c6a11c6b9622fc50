// Composition of a sandbox: address block, store, the driver's network and capture, API, controllers,
// kubelet; then the mesh's manifests. One directory holds all it keeps.
import fs from 'node:fs';
import path from 'node:path';
import type { Clock, Log } from '../core/base/index.ts';
import { systemClock, systemRandom } from '../core/runtime/index.ts';
import { createTokens, makeServingCertificate, startApi, writeKubeconfig } from './api/index.ts';
import { createRecorder, startControllers } from './controllers/index.ts';
import type { KubeObject, PodRuntime, Store } from './contract.ts';
import { type Driver, loopbackDriver, netnsDriver, podsApiUrl } from './drivers.ts';
import { Kubelet } from './kubelet/index.ts';
import { apiAddress, apiPort, claimBlock } from './loopback/index.ts';
import { applyObjects, readManifests } from './manifests.ts';
import { as, isReady, keys, type Pod } from './objects.ts';
import type { Inside } from './outside.ts';
import { openStore, type SandboxStore } from './store/index.ts';
import { type SandboxStatus, StateFiles, type SandboxState } from './state.ts';

export interface SandboxOptions {
  /** Everything the sandbox keeps. Made if absent. */
  readonly dir: string;
  readonly driver: 'loopback' | 'netns';
  /** Why this driver, if it was chosen. */
  readonly chosen?: string | undefined;
  /** Set when it runs in namespaces that another process has made for it. */
  readonly inside?: Inside | undefined;
  /** Driver `netns` alone. Default 1. */
  readonly nodes?: number;
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
  // Inside, lock and block are held by the process outside: here they would be found free by everybody.
  if (!options.inside) undo.push(files.lock());
  const claimed = await claimBlock(options.inside?.block ?? files.lastBlock());
  undo.push(() => claimed.release());
  const { block } = claimed;

  const store = openStore({ dir: path.join(dir, 'store'), log: log.child('store') });
  undo.push(() => store.close());
  const keysDir = path.join(dir, 'keys');
  const tokens = createTokens({ dir: keysDir });
  const apiIp = apiAddress(block);
  const apiUrl = `https://${apiIp}:${apiPort}`;

  const recorder = createRecorder(store, 'kubelet', () => clock.now());
  const make = options.driver === 'netns' ? netnsDriver : loopbackDriver;
  const driver = await make({
    dir,
    block,
    store,
    recorder,
    clock,
    log,
    nodes: options.nodes ?? 1,
    capture: options.capture,
    onLost: (reason) => options.onLost?.(reason),
    undo: (step) => void undo.push(step),
  });
  const { addresses } = driver;
  const tls = await makeServingCertificate({ dir: keysDir, clock, ips: [apiIp, addresses.api] });
  const kubelet = new Kubelet({
    store,
    tokens,
    recorder,
    clock,
    log: log.child('kubelet'),
    addresses,
    dir,
    packageRoot,
    apiUrl: podsApiUrl(addresses),
    caPem: tls.caPem,
    ...driver.kubelet,
  });

  const api = await startApi({
    store,
    tokens,
    runtime: kubelet,
    host: apiIp,
    port: apiPort,
    extraFds: [driver.apiFd, options.inside?.apiFd].filter((fd) => fd !== undefined),
    tls,
    log: log.child('api'),
  });
  undo.push(() => api.stop());
  const admin = { url: apiUrl, caPem: tls.caPem, token: tokens.adminToken };
  writeKubeconfig(path.join(dir, 'kubeconfig'), admin);

  const controllers = startControllers({
    store,
    resources: store.registry,
    addresses,
    rootPem: tls.caPem,
    clock,
    random: systemRandom,
    log: log.child('controllers'),
  });
  undo.push(() => controllers.stop());
  await driver.start();
  undo.push(() => kubelet.stop());
  await kubelet.start();

  const manifests = readManifests(path.join(packageRoot, 'manifests'), options.driver);
  await applyObjects(manifests.crds, store.registry, admin);
  // Without namespaces the sandbox itself does the node agent's part.
  const mesh = manifests.mesh.filter((o) => driver.apiFd !== undefined || !isNodeAgent(o));
  if (options.mesh !== false) await applyObjects(mesh, store.registry, admin);

  const state: SandboxState = {
    pid: options.inside?.pid ?? process.pid,
    block,
    api: apiUrl,
    driver: options.driver,
    nodes: addresses.nodes.map((n) => n.name),
    means: driver.means.kind,
    reason: [driver.means.reason, options.inside?.reason, options.chosen]
      .filter((text) => text !== undefined)
      .join('; '),
    started: new Date(clock.now()).toISOString(),
    dir,
  };
  const status = (): SandboxStatus => statusOf(store, kubelet, driver, state);
  undo.push(await files.serveStatus(status));
  // Last: who finds the state file may ask for everything.
  undo.push(files.write(state, packageRoot));
  log.info('the sandbox is up', { api: apiUrl, means: driver.means.kind });
  return { state, store, runtime: kubelet, status, stop: unwind };
}

const isNodeAgent = (o: KubeObject): boolean => o.metadata.labels?.['app'] === 'node-agent';

function statusOf(
  store: SandboxStore,
  kubelet: Kubelet,
  driver: Driver,
  state: SandboxState,
): SandboxStatus {
  const pods = store.list(keys.pods).items.map(as<Pod>);
  const { means } = driver;
  const row = (pod: Pod) => {
    const uid = pod.metadata.uid ?? '';
    return {
      namespace: pod.metadata.namespace ?? '',
      name: pod.metadata.name,
      ip: pod.status?.podIP ?? '',
      node: pod.spec.nodeName ?? '',
      pid: kubelet.pids(uid)[0],
      phase: pod.status?.phase ?? '',
      ready: isReady(pod),
      enrolled: driver.enrolled(pod),
    };
  };
  const isMesh = (pod: Pod): boolean => pod.metadata.namespace === 'istio-system';
  return {
    driver: state.driver,
    nodes: state.nodes,
    means: means.kind,
    reason: state.reason,
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
