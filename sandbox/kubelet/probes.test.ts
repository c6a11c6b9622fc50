// Probes leave through the driver's door alone: with a pod's address that somebody else may have in the
// host's own network, a connection made there would reach a stranger. Once one did.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { FakeClock } from '../../core/base/index.ts';
import { makeServingCertificate } from '../api/index.ts';
import type { Container, Pod, Probe } from '../objects.ts';
import { runProbe } from './probes.ts';

/** Nobody listens there: whoever dials it by itself is refused. */
const stranger = { status: { podIP: '127.0.0.1' } } as Pod;
const closedPort = 1;
const container: Container = { name: 'c' };

describe('probes', () => {
  const servers: net.Server[] = [];
  let dir = '';
  const ports: Record<string, number> = {};
  const answer: http.RequestListener = (request, response) => {
    response.writeHead(request.url === '/bad' ? 500 : 204, { connection: 'close' }).end();
  };

  before(async () => {
    dir = fs.mkdtempSync(path.join(tmpdir(), 'ambient-probes-'));
    const clock = new FakeClock(Date.now());
    const { keyPem, certPem } = await makeServingCertificate({ dir, clock, ips: ['127.0.0.1'] });
    const made = {
      http: http.createServer(answer),
      https: https.createServer({ key: keyPem, cert: certPem }, answer),
    };
    for (const [name, server] of Object.entries(made)) {
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      servers.push(server);
      ports[name] = (server.address() as AddressInfo).port;
    }
  });
  after(() => {
    fs.rmSync(dir, { recursive: true, force: true });
    for (const server of servers) server.close();
  });

  const rows: [string, Probe, string, boolean][] = [
    ['httpGet', { httpGet: { port: closedPort } }, 'http', true],
    ['httpGet that fails', { httpGet: { port: closedPort, path: '/bad' } }, 'http', false],
    ['httpGet over TLS', { httpGet: { port: closedPort, scheme: 'HTTPS' } }, 'https', true],
    ['tcpSocket', { tcpSocket: { port: closedPort } }, 'http', true],
    ['grpc', { grpc: { port: closedPort } }, 'http', true],
  ];
  for (const [what, probe, server, ok] of rows) {
    test(`${what}: one connection, through the driver`, async () => {
      const asked: string[] = [];
      const outcome = await runProbe(probe, {
        pod: stranger,
        container,
        limitMs: 5_000,
        open: (_pod, host, port) => {
          asked.push(`${host}:${port}`);
          return net.connect(ports[server] ?? 0, '127.0.0.1');
        },
        exec: () => Promise.resolve(0),
      });
      assert.deepEqual([outcome.ok, asked], [ok, ['127.0.0.1:1']], JSON.stringify(outcome));
    });
  }
});

test('kubelet and driver netns have no other way to open a connection', () => {
  for (const folder of ['kubelet', 'netns']) {
    const at = path.join(import.meta.dirname, '..', folder);
    for (const file of fs.readdirSync(at).filter((f) => !f.endsWith('.test.ts'))) {
      const text = fs.readFileSync(path.join(at, file), 'utf8');
      assert.doesNotMatch(
        text,
        /\b(net|tls)\.(connect|createConnection)\(|\bfetch\(/,
        `${folder}/${file}`,
      );
    }
  }
});
