// A waypoint in this process with a CA of its own, and a caller that comes in as a node proxy would: mutual TLS,
// HTTP/2, CONNECT. Endpoints are plain applications, so that what is seen is the waypoint's doing alone.
import net from 'node:net';
import type { Duplex } from 'node:stream';
import {
  type CertificateAuthority,
  CertManager,
  connectTls,
  createCa,
  localCaClient,
} from '../../certs/index.ts';
import { parseIp, silentLog } from '../../core/base/index.ts';
import { type HboneClient, openHbone } from '../../core/hbone/index.ts';
import { namespacedHost, printIdentity } from '../../core/model/index.ts';
import type * as wire from '../../core/proto/index.ts';
import { type Draft, encode } from '../../core/rpc/index.ts';
import { systemClock, systemRandom, type Usage } from '../../core/runtime/index.ts';
import { createLog, createMetrics, type Metrics } from '../../core/telemetry/index.ts';
import { MeshFeed } from '../../core/xds/index.ts';
import { readConfig, ServiceConfigs, startWaypoint, type Waypoint } from '../../waypoint/index.ts';
import { backs, testService, testWorkload } from './mesh.ts';

export interface TestWaypoint {
  readonly waypoint: Waypoint;
  readonly ca: CertificateAuthority;
  readonly feed: MeshFeed;
  readonly metrics: Metrics;
  readonly lines: string[];
  /** Adds service `name` at `vip:80` with plain endpoints `ip:port`. */
  service(name: string, vip: string, port: number, endpoints: readonly string[]): void;
  /** `resource` is its name on the wire, where it is not the service's. */
  configure(name: string, config: Draft<wire.L7ServiceConfig>, resource?: string): void;
  /** The resource of that name is gone. */
  forget(resource: string): void;
  /** One CONNECT; rejects with the status and reason of a refusal. */
  connect(authority: string): Promise<Duplex>;
  /** Sends bytes over a fresh stream and gives all that comes back until the end or `until` says enough. */
  exchange(authority: string, bytes: string, until?: (text: string) => boolean): Promise<string>;
  stop(): Promise<void>;
}

/** How service `name` is to be sent to. */
export const cluster = (
  name: string,
  traffic: Draft<wire.L7TrafficPolicy>,
  more: Draft<wire.L7Cluster> = {},
): Draft<wire.L7Cluster> => ({
  namespace: 'shop',
  hostname: `${name}.shop.svc.cluster.local`,
  port: 80,
  traffic,
  ...more,
});

const limitMs = 20_000;

/** The program itself in this process, with its state to be written directly. */
async function startProgram(
  address: string,
  env: Record<string, string>,
  given: CertificateAuthority | undefined,
  usage?: () => Usage,
) {
  const clock = systemClock;
  const ca = given ?? (await createCa({ trustDomain: 'cluster.local', clock }));
  const lines: string[] = [];
  const log = createLog('waypoint', { level: 'info', write: (line) => void lines.push(line) });
  const metrics = createMetrics();
  const feed = new MeshFeed(log);
  const services = new ServiceConfigs();
  const { config } = readConfig({
    BIND_ADDRESS: address,
    INSTANCE_IP: address,
    POD_NAMESPACE: 'shop',
    POD_NAME: 'waypoint-1',
    ADMIN_PORT: '0',
    STATS_ADDRESS: '127.0.0.1',
    STATS_PORT: '0',
    READINESS_ADDRESS: '127.0.0.1',
    READINESS_PORT: '0',
    ...env,
  });
  if (!config.ok) throw new Error(JSON.stringify(config.faults));
  const waypoint = await startWaypoint(config.value, {
    feed,
    services,
    ca: localCaClient(ca),
    clock,
    random: systemRandom,
    log,
    metrics,
    ...(usage && { usage }),
  });
  feed.markSynced();
  const configure = (
    name: string,
    draft: Draft<wire.L7ServiceConfig>,
    resource = `shop/${name}.shop.svc.cluster.local`,
  ): void => {
    const hostname = `${name}.shop.svc.cluster.local`;
    const full = { namespace: 'shop', hostname, gateway: 'shop/waypoint', ...draft };
    const bytes = encode('ambientlite.waypoint.v1.ServiceConfig', full);
    const bad = services.apply([{ name: resource, bytes }], []);
    if (bad.length > 0) throw new Error(JSON.stringify(bad));
  };
  const forget = (resource: string): void => void services.apply([], [resource]);
  return { waypoint, ca, feed, metrics, lines, configure, forget };
}

/** An ingress gateway `edge`; ready once it has been told what to listen on. */
export interface TestIngress
  extends Omit<Awaited<ReturnType<typeof startProgram>>, 'configure' | 'forget'> {
  listen(listeners: readonly Draft<wire.L7Listener>[], more?: Draft<wire.L7ServiceConfig>): void;
  stop(): Promise<void>;
}

export async function startTestIngress(
  address: string,
  ca?: CertificateAuthority,
  more: Record<string, string> = {},
): Promise<TestIngress> {
  const own = { GATEWAY_ROLE: 'ingress', SERVICE_ACCOUNT: 'edge-istio', POD_NAME: 'edge-1' };
  const env = { ...own, ...more };
  const { configure, ...program } = await startProgram(address, env, ca);
  return {
    ...program,
    listen: (listeners, more = {}) =>
      configure('edge-istio', { gateway: 'shop/edge', listeners: [...listeners], ...more }),
    stop: () => program.waypoint.stop({ graceMs: 0 }),
  };
}

export async function startTestWaypoint(
  address: string,
  env: Record<string, string> = {},
  given?: CertificateAuthority,
  /** What it uses of what it may; default: as the system says. */
  usage?: () => Usage,
): Promise<TestWaypoint> {
  const clock = systemClock;
  const { waypoint, ca, feed, metrics, lines, configure, forget } = await startProgram(
    address,
    env,
    given,
    usage,
  );
  await waypoint.ready;
  const certs = new CertManager({
    ca: localCaClient(ca),
    clock,
    random: systemRandom,
    log: silentLog,
  });
  const identity = (serviceAccount: string) =>
    printIdentity({ trustDomain: 'cluster.local', namespace: 'shop', serviceAccount });
  const tunnel = await dialTunnel(address, certs, identity);
  const connect = async (authority: string): Promise<Duplex> => {
    const answer = await tunnel.connect({ ':method': 'CONNECT', ':authority': authority });
    if (answer.kind === 'open') {
      answer.stream.on('error', () => {});
      return answer.stream;
    }
    const why = answer.kind === 'refused' ? `${answer.status} ${answer.reason ?? ''}` : answer.kind;
    throw new Error(why);
  };
  return {
    waypoint,
    ca,
    feed,
    metrics,
    lines,
    service(name, vip, port, endpoints) {
      const host = parseIp(address);
      const own = { kind: 'address', network: '', ip: host!, hboneMtlsPort: 15008 } as const;
      feed.apply({
        services: [{ ...testService(name, vip, port, 0), waypoint: own }],
        workloads: endpoints.map((e, i) => {
          const [ip = '', target = ''] = e.split(':');
          const ports = new Map([[port, Number(target)]]);
          const [key] = backs(name).keys();
          return testWorkload(`${name}-${i}`, ip, {
            protocol: 'TCP',
            services: new Map([[key ?? namespacedHost('', ''), ports]]),
          });
        }),
      });
    },
    configure,
    forget,
    connect,
    async exchange(authority, bytes, until = () => false) {
      const stream = await connect(authority);
      let text = '';
      stream.write(bytes, 'latin1');
      await new Promise<void>((resolve) => {
        const timer = clock.after(limitMs, resolve);
        const done = (): void => {
          timer.cancel();
          resolve();
        };
        stream.on('data', (chunk: Buffer) => {
          text += chunk.toString('latin1');
          if (until(text)) done();
        });
        stream.on('end', done);
        stream.on('close', done);
      });
      stream.destroy();
      return text;
    },
    async stop() {
      tunnel.destroy();
      certs.stop();
      await waypoint.stop({ graceMs: 0 });
    },
  };
}

async function dialTunnel(
  address: string,
  certs: CertManager,
  identity: (account: string) => ReturnType<typeof printIdentity>,
): Promise<HboneClient> {
  const socket = net.connect({ host: address, port: 15008 });
  socket.on('error', () => {});
  await new Promise((resolve) => socket.once('connect', resolve));
  const cert = await certs.get(identity('client'));
  const options = { clock: systemClock };
  const secured = await connectTls(socket, cert, [identity('waypoint')], options);
  return openHbone(secured.stream, { clock: systemClock, log: silentLog });
}
