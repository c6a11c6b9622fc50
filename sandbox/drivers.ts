// The two ways to give pods a network, behind one shape: `loopback` (addresses of this host, captured by
// answering system calls) and `netns` (network namespaces, captured by the node agent's rules).
import fs from 'node:fs';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import type { Clock, Log } from '../core/base/index.ts';
import { systemRandom } from '../core/runtime/index.ts';
import { type AddressPlan, loopbackPlan, mostNodes, netnsPlan } from './addresses.ts';
import type { Recorder } from './controllers/index.ts';
import { Enrolment } from './enrol/index.ts';
import { isHost, type KubeletOptions, zdsSocket } from './kubelet/index.ts';
import {
  apiPort,
  type Block,
  claimBlock,
  hostAddress,
  type Means,
  Network,
  nodeDial,
  nodeSocket,
  startCapture,
} from './loopback/index.ts';
import {
  admitted,
  blocksInUse,
  isEnrolled,
  NetnsNetwork,
  removeNamespaces,
} from './netns/index.ts';
import type { Pod } from './objects.ts';
import type { SandboxStore } from './store/index.ts';

export interface DriverFacts {
  readonly dir: string;
  readonly block: Block;
  readonly store: SandboxStore;
  readonly recorder: Recorder;
  readonly clock: Clock;
  readonly log: Log;
  readonly nodes: number;
  readonly capture: 'seccomp' | 'preload' | undefined;
  readonly onLost: (reason: string) => void;
  /** Called at the end, last first. */
  readonly undo: (step: () => Promise<void> | void) => void;
}

export interface Driver {
  readonly means: { readonly kind: Means['kind'] | 'namespaces'; readonly reason: string };
  readonly addresses: AddressPlan;
  readonly apiFd: number | undefined;
  readonly kubelet: Pick<
    KubeletOptions,
    'launch' | 'forget' | 'admit' | 'dial' | 'probeSocket' | 'proxyMode' | 'netnsRecords'
  >;
  /** Whether the pod's own traffic is captured. */
  enrolled(pod: Pod): boolean;
  /** When the API serves. */
  start(): Promise<void>;
}

export async function loopbackDriver(facts: DriverFacts): Promise<Driver> {
  const { dir, block, store, log, undo } = facts;
  const addresses = loopbackPlan(block);
  const capture = await startCapture({
    log: log.child('capture'),
    force: facts.capture,
    dir,
    block,
    onLost: facts.onLost,
  });
  undo(() => capture.stop());
  const network = new Network({
    store,
    block,
    podsDir: path.join(dir, 'pods'),
    log: log.child('network'),
    setView: (view) => capture.setView(view),
  });
  undo(() => network.stop());
  const enrolment = new Enrolment({
    store,
    recorder: facts.recorder,
    clock: facts.clock,
    random: systemRandom,
    log: log.child('enrol'),
    socketPath: zdsSocket(dir, addresses),
    syncUrl: `http://${hostAddress(block, 2)}:8080/debug/syncz`,
    flags: (uid) => network.flags(uid),
    setFlags: (uid, flags) => network.setFlags(uid, flags),
  });
  return {
    means: capture.means,
    addresses,
    apiFd: undefined,
    kubelet: {
      proxyMode: 'addressed',
      netnsRecords: '',
      launch: (spec) => capture.launch(spec),
      forget: (session) => capture.forget(session),
      probeSocket: (_pod, host, port) => nodeSocket(host, port),
      dial: (pod, port) => dialLoopback(pod, port),
      admit: async (pod, signal) => {
        await network.settled();
        if (!isHost(pod)) await enrolment.admit(pod, signal);
      },
    },
    enrolled: (pod) => network.flags(pod.metadata.uid ?? '').outbound,
    async start() {
      await enrolment.start();
      undo(() => enrolment.stop());
    },
  };
}

async function dialLoopback(pod: Pod, port: number): Promise<Duplex> {
  const ip = pod.status?.podIP ?? '';
  // A mesh program's own localhost is everybody's here.
  let refusal: unknown;
  for (const host of isHost(pod) ? [ip, '127.0.0.1'] : [ip]) {
    try {
      return await nodeDial(host, port);
    } catch (error) {
      refusal = error;
    }
  }
  throw refusal;
}

export async function netnsDriver(facts: DriverFacts): Promise<Driver> {
  if (facts.nodes > mostNodes) throw new Error(`at most ${mostNodes} nodes`);
  const { dir, block, store, recorder, log, undo } = facts;
  await removeLeftovers(block, log);
  const ipv6 = fs.existsSync('/proc/sys/net/ipv6/conf/all/disable_ipv6');
  if (!ipv6) log.warn('this kernel has no IPv6: pods have IPv4 addresses alone');
  const addresses = netnsPlan(block, facts.nodes, ipv6);
  const recordsDir = path.join(dir, 'netns');
  const network = new NetnsNetwork({
    store,
    addresses,
    recordsDir,
    clock: facts.clock,
    log: log.child('network'),
  });
  undo(() => network.stop());
  const { apiFd } = await network.start();
  const count = addresses.nodes.length;
  return {
    means: {
      kind: 'namespaces',
      reason: `network namespaces on ${count} ${count === 1 ? 'node' : 'nodes'}, nftables, ${ipv6 ? 'IPv4 and IPv6' : 'IPv4'}`,
    },
    addresses,
    apiFd,
    kubelet: {
      proxyMode: 'shared',
      netnsRecords: recordsDir,
      launch: (spec) => network.launch(spec),
      forget: () => {},
      dial: (pod, port) => network.dial(pod, port),
      probeSocket: (pod, host, port) => network.probeSocket(pod, host, port),
      admit: async (pod, signal) => {
        await network.prepare(pod);
        if (!isHost(pod)) await admitted(store, recorder, pod, signal);
      },
    },
    enrolled: isEnrolled,
    start: () => Promise.resolve(),
  };
}

/** Of this block, whose lock we hold, and of killed sandboxes, whose locks are free. */
async function removeLeftovers(block: Block, log: Log): Promise<void> {
  for (const other of blocksInUse()) {
    if (other === block) {
      await removeNamespaces(block);
      continue;
    }
    const claimed = await claimBlock(other);
    if (claimed.block === other) {
      log.info('removing what a killed sandbox left', { block: other });
      await removeNamespaces(other);
    }
    await claimed.release();
  }
}

export const podsApiUrl = (addresses: AddressPlan): string => `https://${addresses.api}:${apiPort}`;
