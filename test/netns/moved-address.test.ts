// A pod's address that moves to another pod: nobody ever talks to the new one in the belief that it is the
// old one, however late the news comes. Two proxies, so that one can know less than the other.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { test } from 'node:test';
import { runIp } from '../../core/linux/index.ts';
import { podUid } from '../../core/model/index.ts';
import { eventually } from '../kit/eventually.ts';
import { testWorkload } from '../kit/mesh.ts';
import { startNetnsMesh } from './mesh.ts';
import { join, skip, type TestNamespace, withNamespaces } from './ring.ts';

const app = (name: string): string => `
import http.server
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = b'I am ${name}'
        self.send_response(200)
        self.send_header('content-length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(('0.0.0.0', 8080), H).serve_forever()
`;
const serve = (ns: TestNamespace, name: string): ChildProcess =>
  spawn('ip', ['netns', 'exec', ns.name, 'python3', '-c', app(name)], { stdio: 'inherit' });

test('N-moved: an address of another pod now is never reached under the old identity', {
  skip,
  timeout: 60_000,
}, async () => {
  const near = await startNetnsMesh();
  const far = await startNetnsMesh({ NODE_NAME: 'n2' }, near.ca);
  const apps: ChildProcess[] = [];
  try {
    await withNamespaces(3, async (client, first, second) => {
      const curl = () => client.run('curl', '-s', '-S', '-m', '5', 'http://10.9.0.2:8080/');
      const on2 = { node: 'n2' };
      const news = (name: string) =>
        near.feed.apply({ workloads: [testWorkload(name, '10.9.0.2', on2)] });
      await join(client, first);
      apps.push(serve(first, 'old'));
      await near.enrol('client', client, '10.9.0.1');
      await far.enrol('old', first, '10.9.0.2', on2);
      far.feed.apply({ workloads: [testWorkload('client', '10.9.0.1')] });
      news('old');
      await eventually(async () => (await curl()).out === 'I am old', 'the old one answers');

      // The address moves at once; the far node knows, the near one does not.
      await far.forget('old');
      await runIp(['link del eth0'], client.fd);
      await join(client, second);
      apps.push(serve(second, 'new'));
      const old = podUid('Kubernetes', 'shop', 'old');
      far.feed.apply({ removed: { addresses: [old] } });
      await far.enrol('new', second, '10.9.0.2', on2);
      await eventually(
        async () => (await second.run('ss', '-Hltn')).out.includes(':8080'),
        'the app',
      );
      for (let i = 0; i < 5; i++) {
        const { code, out } = await curl();
        assert.notEqual(code, 0, `answered: ${out}`);
      }
      const refused = (await near.records()).filter((r) => r.state !== 'ok');
      assert.ok(
        refused.some((r) => r.reason === 'PEER_IDENTITY_MISMATCH'),
        JSON.stringify(refused[0]),
      );

      near.feed.apply({ removed: { addresses: [old] } });
      news('new');
      await eventually(async () => (await curl()).out === 'I am new', 'the new one answers');
      const uid = podUid('Kubernetes', 'shop', 'new');
      const inbound = (await far.records()).filter((r) => r.pod === uid && r.state === 'ok');
      const outbound = await near.records();
      assert.ok(inbound.length > 0);
      for (const { trace } of inbound) {
        const mine = outbound.find((r) => r.trace === trace);
        assert.match(mine?.destination.identity ?? '', /\/sa\/new$/);
      }
    });
  } finally {
    for (const child of apps) child.kill('SIGKILL');
    await far.stop();
    await near.stop();
  }
});
