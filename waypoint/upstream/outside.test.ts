// Who names the server of a connection outside the mesh: only where it is the caller, connections are bounded.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { namespacedHost } from '../../core/model/index.ts';
import { type Cluster, defaultCluster } from '../l7/cluster.ts';
import { callersName, serverNameFor } from './outside.ts';

const plain = defaultCluster(namespacedHost('shop', 'api.example.com'), 443);
const tls = (sni: string): Cluster => ({
  ...plain,
  policy: {
    ...plain.policy,
    tls: { sni, subjectAltNames: [], roots: '', pair: undefined, fault: '', id: 'a' },
  },
});

const rows: readonly (readonly [string, Cluster, boolean, string])[] = [
  ['no TLS of ours', plain, false, ''],
  ['a name of the rule', tls('fixed.example.com'), false, 'fixed.example.com'],
  ['TLS by the name of the request', tls(''), true, 'asked.example.com'],
  ['a name under a wildcard host', { ...plain, name: 'a.example.com' }, true, ''],
];
for (const [what, cluster, theirs, name] of rows) {
  test(`${what}: ${theirs ? 'theirs' : 'not theirs'} to choose`, () => {
    assert.equal(callersName(cluster), theirs);
    assert.equal(serverNameFor(cluster, 'asked.example.com:80'), name);
  });
}
