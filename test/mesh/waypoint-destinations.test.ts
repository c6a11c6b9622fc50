// M13 M14: what a DestinationRule and a VirtualService ask of the way to an application, seen at the application. The
// objects go through the control plane's translation, the requests through a real waypoint, the applications are pods with
// labels on sockets of their own (waypoint-l7.md 1.5, 5).
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import type { KubeObject } from '../../core/kube/index.ts';
import { namespacedHost } from '../../core/model/index.ts';
import { shopObject as object } from '../../istiod-lite/gateway/testkit.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { startMesh, type TestMesh, testService, testWorkload } from '../kit/mesh.ts';
import { configureFrom } from '../kit/objects.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const vip = at(101);
const pods = { 'web-v1': at(11), 'web-v2': at(12) } as const;
type Pod = keyof typeof pods;
const serverName = 'web.shop.svc.cluster.local';
/** Service port to where the application listens. */
const ports = { http: [80, 8080], tls: [443, 8443], mutual: [444, 8444] } as const;
const more = {
  proxy: [81, 8081],
  proxyTls: [445, 8445],
  tcp: [90, 8090],
  deaf: [82, 8082],
  quiet: [83, 8083],
} as const;
const all = { ...ports, ...more };
type Port = keyof typeof all;

interface Seen {
  readonly pod: Pod;
  readonly version: string;
  readonly headers: Readonly<Record<string, string>>;
  /** What came before the request: the PROXY header. */
  readonly before: string;
  readonly peer: string;
  /** Of the connection, at the waypoint. */
  readonly port: number | undefined;
}
const served = new Map([
  [
    namespacedHost('shop', serverName),
    new Map(Object.values(all).map(([port, target]) => [port, target])),
  ],
]);
const stops: (() => void)[] = [];
let w: TestWaypoint;
let secrets: KubeObject[] = [];

const base: readonly KubeObject[] = [
  object('Service', 'web', {
    spec: {
      clusterIP: vip,
      ports: Object.entries(all).map(([name, [port, targetPort]]) => ({
        name,
        port,
        targetPort,
        appProtocol: name === 'tcp' || name === 'quiet' ? 'tcp' : 'http',
      })),
    },
  }),
  ...Object.keys(pods).map((name) =>
    object(
      'Pod',
      name,
      { spec: {}, status: {} },
      { labels: { app: 'web', version: name.slice(4) } },
    ),
  ),
];
const rule = (trafficPolicy: object | undefined, subsets: readonly object[] = []): KubeObject =>
  object('DestinationRule', 'web', {
    spec: { host: 'web', ...(trafficPolicy && { trafficPolicy }), subsets },
  });
const onPort = (port: Port, policy: object): KubeObject =>
  rule({ portLevelSettings: [{ port: { number: all[port][0] }, ...policy }] });
const virtual = (httpRules: readonly object[]): KubeObject =>
  object('VirtualService', 'web', { spec: { hosts: ['web'], http: httpRules } });
const to = (subset: string, rest: object = {}): object => ({
  destination: { host: 'web', subset, port: { number: 80 } },
  ...rest,
});
const subset = (name: string, trafficPolicy?: object): object => ({
  name,
  labels: { version: name },
  ...(trafficPolicy && { trafficPolicy }),
});

/** The waypoint knows these objects and no others. */
function configure(...objects: readonly KubeObject[]): void {
  configureFrom(w, [...base, ...secrets, ...objects]);
}

async function ask(port: Port = 'http', lines = ''): Promise<{ status: number; seen: Seen }> {
  const text = await w.exchange(
    `${vip}:${all[port][0]}`,
    `GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n${lines}\r\n`,
  );
  const json = /\{.*\}/s.exec(text)?.[0];
  return {
    status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]),
    seen: (json === undefined ? {} : JSON.parse(json)) as Seen,
  };
}

/** Reads the PROXY header and gives the rest of the connection to `next`. */
function afterHeader(next: (socket: net.Socket, header: string) => void): net.Server {
  return net.createServer((socket) => {
    socket.on('error', () => {});
    let bytes = Buffer.alloc(0);
    const look = (): void => {
      bytes = Buffer.concat([bytes, (socket.read() as Buffer | null) ?? Buffer.alloc(0)]);
      const v1 = bytes.subarray(0, 5).toString() === 'PROXY';
      const size = v1
        ? bytes.indexOf('\r\n') + 2
        : bytes.length < 16
          ? 0
          : 16 + bytes.readUInt16BE(14);
      if (size < 3 || bytes.length < size) return;
      socket.off('readable', look);
      const header = bytes.subarray(0, size);
      socket.unshift(bytes.subarray(size));
      next(socket, v1 ? header.toString().trim() : header.toString('hex'));
    };
    socket.on('readable', look);
  });
}

const silent = (): net.Server =>
  net.createServer((socket) => void socket.on('error', () => {}).resume());

async function startPod(pod: Pod, pair: { cert: string; key: string }, ca: string): Promise<void> {
  const headers = new WeakMap<object, string>();
  const waiting: (() => void)[] = [];
  const told: http.RequestListener = (req, res) => {
    const socket = req.socket as Partial<tls.TLSSocket>;
    const serial = socket.getPeerCertificate?.().serialNumber;
    const seen: Seen = {
      pod,
      version: req.httpVersion,
      headers: req.headers as Record<string, string>,
      before: headers.get(req.socket) ?? '',
      peer: serial === undefined ? 'nobody' : 'somebody',
      port: socket.remotePort,
    };
    const wanted = Number(req.headers['x-together'] ?? 1);
    waiting.push(() => res.end(JSON.stringify(seen)));
    if (waiting.length >= wanted) for (const answer of waiting.splice(0)) answer();
  };
  const plain = http.createServer(told);
  const behind = https.createServer(pair, told);
  behind.on('secureConnection', (socket) => {
    const header = headers.get((socket as unknown as { _parent: object })._parent);
    if (header !== undefined) headers.set(socket, header);
  });
  const servers: readonly (readonly [Port, net.Server])[] = [
    // The second version speaks HTTP/2 alone, without TLS.
    ['http', pod === 'web-v2' ? http2.createServer(told as never) : plain],
    ['tls', https.createServer(pair, told)],
    [
      'mutual',
      https.createServer({ ...pair, ca, requestCert: true, rejectUnauthorized: false }, told),
    ],
    [
      'proxy',
      afterHeader((socket, header) => {
        headers.set(socket, header);
        plain.emit('connection', socket);
      }),
    ],
    [
      'proxyTls',
      afterHeader((socket, header) => {
        headers.set(socket, header);
        behind.emit('connection', socket);
      }),
    ],
    ['tcp', afterHeader((socket, header) => socket.end(header))],
    // Takes anything and never answers, PING neither.
    ['deaf', silent()],
    ['quiet', silent()],
  ];
  for (const [name, server] of servers) {
    server.on('connection', (socket: net.Socket) => {
      stops.push(() => socket.destroy());
    });
    await new Promise<void>((resolve) => server.listen(all[name][1], pods[pod], resolve));
    stops.push(() => void server.close());
  }
}

before(async () => {
  w = await startTestWaypoint(at(1));
  const made = await w.ca.signServer({ dns: [serverName], ips: [], ttlSeconds: 3600 });
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  const pair = { 'tls.crt': base64(made.chainPem), 'tls.key': base64(made.keyPem) };
  const data = { ...pair, 'ca.crt': base64(made.rootPem) };
  secrets = [object('Secret', 'web-tls', { type: 'kubernetes.io/tls', data })];
  for (const pod of Object.keys(pods) as Pod[]) {
    await startPod(pod, { cert: made.chainPem, key: made.keyPem }, made.rootPem);
  }
  w.feed.apply({
    services: [
      {
        ...testService('web', vip, 80, 8080),
        ports: Object.values(all).map(([servicePort, targetPort]) => ({
          servicePort,
          targetPort,
          appProtocol: 'UNKNOWN' as const,
        })),
      },
    ],
    workloads: Object.entries(pods).map(([name, ip]) =>
      testWorkload(name, ip, {
        protocol: 'TCP',
        services: served,
      }),
    ),
  });
});
after(async () => {
  await w.stop();
  for (const stop of stops) stop();
});

const simpleTls = { tls: { mode: 'SIMPLE', credentialName: 'web-tls', sni: serverName } };

describe('M13 destination settings', () => {
  test('M13 TLS, on that port alone', async () => {
    configure(
      rule({ portLevelSettings: [{ port: { number: 443 }, ...simpleTls }] }, [subset('v1')]),
      virtual([
        { match: [{ port: 80 }], route: [to('v1')] },
        { route: [{ destination: { host: 'web' } }] },
      ]),
    );
    const secured = await ask('tls');
    assert.deepEqual([secured.status, secured.seen.peer], [200, 'nobody']);
    assert.equal((await ask('http')).status, 200, 'in plaintext, by the same rule');
    assert.equal((await ask('mutual')).status, 503, 'no TLS where none is asked for');
  });

  test('M13 mutual TLS, with the certificate of a Secret', async () => {
    configure(onPort('mutual', simpleTls));
    assert.equal((await ask('mutual')).seen.peer, 'nobody', 'with SIMPLE');
    configure(onPort('mutual', { tls: { ...simpleTls.tls, mode: 'MUTUAL' } }));
    const { status, seen } = await ask('mutual');
    assert.deepEqual([status, seen.peer], [200, 'somebody']);
  });

  test('M13 HTTP/2 for one subset', async () => {
    const upgrade = { connectionPool: { http: { h2UpgradePolicy: 'UPGRADE' } } };
    configure(
      rule(undefined, [subset('v1'), subset('v2', upgrade)]),
      virtual([
        { match: [{ headers: { to: { exact: 'v2' } } }], route: [to('v2')] },
        { route: [to('v1')] },
      ]),
    );
    for (const [version, spoken] of [
      ['v1', '1.1'],
      ['v2', '2.0'],
    ] as const) {
      const { status, seen } = await ask('http', `to: ${version}\r\n`);
      assert.deepEqual([status, seen.pod, seen.version], [200, `web-${version}`, spoken]);
    }
  });

  const ends = (header: string): string[] => {
    if (header.startsWith('PROXY')) return header.split(' ').slice(1, 6);
    const bytes = Buffer.from(header, 'hex');
    const ip = (from: number): string => [...bytes.subarray(from, from + 4)].join('.');
    const port = (from: number): string => `${bytes.readUInt16BE(from)}`;
    assert.equal(bytes.readUInt16BE(12), 0x2111, 'version 2, PROXY, TCP over IPv4');
    return ['TCP4', ip(16), ip(20), port(24), port(26)];
  };
  for (const version of ['V1', 'V2'] as const) {
    const check = (header: string, port: Port): void => {
      assert.equal(header.startsWith('PROXY'), version === 'V1');
      const [family, source, target, from, toPort] = ends(header);
      assert.deepEqual([family, target, toPort], ['TCP4', vip, `${all[port][0]}`]);
      assert.ok(net.isIPv4(source ?? '') && Number(from) > 0, header);
    };
    test(`M13 PROXY header ${version}`, async () => {
      configure(onPort('proxy', { proxyProtocol: { version } }));
      const { status, seen } = await ask('proxy');
      assert.equal(status, 200);
      check(seen.before, 'proxy');
    });
    test(`M13 PROXY header ${version} with TLS, before it`, async () => {
      configure(onPort('proxyTls', { proxyProtocol: { version }, ...simpleTls }));
      const { status, seen } = await ask('proxyTls');
      assert.equal(status, 200);
      check(seen.before, 'proxyTls');
    });
    test(`M13 PROXY header ${version} of an opaque connection`, async () => {
      configure(onPort('tcp', { proxyProtocol: { version } }));
      check(await w.exchange(`${vip}:${all.tcp[0]}`, ''), 'tcp');
    });
  }
});

describe('M13 in the tunnel of a captured pod', () => {
  let mesh: TestMesh;
  const server = testWorkload('web-v1', pods['web-v1'], { protocol: 'TCP', services: served });
  const captured = (protocol: 'HBONE' | 'TCP') =>
    w.feed.apply({ workloads: [{ ...server, protocol }] });
  before(async () => {
    mesh = await startMesh({ ca: w.ca });
    await mesh.enrol({ ...server, protocol: 'HBONE' });
    captured('HBONE');
  });
  after(async () => {
    captured('TCP');
    await mesh.stop();
  });
  const rows: readonly (readonly [string, Port, object])[] = [
    ['TLS', 'tls', simpleTls],
    ['PROXY header', 'proxy', { proxyProtocol: { version: 'V2' } }],
    ['PROXY header with TLS', 'proxyTls', { proxyProtocol: {}, ...simpleTls }],
  ];
  for (const [name, port, policy] of rows) {
    test(`M13 ${name}`, async () => {
      configure(
        rule({ portLevelSettings: [{ port: { number: all[port][0] }, ...policy }] }, [
          subset('v1', policy),
        ]),
        virtual([{ route: [{ destination: { host: 'web', subset: 'v1' } }] }]),
      );
      const { status, seen } = await ask(port);
      assert.deepEqual([status, seen.pod], [200, 'web-v1']);
      assert.equal(seen.before === '', port === 'tls');
      const { body } = await mesh.get('/ambient/connections?live');
      assert.match(body, new RegExp(`:${all[port][1]}`), 'through the node proxy');
    });
  }
});

describe('M14 routes to a subset', () => {
  const both = rule(undefined, [
    subset('v1'),
    subset('v2', { connectionPool: { http: { h2UpgradePolicy: 'UPGRADE' } } }),
  ]);
  test('M14 a header is added, at the rule and at the destination', async () => {
    const headers = (name: string): object => ({
      headers: { request: { add: { [name]: 'yes' } } },
    });
    configure(both, virtual([{ ...headers('x-rule'), route: [to('v1', headers('x-to'))] }]));
    const { seen } = await ask();
    assert.deepEqual([seen.headers['x-rule'], seen.headers['x-to']], ['yes', 'yes']);
  });

  test('M14 the subset is chosen, every time', async () => {
    configure(both, virtual([{ route: [to('v2')] }]));
    for (let i = 0; i < 6; i++) assert.equal((await ask()).seen.pod, 'web-v2');
  });

  test('M14 by header to one, all others split', async () => {
    configure(
      both,
      virtual([
        { match: [{ headers: { 'end-user': { exact: 'anna' } } }], route: [to('v2')] },
        { route: [to('v1', { weight: 50 }), to('v2', { weight: 50 })] },
      ]),
    );
    const seen = new Set<string>();
    for (let i = 0; i < 8; i++) {
      assert.equal((await ask('http', 'end-user: anna\r\n')).seen.pod, 'web-v2');
    }
    for (let i = 0; i < 40; i++) seen.add((await ask()).seen.pod);
    assert.deepEqual([...seen].toSorted(), ['web-v1', 'web-v2']);
  });

  test('M14 the same by a delegate', async () => {
    const match = [{ headers: { 'end-user': { exact: 'anna' } } }];
    const delegate = object('VirtualService', 'team', {
      spec: { http: [{ match, route: [to('v2')] }, { route: [to('v1')] }] },
    });
    configure(both, virtual([{ delegate: { name: 'team' } }]), delegate);
    assert.equal((await ask('http', 'end-user: anna\r\n')).seen.pod, 'web-v2');
    assert.equal((await ask()).seen.pod, 'web-v1');
    configure(both, virtual([{ delegate: { name: 'nobody' } }, { route: [to('v1')] }]));
    assert.equal((await ask()).status, 500);
  });

  test('M14 a subset that is not defined: 503', async () => {
    configure(both, virtual([{ route: [to('v9')] }]));
    assert.equal((await ask()).status, 503);
  });
});

describe('connections that are watched', () => {
  test('http2KeepAlive: an application that answers no PING is given up', async () => {
    const http = {
      h2UpgradePolicy: 'UPGRADE',
      http2KeepAlive: { interval: '10ms', timeout: '10ms' },
    };
    configure(onPort('deaf', { connectionPool: { http } }));
    assert.equal((await ask('deaf')).status, 503);
  });

  test('maxConcurrentStreams: more connections instead', async () => {
    const http = { h2UpgradePolicy: 'UPGRADE', maxConcurrentStreams: 1 };
    configure(
      rule({ connectionPool: { http } }, [subset('v2')]),
      virtual([{ match: [{ port: 80 }], route: [to('v2')] }]),
    );
    const answers = await Promise.all([1, 2, 3].map(() => ask('http', 'x-together: 3\r\n')));
    assert.equal(new Set(answers.map((a) => a.seen.port)).size, 3);
  });

  test('tcpKeepalive: the kernel waits no longer than asked', async () => {
    const tcpKeepalive = { time: '7s', interval: '3s', probes: 2 };
    configure(onPort('quiet', { connectionPool: { tcp: { tcpKeepalive } } }));
    const stream = await w.connect(`${vip}:${all.quiet[0]}`);
    const hex = (n: number, digits: number): string =>
      n.toString(16).toUpperCase().padStart(digits, '0');
    const peers = Object.values(pods).map((ip) => {
      const bytes = ip.split('.').toReversed();
      return `${bytes.map((b) => hex(Number(b), 2)).join('')}:${hex(all.quiet[1], 4)}`;
    });
    /** Hundredths of a second until the kernel asks; by default it would be 180 s. */
    const waits = (): number[] =>
      readFileSync('/proc/net/tcp', 'utf8')
        .split('\n')
        .map((line) => line.trim().split(/\s+/))
        .filter((f) => peers.includes(f[2] ?? '') && f[5]?.startsWith('02:'))
        .map((f) => Number.parseInt(f[5]?.slice(3) ?? '', 16));
    await eventually(() => waits().length > 0, 'the connection');
    assert.ok(
      waits().every((t) => t <= 700),
      waits().join(),
    );
    stream.destroy();
  });

  for (const tcp of [{ idleTimeout: '20ms' }, { maxConnectionDuration: '20ms' }]) {
    test(`an opaque connection ends: ${Object.keys(tcp).join()}`, async () => {
      configure(onPort('quiet', { connectionPool: { tcp } }));
      const stream = await w.connect(`${vip}:${all.quiet[0]}`);
      await once(stream.resume(), 'close');
      if (tcp.maxConnectionDuration === undefined) return;
      await eventually(() => /"?flags"?[=:]"?DT/.test(w.lines.join('\n')), 'the line');
    });
  }
});
