// Door of sandbox/controllers: everything that turns wanted objects into existing ones, but for the
// running of pods.
import type { Clock, Log, Random } from '../../core/base/index.ts';
import type { Store } from '../contract.ts';
import type { AddressPlan } from '../addresses.ts';
import { clusterIpController, endpointsController } from './services.ts';
import { ensureBasics, namespaceController, type Resources } from './cluster.ts';
import { deploymentController } from './deployments.ts';
import { daemonSetController, replicaSetController } from './replicas.ts';
import { runGarbageCollection } from './garbage.ts';
import { runController } from './loop.ts';
import { createRecorder } from './recorder.ts';

export { type Resources } from './cluster.ts';
export { createRecorder, type Recorder } from './recorder.ts';

export interface ControllersOptions {
  readonly store: Store;
  readonly resources: Resources;
  readonly addresses: AddressPlan;
  /** PEM of the API's own CA, handed to pods as `kube-root-ca.crt`. */
  readonly rootPem: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Makes the basics, then keeps reconciling until stopped. */
export function startControllers(options: ControllersOptions): { stop(): void } {
  const { store, resources, addresses, rootPem, clock } = options;
  const now = (): number => clock.now();
  ensureBasics(store, { addresses, nodeVersion: process.version, nowMs: now() });
  const recorder = createRecorder(store, 'sandbox-controllers', now);
  const deps = { store, recorder, now };
  const running = [
    namespaceController(store, resources, rootPem),
    clusterIpController(store, addresses),
    endpointsController(store),
    deploymentController(deps),
    replicaSetController(deps),
    daemonSetController({ ...deps, nodes: addresses.nodes.map((n) => n.name) }),
  ].map((controller) => runController(controller, options));
  running.push(runGarbageCollection(store, resources, options.log));
  return {
    stop() {
      for (const r of running) r.stop();
    },
  };
}
