import assert from 'node:assert/strict';
import test from 'node:test';
import {
  apiAddress,
  clusterAddress,
  hostAddress,
  isClusterAddress,
  nextFree,
} from './addresses.ts';
import { claimBlock } from './block.ts';
import { hostsText } from './hosts-text.ts';
import { proxyHeader } from './proxy-header.ts';

test('addresses stay in their halves of the block', () => {
  assert.equal(apiAddress(70), '127.70.0.1');
  assert.equal(hostAddress(70, 2), '127.70.0.2');
  assert.equal(hostAddress(70, 0x7f01), '127.70.127.1');
  assert.equal(clusterAddress(70, 1), '127.70.128.1');
  assert.ok(isClusterAddress(70, '127.70.128.1'));
  assert.ok(!isClusterAddress(70, '127.70.127.1'));
  assert.ok(!isClusterAddress(70, '127.71.128.1'));
});

test('the next free number skips taken ones and .0 and .255, and wraps', () => {
  const at = (n: number): string => hostAddress(64, n);
  assert.equal(nextFree(15, 16, at, new Set()), 16);
  assert.equal(nextFree(16, 16, at, new Set([at(17)])), 18);
  assert.equal(nextFree(254, 16, at, new Set()), 257);
  assert.equal(nextFree(0x7eff, 16, at, new Set()), 16);
});

test('the hosts file holds every name as seen from the namespace', () => {
  const pod = { ip: '127.64.0.20', hostname: 'curl-1', namespace: 'default' };
  const text = hostsText(
    pod,
    [
      { name: 'web', namespace: 'default', addresses: ['127.64.128.1'] },
      { name: 'db', namespace: 'data', addresses: ['127.64.0.30', '127.64.0.31'] },
    ],
    [{ host: 'api.example', addresses: ['240.240.0.1'] }],
  );
  assert.equal(
    text,
    [
      '127.0.0.1\tlocalhost',
      '127.64.0.20\tcurl-1',
      '127.64.128.1\tweb.default.svc.cluster.local web.default.svc web.default web',
      '127.64.0.30\tdb.data.svc.cluster.local db.data.svc db.data',
      '127.64.0.31\tdb.data.svc.cluster.local db.data.svc db.data',
      '240.240.0.1\tapi.example',
      '',
    ].join('\n'),
  );
});

test('the PROXY header is the 28 bytes of version 2', () => {
  const bytes = proxyHeader({ ip: '127.64.0.7', port: 40000 }, { ip: '127.64.128.1', port: 9080 });
  assert.equal(bytes.toString('hex'), '0d0a0d0a000d0a515549540a2111000c7f4000077f4080019c402378');
});

test('two claims never get the same block', { skip: process.platform !== 'linux' }, async () => {
  const one = await claimBlock(100);
  const two = await claimBlock(one.block);
  assert.notEqual(one.block, two.block);
  await one.release();
  await two.release();
});
