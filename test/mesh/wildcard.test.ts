// M18 Wildcard hosts (ServiceEntry, DYNAMIC_DNS) from the object to the server: addresses given by the control plane, names
// answered as a node proxy does, requests through a waypoint that resolves each name at a real name server
// (waypoint-l7.md 1.4, 11).
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import http from 'node:http';
import https from 'node:https';
import type net from 'node:net';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { type IpAddress, parseIp } from '../../core/base/index.ts';
import {
  addressRecord,
  rcodes,
  readQuery,
  recordTypes,
  serveUdp,
  writeAnswer,
} from '../../core/dns/index.ts';
import type { KubeObject } from '../../core/kube/index.ts';
import { planEntryStatuses, Translator } from '../../istiod-lite/translate/index.ts';
import { nothingTouched } from '../../istiod-lite/cluster/index.ts';
import { serviceConfigs, type World } from '../../istiod-lite/gateway/index.ts';
import {
  testSettings as settings,
  shopObject as object,
  waypointObjects,
  worldOf,
} from '../../istiod-lite/gateway/testkit.ts';
import { withWaypoints } from '../../istiod-lite/gateway/references.ts';
import { planDns } from '../../ztunnel/dns/plan.ts';
import { claimBlock } from '../kit/addresses.ts';
import { eventually } from '../kit/eventually.ts';
import { callFrom } from '../kit/apps.ts';
import { backs, startMesh, testService, testWorkload } from '../kit/mesh.ts';
import { startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const ip = (text: string): IpAddress => parseIp(text) ?? assert.fail(text);
const hexByte = (n: string): string => Number(n).toString(16).padStart(2, '0');
const [podAddress, serviceAddress, forbidden] = [at(30), at(31), at(32)];
const stops: (() => void)[] = [];
let w: TestWaypoint;
let vip = '';
/** Names that were asked for. */
const asked: string[] = [];
/** Servers that were reached. */
const reached: string[] = [];

const records: Record<string, readonly string[]> = {
  a: [at(20)],
  b: [at(21)],
  secure: [at(22)],
  api: [at(20)],
  'x.y': [at(21)],
  forbidden: [forbidden],
  metadata: ['169.254.169.254'],
  translated: ['64:ff9b::a9fe:a9fe'],
  pod: [podAddress],
  'translated-pod': [
    `64:ff9b::${podAddress.split('.').map(hexByte).join('').replace(/^.{4}/, '$&:')}`,
  ],
  service: [serviceAddress],
  mixed: [forbidden, '169.254.0.1', at(20)],
  second: [at(33), at(21)],
};

async function nameServer(): Promise<string> {
  const socket = createSocket('udp4');
  serveUdp(socket, async (message) => {
    const read = readQuery(message);
    if (read.kind !== 'query') return undefined;
    const { query } = read;
    if (query.type === recordTypes.A) asked.push(query.name);
    const all = records[query.name.replace(/\.wild\.example\.com$/, '')];
    const six = query.type === recordTypes.AAAA;
    const answers = (all ?? [])
      .filter((a) => a.includes(':') === six)
      .map((a) => addressRecord(query.name, 60, ip(a)));
    const rcode = all ? rcodes.NOERROR : rcodes.NXDOMAIN;
    const more = { authoritative: true, recursion: true, additional: [] };
    return writeAnswer(query, { rcode, answers, ...more }, 512);
  });
  await new Promise<void>((resolve) => socket.bind(0, at(10), resolve));
  stops.push(() => void socket.close());
  return `${at(10)}:${socket.address().port}`;
}

const listen = (server: net.Server, address: string, port = 0): Promise<number> =>
  new Promise((resolve) => {
    server.listen(port, address, () => resolve((server.address() as net.AddressInfo).port));
    stops.push(() => {
      server.close();
      if (server instanceof http.Server || server instanceof https.Server)
        server.closeAllConnections();
    });
  });
const app = (name: string) =>
  http.createServer((req, res) => {
    reached.push(name);
    res.end(`${name} ${req.headers.host}`);
  });

const bound = { labels: { 'istio.io/use-waypoint': 'waypoint' } };
const entry = (targetPort: number, tlsPort: number, labels: object = bound): KubeObject =>
  object(
    'ServiceEntry',
    'wild',
    {
      spec: {
        hosts: ['*.wild.example.com'],
        location: 'MESH_EXTERNAL',
        resolution: 'DYNAMIC_DNS',
        ports: [
          { number: 80, name: 'http', protocol: 'HTTP', targetPort },
          { number: 8443, name: 'origin', protocol: 'HTTP', targetPort: tlsPort },
          { number: 443, name: 'tls', protocol: 'TLS', targetPort: tlsPort },
          { number: 25, name: 'smtp', protocol: 'TCP' },
        ],
      },
    },
    labels,
  );
const gateway = waypointObjects('waypoint');

/** The world after the control plane has given addresses. */
function settled(objects: readonly KubeObject[], wildcardTls: boolean): World {
  const m = { ...settings, wildcardTls };
  const first = worldOf(m, objects);
  const plans = planEntryStatuses(first.cluster, 0, m);
  const written = objects.map((o) => {
    const plan = plans.find((p) => o.kind === 'ServiceEntry' && p.name === o.metadata.name);
    return plan?.addresses ? { ...o, status: { addresses: plan.addresses } } : o;
  });
  return worldOf(m, written);
}
function translated(world: World) {
  const touched = { ...nothingTouched(), entries: true };
  return withWaypoints(world, new Translator(world.settings).translate(world.cluster, touched));
}
/** The waypoint is told everything. */
function tell(objects: readonly KubeObject[], wildcardTls = true): void {
  const world = settled([...gateway, ...objects], wildcardTls);
  w.feed.apply(translated(world));
  for (const c of serviceConfigs(world)) w.configure('wild', c.config, c.name);
}

async function ask(host: string, more: { port?: number; method?: string } = {}): Promise<string> {
  const { port = 80, method = 'GET' } = more;
  const request = `${method} / HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`;
  const text = await w.exchange(`${vip}:${port}`, request);
  const [, status = ''] = /^HTTP\/1\.1 (\d+)/.exec(text) ?? [];
  return `${status} ${text.split('\r\n\r\n')[1] ?? ''}`.trim();
}

let objects: KubeObject[] = [];
let root = '';
before(async () => {
  const plain = await listen(app('one'), at(20));
  await listen(app('two'), at(21), plain);
  for (const address of [forbidden, podAddress, serviceAddress])
    await listen(app('inside'), address, plain);
  w = await startTestWaypoint(at(1), {
    DYNAMIC_DNS_SERVERS: await nameServer(),
    DYNAMIC_DNS_BLOCKED_ADDRESSES: `169.254.0.0/16,${forbidden}`,
  });
  const names = ['secure.wild.example.com'];
  const made = await w.ca.signServer({ dns: names, ips: [], ttlSeconds: 3600 });
  root = made.rootPem;
  const secure = https.createServer({ cert: made.chainPem, key: made.keyPem }, (req, res) => {
    const { servername } = req.socket as tls.TLSSocket & { servername?: string | false };
    res.end(`tls ${String(servername)} ${req.headers.host}`);
  });
  const tlsPort = await listen(secure, at(22));
  const base64 = (t: string): string => Buffer.from(t).toString('base64');
  objects = [
    entry(plain, tlsPort),
    object('ServiceEntry', 'api', {
      spec: {
        hosts: ['api.wild.example.com'],
        resolution: 'DNS',
        ports: [{ number: 80, name: 'http', protocol: 'HTTP' }],
      },
    }),
    object('Secret', 'roots', {
      type: 'kubernetes.io/tls',
      data: { 'ca.crt': base64(root), 'tls.crt': base64('x'), 'tls.key': base64('x') },
    }),
    object('DestinationRule', 'd', {
      spec: {
        host: '*.wild.example.com',
        trafficPolicy: {
          portLevelSettings: [
            { port: { number: 8443 }, tls: { mode: 'SIMPLE', credentialName: 'roots' } },
          ],
        },
      },
    }),
  ];
  w.feed.apply({
    services: [testService('inner', serviceAddress, 80, plain)],
    workloads: [testWorkload('inner-0', podAddress, { protocol: 'TCP', node: 'n1' })],
  });
  tell(objects);
  const found = planDns('a.wild.example.com', recordTypes.A, {
    mesh: w.feed.view,
    client: { namespace: 'shop', network: '' },
    clusterDomain: 'cluster.local',
    preferredNamespace: '',
    ipv6: true,
    shuffle: (all) => all,
  });
  assert.ok(found.do === 'answer' && found.answers[0]?.data.type === 'A');
  vip = found.answers[0].data.ip;
});
after(async () => {
  await w.stop();
  for (const stop of stops) stop();
});

describe('M18 HTTP to a wildcard host', () => {
  test('any name under it has the address that was given to the host', () =>
    assert.match(vip, /^240\.240\./));

  const rows: readonly (readonly [string, string])[] = [
    ['a.wild.example.com', '200 one a.wild.example.com'],
    ['b.wild.example.com', '200 two b.wild.example.com'],
    ['A.Wild.Example.com:80', '200 one A.Wild.Example.com:80'],
    ['x.y.wild.example.com', '200 two x.y.wild.example.com'],
    ['mixed.wild.example.com', '200 one mixed.wild.example.com'],
    ['second.wild.example.com', '200 two second.wild.example.com'],
    ['wild.example.com', '404'],
    ['elsewhere.example.org', '404'],
    ['evilwild.example.com', '404'],
    ['127.0.0.1', '404'],
    ['[::1]', '404'],
    ['api.wild.example.com', '404'],
    [`${'a.'.repeat(130)}wild.example.com`, '404'],
  ];
  for (const [host, wanted] of rows) {
    test(`M18 ${host.slice(0, 40)}: ${wanted}`, async () => assert.equal(await ask(host), wanted));
  }

  test('M18 what is not one of its names is never looked up', () =>
    assert.ok(asked.every((n) => n.endsWith('.wild.example.com') && !n.startsWith('api.'))));

  test('M18 two names on one connection go to two servers, and a kept connection to its own name alone', async () => {
    const lines = (host: string): string =>
      `GET / HTTP/1.1\r\nhost: ${host}.wild.example.com\r\n\r\n`;
    const text = await w.exchange(
      `${vip}:80`,
      `${lines('a')}${lines('b')}${lines('a')}`,
      (t) =>
        (t.match(/HTTP\/1\.1 200/g) ?? []).length === 3 && t.endsWith('one a.wild.example.com'),
    );
    assert.deepEqual(text.match(/(one|two) [ab]\./g), ['one a.', 'two b.', 'one a.']);
  });

  const inside = ['forbidden', 'metadata', 'translated', 'pod', 'translated-pod', 'service'];
  const refused = async (): Promise<number> => {
    const text = (await w.metrics.render(undefined)).body;
    const [, n = '0'] = /reason="NAME_NOT_ALLOWED"[^}]*\} (\d+)/.exec(text) ?? [];
    return Number(n);
  };
  for (const name of inside) {
    test(`M18 ${name}: resolves to what may not be called`, async () => {
      reached.length = 0;
      const before = await refused();
      assert.match(await ask(`${name}.wild.example.com`), /^503 /);
      await eventually(async () => (await refused()) === before + 1, 'the reason is counted');
      const { body } = await w.metrics.render(undefined);
      assert.doesNotMatch(body, /ambient_waypoint_retries_total\{[^}]*\} [1-9]/, 'nor tried again');
      assert.deepEqual(reached, []);
    });
  }
  test('M18 a name that does not exist: 503', async () =>
    assert.match(await ask('nowhere.wild.example.com'), /^503 /));

  test('M18 TLS of the waypoint’s own: by the name of the request, checked against it', async () => {
    const host = 'secure.wild.example.com';
    assert.equal(await ask(host, { port: 8443 }), `200 tls ${host} ${host}`);
  });
});

test('M18 a pod that calls a name goes by its node proxy to the waypoint, and from there to the server', async () => {
  const mesh = await startMesh({ ca: w.ca });
  try {
    mesh.apply(translated(settled([...gateway, ...objects], true)));
    const waypoint = testWorkload('waypoint-1', at(1), {
      serviceAccount: 'waypoint',
      node: 'n2',
      nativeTunnel: true,
      services: backs('waypoint'),
    });
    const service = testService('waypoint', at(99), 15008, 15008);
    mesh.apply({ services: [service], workloads: [waypoint] });
    await mesh.enrol(testWorkload('client', at(2)));
    const call = await callFrom(at(2), vip, 80);
    call.socket.write('GET / HTTP/1.1\r\nhost: a.wild.example.com\r\nconnection: close\r\n\r\n');
    await call.ended;
    assert.match(call.text(), /one a\.wild\.example\.com$/);
  } finally {
    await mesh.stop();
  }
});

describe('M18 TLS to a wildcard host', () => {
  async function shake(servername: string): Promise<string> {
    const stream = await w.connect(`${vip}:443`);
    const socket = tls.connect({ socket: stream, ca: root, ...(servername && { servername }) });
    return new Promise((resolve) => {
      socket.once('secureConnect', () => resolve('through'));
      socket.once('error', () => resolve('closed'));
      socket.once('close', () => resolve('closed'));
    }).then((said) => {
      socket.destroy();
      return said as string;
    });
  }
  for (const [name, wanted] of [
    ['secure.wild.example.com', 'through'],
    ['elsewhere.example.org', 'closed'],
    ['metadata.wild.example.com', 'closed'],
    ['', 'closed'],
  ] as const) {
    test(`M18 by server name ${name || '(none)'}: ${wanted}`, async () =>
      assert.equal(await shake(name), wanted));
  }

  test('M18 not without the control plane’s consent, and other protocols never', async () => {
    await assert.rejects(w.connect(`${vip}:25`), /WAYPOINT_NOT_BOUND/);
    tell(objects, false);
    await assert.rejects(w.connect(`${vip}:443`), /WAYPOINT_NOT_BOUND/);
    assert.equal(await ask('a.wild.example.com'), '200 one a.wild.example.com');
  });
});

test('M18 an entry that asks for no waypoint does not apply: its names stay what they were', () => {
  const [first] = objects;
  const world = settled(
    [...gateway, { ...first, metadata: { ...first?.metadata, labels: {} } } as KubeObject],
    true,
  );
  assert.deepEqual(
    translated(world).services.filter((s) => s.hostname.startsWith('*')),
    [],
  );
});
