// A whole mesh of one node in this process: CA, ztunnel in `addressed` mode, scripted node agent, and the
// mesh's state written directly. Each story takes its own block of loopback addresses.
import {
  type CaClient,
  type CertificateAuthority,
  createCa,
  localCaClient,
  type Revocations,
} from '../../certs/index.ts';
import { type Clock, parseIp } from '../../core/base/index.ts';
import {
  type Batch,
  namespacedHost,
  type Policy,
  policyKey,
  podUid,
  type Service,
  type Workload,
} from '../../core/model/index.ts';
import { systemClock, systemRandom, type Usage } from '../../core/runtime/index.ts';
import { createLog, createMetrics, type Metrics } from '../../core/telemetry/index.ts';
import { MeshFeed } from '../../core/xds/index.ts';
import {
  type ConnectionRecord,
  readConfig,
  startZtunnel,
  type Ztunnel,
} from '../../ztunnel/index.ts';
import { eventually } from './eventually.ts';
import { type NodeAgent, startNodeAgent } from './node-agent.ts';

const node = 'n1';

/** A pod of namespace `shop`; account = name. */
export function testWorkload(name: string, ip: string, more: Partial<Workload> = {}): Workload {
  const address = parseIp(ip);
  return {
    uid: podUid('Kubernetes', 'shop', name),
    name,
    namespace: 'shop',
    addresses: address ? [address] : [],
    hostname: '',
    network: '',
    protocol: 'HBONE',
    trustDomain: 'cluster.local',
    serviceAccount: name,
    node,
    canonicalName: name,
    canonicalRevision: 'v1',
    workloadType: 'deployment',
    workloadName: name,
    nativeTunnel: false,
    authorizationPolicies: [],
    status: 'Healthy',
    clusterId: 'Kubernetes',
    services: new Map(),
    locality: { region: '', zone: '', subzone: '' },
    networkMode: 'Standard',
    capacity: 1,
    ...more,
  };
}

export function testService(name: string, vip: string, port: number, targetPort: number): Service {
  const ip = parseIp(vip);
  return {
    name,
    namespace: 'shop',
    hostname: `${name}.shop.svc.cluster.local`,
    vips: ip ? [{ network: '', ip }] : [],
    cidrVips: [],
    ports: [{ servicePort: port, targetPort, appProtocol: 'UNKNOWN' }],
    subjectAltNames: [],
    weightedWaypoints: [],
    ipFamilies: 'IPv4',
    canonical: true,
    visibility: 'Public',
  };
}

/** The `services` field of a workload that backs `name` with its ports as they are. */
export const backs = (name: string): Workload['services'] =>
  new Map([[namespacedHost('shop', `${name}.shop.svc.cluster.local`), new Map()]]);

export function testPolicy(
  name: string,
  more: Pick<Policy, 'action' | 'rules'> & Partial<Policy>,
): Policy {
  return {
    key: policyKey('shop', name),
    name,
    namespace: 'shop',
    scope: 'WorkloadSelector',
    dryRun: false,
    ...more,
  };
}

export interface TestMesh {
  readonly ztunnel: Ztunnel;
  readonly feed: MeshFeed;
  readonly agent: NodeAgent;
  readonly ca: CertificateAuthority;
  readonly metrics: Metrics;
  readonly lines: string[];
  apply(batch: Batch): void;
  /** In the mesh and served: the workload applied, the pod added and acknowledged. */
  enrol(...workloads: Workload[]): Promise<void>;
  get(path: string): Promise<{ status: number; body: string }>;
  post(path: string, body?: unknown): Promise<{ status: number; body: string }>;
  /** `/metrics` as a scraper has it. */
  scrape(): Promise<string>;
  records(): Promise<ConnectionRecord[]>;
  /** The ended record of each direction for the newest trace that has both. */
  bothEnds(): Promise<{ outbound: ConnectionRecord; inbound: ConnectionRecord }>;
  stop(graceMs?: number): Promise<void>;
}

export interface TestMeshOptions {
  readonly env?: Record<string, string>;
  readonly ca?: CertificateAuthority;
  /** Wraps the CA, to make it slow, failing or foreign. */
  readonly caClient?: (ca: CertificateAuthority) => CaClient;
  readonly revocations?: () => Revocations | undefined;
  /** What ztunnel uses of what it may; default: as the system says. */
  readonly usage?: () => Usage;
  /** ztunnel's and the CA's; default the system's. TLS itself asks the system. */
  readonly clock?: Clock;
}

export async function startMesh(options: TestMeshOptions = {}): Promise<TestMesh> {
  const clock = options.clock ?? systemClock;
  const ca = options.ca ?? (await createCa({ trustDomain: 'cluster.local', clock }));
  const agent = await startNodeAgent();
  const lines: string[] = [];
  const log = createLog('ztunnel', { level: 'debug', write: (line) => void lines.push(line) });
  const metrics = createMetrics();
  const feed = new MeshFeed(log);
  const { config } = readConfig({
    PROXY_MODE: 'addressed',
    NODE_NAME: node,
    INPOD_UDS: agent.path,
    ADMIN_PORT: '0',
    STATS_ADDRESS: '127.0.0.1',
    STATS_PORT: '0',
    READINESS_ADDRESS: '127.0.0.1',
    READINESS_PORT: '0',
    ...options.env,
  });
  if (!config.ok) throw new Error(JSON.stringify(config.faults));
  const ztunnel = await startZtunnel(config.value, {
    feed,
    ca: options.caClient?.(ca) ?? localCaClient(ca),
    clock,
    random: systemRandom,
    log,
    metrics,
    ...(options.revocations && { revocations: options.revocations }),
    ...(options.usage && { usage: options.usage }),
  });
  feed.markSynced();
  await agent.snapshot();
  const { admin } = ztunnel.addresses;
  const base = `http://${admin.host}:${admin.port}`;
  const get = async (path: string): Promise<{ status: number; body: string }> => {
    const answer = await fetch(`${base}${path}`);
    return { status: answer.status, body: await answer.text() };
  };
  const records = async (): Promise<ConnectionRecord[]> =>
    JSON.parse((await get('/ambient/connections?recent')).body) as ConnectionRecord[];
  return {
    ztunnel,
    feed,
    agent,
    ca,
    metrics,
    lines,
    apply: (batch) => void feed.apply(batch),
    async enrol(...workloads) {
      feed.apply({ workloads });
      for (const { uid, name, namespace, serviceAccount, addresses } of workloads) {
        const error = await agent.add({ uid, name, namespace, serviceAccount, addresses });
        if (error !== '') throw new Error(error);
      }
    },
    get,
    async post(path, body) {
      const answer = await fetch(`${base}${path}`, {
        method: 'POST',
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      return { status: answer.status, body: await answer.text() };
    },
    async scrape() {
      const { stats } = ztunnel.addresses;
      return (await fetch(`http://${stats.host}:${stats.port}/metrics`)).text();
    },
    records,
    bothEnds: () =>
      eventually(async () => {
        const all = await records();
        for (const { trace } of all) {
          const outbound = all.find((r) => r.trace === trace && r.direction === 'outbound');
          const inbound = all.find((r) => r.trace === trace && r.direction === 'inbound');
          if (outbound && inbound) return { outbound, inbound };
        }
        return undefined;
      }, 'records of both ends'),
    async stop(graceMs = 0) {
      await ztunnel.stop({ graceMs });
      await agent.stop();
    },
  };
}
