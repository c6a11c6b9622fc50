// The first bytes towards an application, and who may use such a connection.
import assert from 'node:assert/strict';
import { duplexPair } from 'node:stream';
import { describe, test } from 'node:test';
import { FakeClock, type IpPort, parseIpPort } from '../../core/base/index.ts';
import { namespacedHost } from '../../core/model/index.ts';
import { testWorkload } from '../../test/kit/index.ts';
import { type Cluster, defaultCluster, defaultPolicy } from '../l7/cluster.ts';
import { defaultConnection } from '../l7/connection-rules.ts';
import { begin, boundTo, idleMsOf, type Meant } from './begin.ts';

const at = (text: string): IpPort => {
  const parsed = parseIpPort(text);
  assert.ok(parsed);
  return parsed;
};
const withHeader = (header: 'V1' | 'V2' | undefined, idleMs = 0): Cluster => ({
  ...defaultCluster(namespacedHost('shop', 'web'), 80),
  policy: { ...defaultPolicy, idleMs, connection: { ...defaultConnection, header } },
});
const meant = (header: 'V1' | 'V2' | undefined, more: Partial<Meant> = {}): Meant => {
  const { ip: address, port } = at('10.0.0.1:8080');
  const endpoint = { workload: testWorkload('web', '10.0.0.1'), address, port };
  const [client, target] = [at('10.0.0.2:40000'), at('10.9.0.1:80')];
  return { cluster: withHeader(header), endpoint, client, target, ...more };
};
async function first(m: Meant): Promise<string> {
  const [near, far] = duplexPair();
  assert.equal(await begin(near, m, 'web', [], new FakeClock()), near);
  return String(far.read() ?? '');
}

test('the caller and where it wanted to go, in the order of the PROXY protocol', async () => {
  assert.equal(await first(meant('V1')), 'PROXY TCP4 10.0.0.2 10.9.0.1 40000 80\r\n');
  assert.match(await first(meant('V2')), /QUIT/);
  assert.equal(await first(meant(undefined)), '');
});

test('without a target it is the endpoint; through a waypoint the waypoint sends it', async () => {
  const line = await first(meant('V1', { target: undefined }));
  assert.equal(line, 'PROXY TCP4 10.0.0.2 10.0.0.1 40000 8080\r\n');
  const { endpoint } = meant('V1');
  const via = at('10.0.0.7:15008');
  assert.equal(await first(meant('V1', { endpoint: { ...endpoint, via } })), '');
});

describe('such a connection is its caller’s alone', () => {
  test('bound to caller, target and version; without a header to nobody', () => {
    const all = [
      meant('V1'),
      meant('V2'),
      meant('V1', { client: at('10.0.0.3:40000') }),
      meant('V1', { target: at('10.9.0.1:81') }),
    ].map(boundTo);
    assert.equal(new Set(all).size, all.length);
    assert.equal(boundTo(meant(undefined)), '');
  });
  test('and is not kept for long', () => {
    assert.equal(idleMsOf(withHeader('V1')), 15_000);
    assert.equal(idleMsOf(withHeader('V1', 5_000)), 5_000);
    assert.equal(idleMsOf(withHeader(undefined)), 0);
  });
});
