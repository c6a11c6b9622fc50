// Headers of CONNECT against the vectors of ztunnel-protocol.md 2.2–2.4 and 16.1.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type IpAddress } from '../base/index.ts';
import type { Workload } from '../model/index.ts';
import {
  headerText,
  parseBaggage,
  parseForwardedHost,
  printBaggage,
  printForwarded,
} from './headers.ts';

const at = (ip: string, port = 80) => ({ ip: ip as IpAddress, port });

test('Forwarded names the application, and the service where there is one', () => {
  assert.equal(printForwarded(at('127.0.0.1'), undefined), 'for="127.0.0.1:80"');
  assert.equal(printForwarded(at('::1'), undefined), 'for="[::1]:80"');
  assert.equal(
    printForwarded(at('127.0.0.1'), 'example.com'),
    'for="127.0.0.1:80";host=example.com',
  );
});

test('C11: only a clean host of Forwarded is read', () => {
  const read = (text: string | undefined) => parseForwardedHost(text);
  assert.equal(read('by=identifier;for=identifier;host=example.com;proto=https'), 'example.com');
  assert.equal(read('for="1.2.3.4:5";host="example.com"'), 'example.com');
  for (const text of [undefined, '', 'for=x', 'host=', 'host=""', 'host=exämple.com', 'host=a b']) {
    assert.equal(read(text), undefined);
  }
  assert.equal(read(`host=${'a'.repeat(65_536)}`), undefined);
});

const workload = {
  clusterId: 'Kubernetes',
  namespace: 'shop',
  workloadType: 'deployment',
  workloadName: 'web',
  canonicalName: 'web',
  canonicalRevision: 'v1',
  locality: { region: 'eu1', zone: 'eu1-a', subzone: '' },
} as Workload;

test('baggage has Istio’s keys in Istio’s order, without empty ones', () => {
  assert.equal(
    printBaggage(workload),
    'k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=web,service.name=web,service.version=v1,cloud.region=eu1,cloud.availability_zone=eu1-a',
  );
  const bare = {
    ...workload,
    canonicalRevision: '',
    locality: { region: '', zone: '', subzone: '' },
  };
  assert.ok(!printBaggage(bare).includes('version'));
});

test('baggage is read back; later duplicates win, unknown keys are ignored', () => {
  const read = parseBaggage(printBaggage(workload));
  assert.equal(read.workloadName, 'web');
  assert.equal(read.zone, 'eu1-a');
  const text = 'service.name=a,k8s.pod.name=p,k8s.job.name=j,service.name=b=c,x=y,nonsense';
  assert.deepEqual(parseBaggage(text), { canonicalName: 'b', workloadName: 'j' });
  assert.deepEqual(parseBaggage('service.name=a,service.name='), {});
});

test('C11: baggage that is broken, huge or hostile is nothing', () => {
  for (const text of [undefined, 'é=1', 'a'.repeat(65_536), '__proto__=x', 'constructor=x']) {
    assert.deepEqual(parseBaggage(text), {});
  }
});

test('a repeated header counts once, as text', () => {
  assert.equal(headerText({ a: ['x', 'y'] }, 'a'), 'x');
  assert.equal(headerText({ a: 7 }, 'a'), undefined);
});
