// What happens once for each connection or request, alone: picking an endpoint, finding a service by its address,
// counting; and a scrape (performance.md section 3, rows `load_balance`, `vip_match`, `metrics`).
import { type IpAddress, parseIp } from '../core/base/index.ts';
import { MeshState, pickEndpoint, type Service } from '../core/model/index.ts';
import { systemRandom } from '../core/runtime/index.ts';
import { createMetrics, type Labels } from '../core/telemetry/index.ts';
import { backs, testService, testWorkload } from '../test/kit/index.ts';
import type { Result } from './data-path.ts';
import { median } from './sampling.ts';

const address = (i: number): string => `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;

/** Microseconds of one step, median of rounds. */
function microsPer(steps: number, step: () => void): number {
  for (let i = 0; i < steps; i++) step();
  const rounds = Array.from({ length: 7 }, () => {
    const began = performance.now();
    for (let i = 0; i < steps; i++) step();
    return ((performance.now() - began) * 1000) / steps;
  });
  return median(rounds);
}

function meshOf(endpoints: number, service: Service): MeshState {
  const mesh = new MeshState();
  const workloads = Array.from({ length: endpoints }, (_, i) =>
    testWorkload(`w${i}`, address(i), {
      services: backs(service.name),
      locality: { region: 'r', zone: `z${i % 3}`, subzone: '' },
    }),
  );
  mesh.apply({ services: [service], workloads });
  return mesh;
}

function* balance(): IterableIterator<Result> {
  const from = testWorkload('client', '10.250.0.1', {
    locality: { region: 'r', zone: 'z1', subzone: '' },
  });
  const plain = testService('web', '10.251.0.1', 80, 8080);
  const near: Service = {
    ...plain,
    loadBalancing: {
      mode: 'Failover',
      preferences: ['Region', 'Zone'],
      healthPolicy: 'OnlyHealthy',
    },
  };
  for (const [kind, service] of [
    ['basic', plain],
    ['locality', near],
  ] as const) {
    for (const n of [10, 1000, 10_000]) {
      const mesh = meshOf(n, service);
      const pick = (): void => {
        if (!pickEndpoint(mesh, service, 80, from, systemRandom)) throw new Error('no endpoint');
      };
      const value = microsPer(n > 1000 ? 200 : 2000, pick);
      yield { name: `load_balance/${kind}-${n}`, unit: 'µs', value };
    }
  }
}

function* vips(): IterableIterator<Result> {
  for (const n of [1, 100, 10_000]) {
    const mesh = new MeshState();
    mesh.apply({
      services: Array.from({ length: n }, (_, i) => testService(`s${i}`, address(i), 80, 8080)),
    });
    for (const [kind, text] of [
      ['hit', address(n - 1)],
      ['miss', '10.255.255.255'],
    ] as const) {
      const ip = parseIp(text) as IpAddress;
      const value = microsPer(20_000, () => void mesh.serviceByVip('', ip, 'shop'));
      yield { name: `vip_match/exact-${kind}/${n}`, unit: 'µs', value };
    }
  }
}

async function* metrics(): AsyncIterableIterator<Result> {
  const names = Array.from({ length: 27 }, (_, i) => `label_${i}`);
  const labels = (n: number): Labels =>
    Object.fromEntries(names.map((name, i) => [name, i === 0 ? `value-${n}` : 'some-value']));
  const registry = createMetrics();
  const counter = registry.counter({ name: 'bench_total', help: 'Steps', labels: names });
  const same = labels(0);
  const value = microsPer(20_000, () => counter.add(same));
  yield { name: 'metrics/write', unit: 'µs', value };
  const fresh = microsPer(5_000, () => counter.add({ ...same }));
  yield { name: 'metrics/write-fresh-labels', unit: 'µs', value: fresh };
  for (let i = 0; i < 10_000; i++) counter.add(labels(i));
  const began = performance.now();
  const { body } = await registry.render(undefined);
  const ms = performance.now() - began;
  yield { name: 'metrics/encode', unit: 'ms', value: ms, more: { megabytes: body.length / 1e6 } };
}

export async function* cases(filter = ''): AsyncIterableIterator<Result> {
  const wanted = (group: string): boolean => group.startsWith(filter) || filter.startsWith(group);
  if (wanted('load_balance')) yield* balance();
  if (wanted('vip_match')) yield* vips();
  if (wanted('metrics')) yield* metrics();
}
