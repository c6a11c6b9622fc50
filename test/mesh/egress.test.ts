// M18 M19: services outside the mesh through a waypoint: by address, block and name, with TLS of the waypoint's own and
// policies on methods (waypoint-l7.md 11). Real servers, real certificates.
import assert from 'node:assert/strict';
import http from 'node:http';
import https from 'node:https';
import type net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { parseCidr, parseIp } from '../../core/base/index.ts';
import {
  namespacedHost,
  type Service,
  type Workload,
  workloadUid,
} from '../../core/model/index.ts';
import { L7PolicyAction, L7PortProtocol } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { testService, testWorkload } from '../kit/mesh.ts';
import { cluster, startTestWaypoint, type TestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const outside = at(20);
const stops: (() => void)[] = [];
let w: TestWaypoint;
let root = '';
let plainPort = 0;

const listen = (server: http.Server | https.Server, ip = outside): Promise<number> =>
  new Promise((resolve) => {
    server.listen(0, ip, () => resolve((server.address() as net.AddressInfo).port));
    stops.push(() => {
      server.close();
      server.closeAllConnections();
    });
  });

/** An entry at `vip`:80 with one endpoint; bound to the waypoint. */
function entry(
  name: string,
  vip: string,
  port: number,
  more: { workload?: Partial<Workload>; service?: Partial<Service> } = {},
): void {
  const key = namespacedHost('shop', `${name}.shop.svc.cluster.local`);
  const { workload, service } = more;
  w.feed.apply({
    services: [{ ...testService(name, vip, 80, port), ...service }],
    workloads: workload
      ? [
          testWorkload(`${name}-0`, outside, {
            protocol: 'TCP',
            uid: workloadUid(`Kubernetes/networking.istio.io/ServiceEntry/shop/${name}/0`),
            services: new Map([[key, new Map([[80, port]])]]),
            ...workload,
          }),
        ]
      : [],
  });
}

const onlyGet: Draft<wire.L7AccessPolicy> = {
  key: 'shop/only-get',
  action: L7PolicyAction.ALLOW,
  rules: [{ to: [{ methods: { any: ['GET'] } }] }],
};
function told(name: string, tls?: Draft<wire.L7OutsideTls>): void {
  w.configure(name, {
    ports: [{ port: 80, protocol: L7PortProtocol.HTTP }],
    policies: [onlyGet],
    clusters: tls ? [cluster(name, { tls })] : [],
  });
}
async function ask(vip: string, method = 'GET'): Promise<string> {
  const request = `${method} / HTTP/1.1\r\nhost: api.example.com\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`;
  const text = await w.exchange(`${vip}:80`, request);
  const [, status = ''] = /^HTTP\/1\.1 (\d+)/.exec(text) ?? [];
  return `${status} ${text.split('\r\n\r\n')[1] ?? ''}`;
}

before(async () => {
  w = await startTestWaypoint(at(1));
  plainPort = await listen(http.createServer((req, res) => res.end(`plain ${req.headers.host}`)));
});
after(async () => {
  await w.stop();
  for (const stop of stops) stop();
});

describe('M18 M19 an external service', () => {
  test('M18 M19 by address; GET 200, POST 403', async () => {
    entry('static', at(101), plainPort, { workload: {} });
    told('static');
    assert.equal(await ask(at(101)), '200 plain api.example.com');
    assert.equal(await ask(at(101), 'POST'), '403 RBAC: access denied');
  });

  test('M18 M19 by name, resolved when it is dialled', async () => {
    const local = await listen(
      http.createServer((_, res) => res.end('by name')),
      '127.0.0.1',
    );
    entry('named', at(102), local, { workload: { addresses: [], hostname: 'localhost' } });
    told('named');
    assert.equal(await ask(at(102)), '200 by name');
  });

  test('M18 by block: to the address that was called', async () => {
    const cidr = parseCidr(`${outside}/32`);
    const ip = parseIp(outside);
    assert.ok(cidr && ip);
    const service: Partial<Service> = {
      vips: [],
      cidrVips: [{ network: '', cidr }],
      loadBalancing: { mode: 'Passthrough', preferences: [], healthPolicy: 'AllowAll' },
    };
    entry('block', outside, plainPort, { service });
    told('block');
    assert.equal(await ask(outside), '200 plain api.example.com');
  });
});

describe('M18 TLS origination', () => {
  let port = 0;
  let mutual = 0;
  let client = { certificates: '', privateKey: '' };
  before(async () => {
    const server = { dns: ['api.example.com'], ips: [], ttlSeconds: 3600 };
    const { chainPem, keyPem, rootPem } = await w.ca.signServer(server);
    root = rootPem;
    client = { certificates: chainPem, privateKey: keyPem };
    const answer: http.RequestListener = (req, res) => {
      const socket = req.socket as unknown as { servername?: string };
      res.end(`tls ${String(socket.servername)} ${req.headers.host}`);
    };
    port = await listen(https.createServer({ cert: chainPem, key: keyPem }, answer));
    const strict = { requestCert: true, rejectUnauthorized: false };
    mutual = await listen(
      https.createServer({ cert: chainPem, key: keyPem, ca: rootPem, ...strict }, (req, res) => {
        const peer = (
          req.socket as unknown as { getPeerCertificate(): { serialNumber?: string } }
        ).getPeerCertificate();
        res.end(peer.serialNumber === undefined ? 'nobody' : 'somebody');
      }),
    );
  });

  const rows: readonly (readonly [string, () => [number, Draft<wire.L7OutsideTls>], RegExp])[] = [
    [
      'SIMPLE, the name of the request',
      () => [port, { roots: root }],
      /^200 tls api\.example\.com api\.example\.com$/,
    ],
    ['SIMPLE with sni', () => [port, { roots: root, sni: 'api.example.com' }], /^200 tls api/],
    [
      'a name that the certificate has not',
      () => [port, { roots: root, sni: 'other.example.com' }],
      /^503 /,
    ],
    [
      'another name, but a subjectAltName that it has',
      () => [port, { roots: root, sni: 'other.example.com', subjectAltNames: ['api.example.com'] }],
      /^200 tls other/,
    ],
    [
      'a subjectAltName that it has not',
      () => [port, { roots: root, subjectAltNames: ['x.example.com'] }],
      /^503 /,
    ],
    ['roots that did not sign it', () => [port, {}], /^503 /],
    [
      'what was asked for and cannot be had: nothing is sent',
      () => [port, { roots: root, fault: 'no Secret' }],
      /^503 /,
    ],
    ['MUTUAL', () => [mutual, { roots: root, ...client }], /^200 somebody$/],
    [
      'SIMPLE at a server that wants a certificate',
      () => [mutual, { roots: root }],
      /^200 nobody$/,
    ],
  ];
  for (const [i, [name, make, wanted]] of rows.entries()) {
    test(`M18 ${name}`, async () => {
      const [to, tls] = make();
      entry(`tls${i}`, at(110 + i), to, { workload: {} });
      told(`tls${i}`, tls);
      assert.match(await ask(at(110 + i)), wanted);
    });
  }
});
