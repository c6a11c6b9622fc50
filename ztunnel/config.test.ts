import assert from 'node:assert/strict';
import { test } from 'node:test';
import { packageVersion } from '../core/runtime/index.ts';
import { readConfig } from './config.ts';

const good = { PROXY_MODE: 'addressed' };

test('defaults are Istio’s', () => {
  const { config } = readConfig(good);
  assert.ok(config.ok);
  assert.equal(config.value.clusterId, 'Kubernetes');
  assert.equal(config.value.poolStreams, 100);
  assert.equal(config.value.http2.streamWindow, 4 << 20);
  assert.deepEqual(config.value.admin, { host: '127.0.0.1', port: 15000 });
  assert.equal(config.value.drainMs, 5000);
  assert.ok(Object.isFrozen(config.value));
});

test('the version that is reported is this program’s own, or what is said', () => {
  const version = (env: Record<string, string>): string | undefined => {
    const { config } = readConfig({ ...good, ...env });
    return config.ok ? config.value.version : undefined;
  };
  assert.equal(version({}), packageVersion());
  assert.equal(version({ ISTIO_META_ISTIO_VERSION: 'next' }), 'next');
});

test('every mistake is reported together', () => {
  const { config } = readConfig({
    PROXY_MODE: 'dedicated',
    XDS_ADDRESS: 'nowhere',
    SECRET_TTL: 'a while',
    KEEPALIVE_ENABLED: 'maybe',
    POOL_MAX_STREAMS_PER_CONNECTION: '0',
  });
  assert.ok(!config.ok);
  const paths = new Set(config.faults.map((f) => f.path));
  for (const name of [
    'PROXY_MODE',
    'XDS_ADDRESS',
    'SECRET_TTL',
    'KEEPALIVE_ENABLED',
    'POOL_MAX_STREAMS_PER_CONNECTION',
  ]) {
    assert.ok(paths.has(name), name);
  }
});

test('the drain follows the grace period unless it is given', () => {
  const drain = (env: Record<string, string>): number | undefined => {
    const { config } = readConfig({ ...good, ...env });
    return config.ok ? config.value.drainMs : undefined;
  };
  assert.equal(drain({ TERMINATION_GRACE_PERIOD_SECONDS: '30' }), 25_000);
  assert.equal(drain({ TERMINATION_GRACE_PERIOD_SECONDS: '10' }), 9_000);
  assert.equal(drain({ TERMINATION_GRACE_PERIOD_SECONDS: '1' }), 1_000);
  assert.equal(drain({ CONNECTION_TERMINATION_DEADLINE: '2s' }), 2_000);
});

test('addresses may be given with https://, and the CA follows xDS', () => {
  const { config } = readConfig({ ...good, XDS_ADDRESS: 'https://127.1.0.2:15012' });
  assert.ok(config.ok);
  assert.equal(config.value.xdsAddress, '127.1.0.2:15012');
  assert.equal(config.value.caAddress, '127.1.0.2:15012');
});
