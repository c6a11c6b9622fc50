import assert from 'node:assert/strict';
import test from 'node:test';
import { seededRandom } from '../../core/base/index.ts';
import {
  type CaptureView,
  type ConnectAction,
  decideBind,
  decideConnect,
  isHostsPath,
  isNameServiceSocket,
  type PodView,
} from './decide.ts';

const pod = (n: number, outbound: boolean, inbound: boolean): PodView => ({
  uid: `u${n}`,
  ip: `127.64.0.${n}`,
  outbound,
  inbound,
  hosts: '/x',
});
const plain = pod(20, false, false);
const meshed = pod(21, true, true);
const half = pod(22, false, true); // told to ztunnel, its own traffic not captured yet
const other = pod(23, false, false);
const view: CaptureView = {
  block: 64,
  pods: new Map([plain, meshed, half, other].map((p) => [p.ip, p])),
  outside: new Set(['240.240.0.1']),
  services: new Map([
    ['127.64.128.1:80', [{ ip: other.ip, port: 8080 }]],
    ['127.64.128.2:80', [{ ip: meshed.ip, port: 8080 }]],
    ['127.64.128.3:80', []],
  ]),
};
const noPorts = new Set<number>();
const direct = (ip: string, port: number, from: string): ConnectAction => ({
  do: 'dial',
  to: { ip, port },
  from,
});

const table: readonly [string, PodView, string, number, ConnectAction][] = [
  ['outside the block', plain, '10.0.0.1', 80, { do: 'pass' }],
  ['a ServiceEntry, not in the mesh', plain, '240.240.0.1', 80, { do: 'pass' }],
  [
    'a ServiceEntry, from the mesh',
    meshed,
    '240.240.0.1',
    80,
    {
      do: 'dial',
      to: { ip: meshed.ip, port: 15001 },
      from: meshed.ip,
      announce: { ip: '240.240.0.1', port: 80 },
    },
  ],
  ['another sandbox', meshed, '127.65.0.20', 80, { do: 'pass' }],
  ['127.0.0.x', meshed, '127.0.0.1', 80, { do: 'pass' }],
  ['pod to pod', plain, other.ip, 80, direct(other.ip, 80, plain.ip)],
  ['to oneself', meshed, meshed.ip, 80, direct(meshed.ip, 80, meshed.ip)],
  ['service', plain, '127.64.128.1', 80, direct(other.ip, 8080, plain.ip)],
  ['no endpoint', plain, '127.64.128.3', 80, { do: 'refuse', why: 'no-endpoint' }],
  ['unknown port', plain, '127.64.128.1', 81, { do: 'refuse', why: 'no-endpoint' }],
  ['unknown service', plain, '127.64.128.9', 80, { do: 'refuse', why: 'no-endpoint' }],
  ['API server', plain, '127.64.0.1', 6443, direct('127.64.0.1', 6443, plain.ip)],
  [
    'into the mesh, by pod',
    plain,
    meshed.ip,
    8080,
    {
      do: 'dial',
      to: { ip: meshed.ip, port: 15006 },
      from: plain.ip,
      announce: { ip: meshed.ip, port: 8080 },
    },
  ],
  [
    'into the mesh, by service',
    plain,
    '127.64.128.2',
    80,
    {
      do: 'dial',
      to: { ip: meshed.ip, port: 15006 },
      from: plain.ip,
      announce: { ip: meshed.ip, port: 8080 },
    },
  ],
  ['HBONE is not captured', plain, meshed.ip, 15008, direct(meshed.ip, 15008, plain.ip)],
  [
    'out of the mesh pod, by service',
    meshed,
    '127.64.128.1',
    80,
    {
      do: 'dial',
      to: { ip: meshed.ip, port: 15001 },
      from: meshed.ip,
      announce: { ip: '127.64.128.1', port: 80 },
    },
  ],
  [
    'out of the mesh pod, by pod',
    meshed,
    other.ip,
    80,
    {
      do: 'dial',
      to: { ip: meshed.ip, port: 15001 },
      from: meshed.ip,
      announce: { ip: other.ip, port: 80 },
    },
  ],
  ['told, but not captured', half, other.ip, 80, direct(other.ip, 80, half.ip)],
  ['15001 of another', plain, meshed.ip, 15001, { do: 'refuse', why: 'tunnel-port' }],
  ['15006 of another', meshed, half.ip, 15006, { do: 'refuse', why: 'tunnel-port' }],
  ['15001 of oneself', meshed, meshed.ip, 15001, { do: 'refuse', why: 'tunnel-port' }],
];

for (const [name, from, ip, port, expected] of table) {
  test(`connect: ${name}`, () => {
    assert.deepEqual(decideConnect({ ip, port }, from, view, noPorts, seededRandom(1)), expected);
  });
}

test('localhost reaches what the pod bound on "any"', () => {
  const ports = new Set([9080]);
  const own: ConnectAction = { do: 'dial', to: { ip: meshed.ip, port: 9080 } };
  for (const ip of ['127.0.0.1', '0.0.0.0']) {
    assert.deepEqual(decideConnect({ ip, port: 9080 }, meshed, view, ports, seededRandom(1)), own);
  }
  const pass = decideConnect({ ip: '127.0.0.1', port: 1 }, meshed, view, ports, seededRandom(1));
  assert.deepEqual(pass, { do: 'pass' });
});

test('a service spreads over all its ready endpoints', () => {
  const endpoints = [20, 22, 23].map((n) => ({ ip: `127.64.0.${n}`, port: 1 }));
  const wide = { ...view, services: new Map([['127.64.128.7:80', endpoints]]) };
  const random = seededRandom(5);
  const seen = new Set<string>();
  for (let i = 0; i < 50; i++) {
    const action = decideConnect({ ip: '127.64.128.7', port: 80 }, plain, wide, noPorts, random);
    if (action.do === 'dial') seen.add(action.announce?.ip ?? action.to.ip);
  }
  assert.equal(seen.size, 3);
});

test('bind: any becomes the own address, another pod has another address', () => {
  const bind = (ip: string, any = false): unknown => decideBind({ ip, any }, plain, 64);
  assert.deepEqual(bind('0.0.0.0', true), { do: 'own', ip: plain.ip });
  assert.deepEqual(bind(plain.ip), { do: 'pass' });
  assert.deepEqual(bind(other.ip), { do: 'refuse' });
  assert.deepEqual(bind('127.0.0.1'), { do: 'pass' });
  assert.deepEqual(bind('127.65.0.1'), { do: 'pass' });
});

test('which files and sockets are answered', () => {
  assert.ok(isHostsPath('/etc/hosts'));
  assert.ok(!isHostsPath('/etc/hosts.allow'));
  assert.ok(isNameServiceSocket('/var/run/nscd/socket'));
  assert.ok(isNameServiceSocket('/run/systemd/resolve/io.systemd.Resolve'));
  assert.ok(!isNameServiceSocket('/run/x'));
});
