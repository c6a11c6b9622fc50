import assert from 'node:assert/strict';
import test from 'node:test';
import type { Pod, Service } from '../objects.ts';
import { planEndpoints, planSlices, targetPort } from './endpoints-plan.ts';

const pod = (name: string, ip: string | undefined, ready: boolean, port = 8080): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', uid: name, labels: { app: 'web' } },
  spec: { containers: [{ name: 'c', ports: [{ name: 'http', containerPort: port }] }] },
  status: {
    phase: 'Running',
    ...(ip ? { podIP: ip } : {}),
    conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
  },
});
const service: Service = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web', namespace: 'default', uid: 's' },
  spec: {
    selector: { app: 'web' },
    ports: [
      { name: 'http', port: 80, targetPort: 'http' },
      { name: 'admin', port: 81, targetPort: 'missing' },
    ],
  },
};

test('target ports: number, name, absent, unknown name', () => {
  const p = pod('a', '127.64.0.20', true);
  assert.equal(targetPort(p, { port: 80 }), 80);
  assert.equal(targetPort(p, { port: 80, targetPort: 9 }), 9);
  assert.equal(targetPort(p, { port: 80, targetPort: 'http' }), 8080);
  assert.equal(targetPort(p, { port: 80, targetPort: 'nope' }), undefined);
  assert.equal(targetPort(p, { port: 80, targetPort: '77' }), 77);
});

test('slices: ready and not, no address none, ports by name', () => {
  const pods = [
    pod('b', '127.64.0.21', false),
    pod('a', '127.64.0.20', true),
    pod('c', undefined, true),
  ];
  const [slice, ...more] = planSlices(service, pods);
  assert.equal(more.length, 0);
  assert.deepEqual(
    slice?.endpoints.map((e) => [e.addresses[0], e.conditions?.ready]),
    [
      ['127.64.0.20', true],
      ['127.64.0.21', false],
    ],
  );
  assert.deepEqual(slice?.ports, [{ name: 'http', port: 8080, protocol: 'TCP' }]);
  const endpoints = planEndpoints(service, slice ? [slice] : []);
  const [subset] = endpoints['subsets'] as { addresses: unknown[]; notReadyAddresses: unknown[] }[];
  assert.equal(subset?.addresses.length, 1);
  assert.equal(subset?.notReadyAddresses.length, 1);
});

test('pods that resolve a named port differently get slices of their own', () => {
  const slices = planSlices(service, [
    pod('a', '127.64.0.20', true),
    pod('b', '127.64.0.21', true, 9),
  ]);
  assert.deepEqual(
    slices.map((s) => s.ports[0]?.port),
    [8080, 9],
  );
  assert.notEqual(slices[0]?.metadata.name, slices[1]?.metadata.name);
});

test('no pods: one empty slice, no subsets', () => {
  const slices = planSlices(service, []);
  assert.equal(slices.length, 1);
  assert.deepEqual(slices[0]?.endpoints, []);
  assert.equal(planEndpoints(service, slices)['subsets'], undefined);
});
