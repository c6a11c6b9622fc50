// waypoint/{get,post}: 1 KiB through node proxy → waypoint → node proxy over mutual TLS, with 0, 10 and 1,000 routes
// and with an end user's token and a policy on its claims; CPU of the waypoint alone, beside Envoy and HAProxy in its place.
import type { ChildProcess } from 'node:child_process';
import { generateKeyPairSync, sign } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { type CertificateAuthority, createCa } from '../certs/index.ts';
import { parseIp } from '../core/base/index.ts';
import type { Service, Workload } from '../core/model/index.ts';
import { L7PathKind, L7PolicyAction, L7PortProtocol } from '../core/proto/index.ts';
import type * as wire from '../core/proto/index.ts';
import type { Draft } from '../core/rpc/index.ts';
import { systemClock } from '../core/runtime/index.ts';
import { backs, testService, testWorkload } from '../test/kit/index.ts';
import type { Result } from './data-path.ts';
import { haproxyVersion } from './haproxy.ts';
import { closedLoop, dialled, openConnections, openLoop, requestBytes } from './http-load.ts';
import {
  envoyVersion,
  type L7Case,
  type L7Peer,
  startEnvoy,
  startHaproxyHttp,
  type TokenCheck,
} from './l7-peers.ts';
import { startTlsPair, tlsBack, tlsFiles } from './tls-pair.ts';
import { appPort, child, farIp, header, nearIp, proxy, ready, usageOf } from './world.ts';

/** As manifests/waypoint/deployment.yaml starts it. */
const waypointFlags = ['--max-semi-space-size=4'];

const waypointIp = '127.63.1.9';
const vip = '127.63.1.100';
const between = { host: '127.63.4.1', port: 15_443 };
const app = { host: farIp, port: appPort };
const issuer = 'https://issuer.example';
const connections = 16;
/** Before that the compiler is still at work in the process that is measured (performance.md 4). */
const warm = 20_000;
const requests = 20_000;
/** Below the knee of all of them on two cores. */
const rate = 250;
const timed = 1_000;

const cases: readonly L7Case[] = [
  { routes: 0, secured: false },
  { routes: 10, secured: false },
  { routes: 1000, secured: false },
  { routes: 10, secured: true },
];

const nameOf = ({ routes, secured }: L7Case): string => `${routes}${secured ? '+jwt' : ''}`;

interface Token extends TokenCheck {
  readonly line: string;
}

const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** An ES256 token good for an hour. */
function makeToken(): Token {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = { ...pair.publicKey.export({ format: 'jwk' }), kid: 'one', alg: 'ES256' };
  const exp = Math.floor(Date.now() / 1000) + 3600;
  const claims = { iss: issuer, sub: 'anna', aud: 'shop', exp, groups: ['staff'] };
  const signed = `${part({ alg: 'ES256', kid: 'one' })}.${part(claims)}`;
  const key = { key: pair.privateKey, dsaEncoding: 'ieee-p1363' } as const;
  const signature = sign('sha256', Buffer.from(signed), key).toString('base64url');
  const line = `authorization: Bearer ${signed}.${signature}`;
  return { issuer, jwks: JSON.stringify({ keys: [jwk] }), line };
}

function config({ routes, secured }: L7Case, token: Token): Draft<wire.L7ServiceConfig> {
  const hostname = 'web.shop.svc.cluster.local';
  const backends = [{ namespace: 'shop', hostname, port: 80, weight: 1 }];
  // Prefixes come without their last slash.
  const paths = [...Array.from({ length: routes }, (_, i) => `/r${i}`), ''];
  const table: Draft<wire.L7RouteTable> = {
    rules: [{ route: 'shop/web', backends }],
    entries: paths.map((path) => ({ match: { pathKind: L7PathKind.PREFIX, path }, rule: 0 })),
  };
  return {
    namespace: 'shop',
    hostname,
    gateway: 'shop/waypoint',
    ports: [{ port: 80, protocol: L7PortProtocol.HTTP, ...(routes > 0 && { routes: table }) }],
    ...(secured && {
      jwtRules: [
        { policy: 'shop/jwt', issuer, jwks: token.jwks, audiences: ['shop'], forward: true },
      ],
      policies: [
        {
          key: 'shop/staff',
          action: L7PolicyAction.ALLOW,
          rules: [
            {
              from: [{ requestPrincipals: { any: [`${issuer}/*`] } }],
              to: [{ paths: { any: ['/*'] } }],
              when: [{ key: 'request.auth.claims[groups]', values: { any: ['staff'] } }],
            },
          ],
        },
      ],
    }),
  };
}

function mesh(): { workloads: Workload[]; services: Service[] } {
  const ip = parseIp(waypointIp);
  if (!ip) throw new Error('address');
  const waypoint = { kind: 'address', network: '', ip, hboneMtlsPort: 15_008 } as const;
  return {
    workloads: [
      testWorkload('near', nearIp),
      testWorkload('far', farIp, { services: backs('web') }),
      testWorkload('waypoint', waypointIp, { nativeTunnel: true }),
    ],
    services: [{ ...testService('web', vip, 80, appPort), waypoint }],
  };
}

interface Path {
  dial(): Promise<Socket>;
  cpuMicros(): Promise<number> | number;
}

async function measure(
  name: string,
  path: Path,
  bytes: Buffer,
  report: (r: Result) => void,
): Promise<void> {
  const open = await openConnections(connections, () => path.dial());
  try {
    await closedLoop(open, bytes, warm);
    const before = await path.cpuMicros();
    const perSecond = await closedLoop(open, bytes, requests);
    const cpu = ((await path.cpuMicros()) - before) / requests;
    const times = await openLoop(open, bytes, timed, rate);
    const at = (p: number): number => times[Math.floor(times.length * p)] ?? 0;
    report({
      name,
      unit: 'requests/s',
      value: perSecond,
      more: { cpuMicrosPerRequest: cpu, p50ms: at(0.5), p99ms: at(0.99) },
    });
  } finally {
    for (const c of open) c.destroy();
  }
}

async function ours(
  ca: CertificateAuthority,
  which: L7Case,
  token: Token,
): Promise<Path & { stop(): Promise<void> }> {
  const { workloads, services } = mesh();
  const uid = (name: string): string => `Kubernetes//Pod/shop/${name}`;
  const started: ChildProcess[] = [];
  const setup = { ca: ca.material, workloads, services };
  for (const pod of ['near', 'far']) started.push(await proxy({ ...setup, pod: uid(pod) }));
  const waypoint = await child('waypoint-process.ts', [], waypointFlags);
  started.push(waypoint);
  waypoint.send({ ...setup, ip: waypointIp, configs: [config(which, token)] });
  await ready(waypoint);
  return {
    async dial() {
      const socket = await dialled(connect({ host: nearIp, port: 15_001, noDelay: true }));
      socket.write(header(vip, 80));
      return socket;
    },
    cpuMicros: async () => (await usageOf([waypoint])).cpuMicros,
    async stop() {
      // The ends see its connections close before they are told to stop.
      waypoint.disconnect();
      await pause(500);
      for (const p of started) if (p !== waypoint) p.disconnect();
    },
  };
}

/** Everything but its CPU per request is also the generator's and the two ends'. */
async function peers(
  ca: CertificateAuthority,
  which: L7Case,
  token: Token,
): Promise<readonly (readonly [string, () => Promise<L7Peer>])[]> {
  const ends = { listen: between, to: tlsBack, files: await tlsFiles(ca) };
  const envoy = ['envoy', () => startEnvoy(ends, which, token)] as const;
  const haproxy = ['haproxy', () => startHaproxyHttp(ends, which)] as const;
  return [
    ...(envoyVersion() === undefined ? [] : [envoy]),
    ...(haproxyVersion() === undefined || which.secured ? [] : [haproxy]),
  ];
}

/** Runs the cases whose name contains `filter`. */
export async function waypointPath(filter: string, report: (r: Result) => void): Promise<void> {
  const ca = await createCa({ trustDomain: 'cluster.local', clock: systemClock });
  const token = makeToken();
  const server = await child('http-app.ts', [app.host, String(app.port)]);
  await ready(server);
  if (envoyVersion() === undefined)
    process.stderr.write('envoy is not installed: no ratios to it\n');
  try {
    for (const which of cases) {
      for (const method of ['get', 'post'] as const) {
        const name = `waypoint/${method}-${nameOf(which)}`;
        if (!name.includes(filter)) continue;
        const lines = which.secured ? [token.line] : [];
        const bytes = requestBytes(method === 'get' ? 'GET' : 'POST', '/', lines);
        const path = await ours(ca, which, token);
        try {
          await measure(name, path, bytes, report);
        } finally {
          await path.stop();
        }
        for (const [peerName, start] of await peers(ca, which, token)) {
          const peer = await start();
          const pair = await startTlsPair({ ca }, { between, app });
          try {
            const as = { dial: () => pair.dial(), cpuMicros: () => peer.cpuMicros() };
            await measure(name.replace('waypoint', peerName), as, bytes, report);
          } finally {
            pair.stop();
            peer.stop();
          }
        }
      }
    }
  } finally {
    server.disconnect();
  }
}
