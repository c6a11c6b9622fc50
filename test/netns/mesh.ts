// A mesh of one node in namespaces: `ztunnel` in this process in `shared` mode, told its pods by the node
// agent's own ZDS server, with the node agent's own rules in the pods. Pods are named namespaces on a
// routing node, as in the sandbox.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CertificateAuthority, createCa, localCaClient } from '../../certs/index.ts';
import { podUid, type Workload } from '../../core/model/index.ts';
import { systemClock, systemRandom } from '../../core/runtime/index.ts';
import { createLog, createMetrics, type Metrics } from '../../core/telemetry/index.ts';
import { MeshFeed } from '../../core/xds/index.ts';
import { listenPackets, type ZdsPod, ZdsServer } from '../../core/zds/index.ts';
import {
  applyRules,
  defaultProbeIp,
  defaultProbeIp6,
  type RuleStage,
} from '../../node-agent/index.ts';
import { type ConnectionRecord, readConfig, startZtunnel } from '../../ztunnel/index.ts';
import { eventually } from '../kit/eventually.ts';
import { testWorkload } from '../kit/mesh.ts';
import type { TestNamespace } from './ring.ts';

export interface NetnsMesh {
  readonly feed: MeshFeed;
  readonly zds: ZdsServer;
  /** Where ztunnel looks for its node agent. */
  readonly socket: string;
  /** Of the readiness port. */
  ready(): Promise<boolean>;
  readonly lines: string[];
  readonly metrics: Metrics;
  readonly ca: CertificateAuthority;
  /** Known to the mesh, told to ztunnel, captured. */
  enrol(name: string, ns: TestNamespace, ip: string, more?: Partial<Workload>): Promise<void>;
  rules(ns: TestNamespace, stage: RuleStage): Promise<void>;
  /** Gone from the node; what the mesh knows of it stays. */
  forget(name: string): Promise<void>;
  records(): Promise<ConnectionRecord[]>;
  /** Connections that are open now. */
  live(): Promise<number>;
  /** `POST /ambient/probe`. */
  probe(body: object): Promise<unknown>;
  /** The proxy alone, with its grace time. */
  drain(graceMs: number): Promise<void>;
  stop(): Promise<void>;
}

export const facts = {
  probeIp: defaultProbeIp,
  probeIp6: defaultProbeIp6,
  inbound: true,
  dns: true,
  reroute: [],
  ipv6: true,
};

export async function startNetnsMesh(
  env: Readonly<Record<string, string>> = {},
  shared?: CertificateAuthority,
  /** `false`: the story brings a node agent of its own to `socket`. */
  agent = true,
): Promise<NetnsMesh> {
  const dir = mkdtempSync(join(tmpdir(), 'ambient-netns-'));
  const path = join(dir, 'ztunnel.sock');
  const lines: string[] = [];
  const log = createLog('test', { level: 'debug', write: (line) => void lines.push(line) });
  const clock = systemClock;
  const pods = new Map<string, ZdsPod>();
  const zds = new ZdsServer({
    path,
    listen: listenPackets,
    clock,
    log: log.child('zds-server'),
    snapshot: () => [...pods.values()],
    connected: () => {},
  });
  if (agent) await zds.start();
  const ca = shared ?? (await createCa({ trustDomain: 'cluster.local', clock }));
  const feed = new MeshFeed(log);
  const { config } = readConfig({
    PROXY_MODE: 'shared',
    NODE_NAME: 'n1',
    INPOD_UDS: path,
    ADMIN_PORT: '0',
    STATS_ADDRESS: '127.0.0.1',
    STATS_PORT: '0',
    READINESS_ADDRESS: '127.0.0.1',
    READINESS_PORT: '0',
    ...env,
  });
  if (!config.ok) throw new Error(JSON.stringify(config.faults));
  const metrics = createMetrics();
  const ztunnel = await startZtunnel(config.value, {
    feed,
    ca: localCaClient(ca),
    clock,
    random: systemRandom,
    log,
    metrics,
  });
  feed.markSynced();
  if (agent) {
    await eventually(() => zds.isConnected, 'ztunnel at the node agent');
    await ztunnel.ready;
  }
  const { admin, readiness } = ztunnel.addresses;
  const rules = (ns: TestNamespace, stage: RuleStage): Promise<void> =>
    applyRules(ns.fd, stage, facts);
  return {
    feed,
    zds,
    socket: path,
    ready: async () =>
      (await fetch(`http://127.0.0.1:${readiness.port}/healthz/ready`)).status === 200,
    lines,
    metrics,
    ca,
    rules,
    async enrol(name, ns, ip, more = {}) {
      feed.apply({ workloads: [testWorkload(name, ip, more)] });
      const uid = podUid('Kubernetes', 'shop', name);
      const pod = { uid, name, namespace: 'shop', serviceAccount: name, netnsFd: ns.fd };
      pods.set(uid, pod);
      await zds.add(pod);
      await rules(ns, 'capture');
    },
    async forget(name) {
      const uid = podUid('Kubernetes', 'shop', name);
      pods.delete(uid);
      await zds.remove(uid, 0);
    },
    async records() {
      const url = `http://${admin.host}:${admin.port}/ambient/connections?recent`;
      return (await (await fetch(url)).json()) as ConnectionRecord[];
    },
    async live() {
      const url = `http://${admin.host}:${admin.port}/ambient/connections?live`;
      return ((await (await fetch(url)).json()) as unknown[]).length;
    },
    async probe(body) {
      const url = `http://${admin.host}:${admin.port}/ambient/probe`;
      return (await fetch(url, { method: 'POST', body: JSON.stringify(body) })).json();
    },
    drain: (graceMs) => ztunnel.stop({ graceMs }),
    async stop() {
      await ztunnel.stop({ graceMs: 0 });
      await zds.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
