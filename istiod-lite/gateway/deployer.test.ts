// What the API server says against what a Gateway is to be served by: told while it is so, whatever it is about
// the request itself, and taken back.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock, silentLog } from '../../core/base/index.ts';
import { type KubeClient, KubeError, type KubeObject, resources } from '../../core/kube/index.ts';
import { eventually } from '../../test/kit/eventually.ts';
import { Deployer } from './deployer.ts';
import { gatewayStatus } from './gateway-status.ts';
import { readParameters } from './parameters.ts';
import { testSettings as settings, worldOf } from './testkit.ts';

const gatewayOf = (infrastructure?: object): KubeObject => ({
  kind: 'Gateway',
  metadata: { name: 'waypoint', namespace: 'shop', uid: 'u', generation: 1 },
  spec: {
    gatewayClassName: 'istio-waypoint',
    listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
    ...(infrastructure && { infrastructure }),
  },
});

function story() {
  const world = worldOf(settings, [
    {
      kind: 'GatewayClass',
      metadata: { name: 'istio-waypoint' },
      spec: { controllerName: 'istio.io/mesh-controller' },
    },
    gatewayOf(),
  ]);
  let answer: unknown;
  let changes = 0;
  const kube = {
    get: () => Promise.resolve(undefined),
    patch: (r: unknown, _namespace: unknown, _name: unknown, o: KubeObject) =>
      r === resources.deployments && answer !== undefined
        ? Promise.reject(answer as Error)
        : Promise.resolve({ ...o, metadata: { ...o.metadata, generation: 1 } }),
  } as unknown as KubeClient;
  const clock = new FakeClock();
  const { gateways } = world;
  const changed = (): void => void changes++;
  const template = { spec: { template: { spec: { containers: [{ name: 'istio-proxy' }] } } } };
  const deployer = new Deployer({
    kube,
    gateways,
    settings,
    template,
    clock,
    log: silentLog,
    changed,
  });
  const gateway = gateways.gateways.get('shop/waypoint') ?? assert.fail();
  return {
    world,
    gateway,
    deployer,
    changes: () => changes,
    /** One attempt, which ends so. */
    async attempt(error: unknown): Promise<void> {
      answer = error;
      const done = eventually(() => clock.waiting > 0, 'the attempt has ended');
      deployer.want(gateway);
      await done;
    },
    next: () => clock.advance(2_000),
  };
}
const said = 'Deployment.apps "waypoint" is invalid: spec.replicas: Invalid value: -1';

describe('a part that the API server refuses', () => {
  const rows: readonly (readonly [string, unknown, boolean])[] = [
    ['400', new KubeError(400, 'BadRequest', said), true],
    ['403, as of a quota or a webhook', new KubeError(403, 'Forbidden', said), true],
    ['422', new KubeError(422, 'Invalid', said), true],
    ['500, as of a patch that does not fit the type', new KubeError(500, '', said), true],
    ['404: the namespace goes', new KubeError(404, 'NotFound', said), false],
    ['409', new KubeError(409, 'Conflict', said), false],
    ['429', new KubeError(429, 'TooManyRequests', said), false],
    ['503', new KubeError(503, 'ServiceUnavailable', said), false],
    ['no answer', new Error('ECONNREFUSED'), false],
  ];
  for (const [name, error, told] of rows) {
    test(`${name}: ${told ? 'told' : 'tried again in silence'}`, async () => {
      const s = story();
      await s.attempt(error);
      const wanted = `the API server refuses Deployment shop/waypoint: ${said}`;
      assert.equal(s.deployer.refusal('shop/waypoint'), told ? wanted : undefined);
      assert.equal(s.changes(), told ? 1 : 0);
    });
  }

  const reverts: readonly (readonly [string, object | undefined])[] = [
    ['what was there before', undefined],
    ['parameters that cannot be read', { parametersRef: { group: '', kind: 'Secret', name: 'x' } }],
  ];
  for (const [name, then] of reverts) {
    test(`it is taken back when the Gateway asks for ${name} instead`, async () => {
      const s = story();
      const ask = (infrastructure?: object) =>
        s.world.gateways.apply('Gateway', 'MODIFIED', gatewayOf(infrastructure));
      const data = { deployment: 'spec: {replicas: -1}' };
      const size = { metadata: { name: 'size', namespace: 'shop' }, data };
      s.world.gateways.parameters.set('shop/size', readParameters(size));
      await s.attempt(undefined);
      s.next();
      ask({ parametersRef: { group: '', kind: 'ConfigMap', name: 'size' } });
      await s.attempt(new KubeError(422, 'Invalid', said));
      assert.match(s.deployer.refusal('shop/waypoint') ?? '', /refuses/);
      ask(then);
      const before = s.changes();
      s.next();
      assert.equal(s.deployer.refusal('shop/waypoint'), undefined);
      assert.equal(s.changes(), before + 1);
    });
  }

  test('Programmed says so, and no more once it is taken', async () => {
    const s = story();
    await s.attempt(new KubeError(422, 'Invalid', said));
    const status = (): string => {
      const refused = s.deployer.refusal('shop/waypoint');
      const made = gatewayStatus(s.world, s.gateway, 't', refused);
      const { conditions } = made as { conditions: { type: string; reason: string }[] };
      return conditions.find((c) => c.type === 'Programmed')?.reason ?? '';
    };
    assert.equal(status(), 'Invalid');
    await s.attempt(undefined);
    s.next();
    await eventually(() => s.deployer.refusal('shop/waypoint') === undefined, 'it is taken');
    assert.equal(status(), 'AddressNotUsable');
    assert.equal(s.changes(), 2);
  });
});
