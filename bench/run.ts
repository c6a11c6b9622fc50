// `npm run bench [-- FILTER] [--full] [--json]`: runs the cases and prints them with their ratios to `direct`
// and, where it is installed, to HAProxy in the same run. Numbers hold as ratios on one machine only.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { dataPath, type Result, type Size } from './data-path.ts';
import { haproxyVersion, type Peer, startHaproxy } from './haproxy.ts';
import { memory } from './memory.ts';
import { startTlsPair } from './tls-pair.ts';
import { waypointPath } from './waypoint.ts';
import { startWorld, type World } from './world.ts';

const { values, positionals } = parseArgs({
  options: { full: { type: 'boolean' }, json: { type: 'boolean' } },
  allowPositionals: true,
});
const filter = positionals[0] ?? '';
const size: Size =
  values.full === true
    ? { bytes: 2 ** 30, trips: 10_000, connections: 3_000, warmMs: 5_000 }
    : { bytes: 2 ** 28, trips: 3_000, connections: 600, warmMs: 1_000 };

/** Files with cases that need no proxies: each exports `cases(): Iterable<Result>` or a promise of it. */
const pureCases = [
  'rbac.ts',
  'rbac-l7.ts',
  'endpoint-insert.ts',
  'push.ts',
  'control-plane.ts',
  'look-ups.ts',
];

const results: Result[] = [];
const round = (n: number): string =>
  n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2);

function report(r: Result): void {
  results.push(r);
  const more = Object.entries(r.more ?? {}).map(([k, v]) => `${k} ${round(v)}`);
  process.stderr.write(
    `${r.name.padEnd(28)} ${round(r.value).padStart(8)} ${r.unit}  ${more.join('  ')}\n`,
  );
}

/** The `hbone` cases once more with another pair of proxies, under the peer's name. */
async function runPeer(world: World, name: string, start: () => Promise<Peer>): Promise<void> {
  const peer = await start();
  // Its dial stands in for the hbone path.
  const as: World = {
    ...world,
    dial: (path) => (path === 'hbone' ? peer.dial() : world.dial(path)),
    ...(peer.usage && { usage: () => peer.usage?.() ?? world.usage() }),
  };
  try {
    await dataPath(as, size, 'hbone', (r) => {
      if (!r.name.includes(filter)) return;
      const {
        cpuMicrosPerTrip: _t,
        cpuSecondsPerGB: _g,
        cpuMicrosPerConnection: _c,
        ...more
      } = r.more ?? {};
      report({
        ...r,
        name: r.name.replace('hbone', name),
        more: peer.usage ? { ...r.more } : more,
      });
    });
  } finally {
    peer.stop();
  }
}

function ratios(): Record<string, number> {
  const out: Record<string, number> = {};
  for (const r of results) {
    for (const peer of ['envoy', 'haproxy']) {
      if (!r.name.startsWith('waypoint/')) continue;
      const other = results.find((x) => x.name === r.name.replace('waypoint', peer));
      const cpu = [r, other].map((x) => x?.more?.['cpuMicrosPerRequest'] ?? 0);
      if (other) out[`CPU of ${r.name} / ${peer}`] = (cpu[0] ?? 0) / (cpu[1] ?? 1);
    }
    for (const peer of ['direct', 'tcp', 'tls', 'haproxy']) {
      if (!r.name.includes('hbone')) continue;
      const other = results.find((x) => x.name === r.name.replace('hbone', peer));
      if (other) out[`${r.name} / ${peer}`] = r.value / other.value;
    }
  }
  return out;
}

async function runPure(): Promise<void> {
  const here = readdirSync(import.meta.dirname);
  for (const file of pureCases.filter((f) => here.includes(f))) {
    const module = (await import(join(import.meta.dirname, file))) as {
      cases(filter: string): AsyncIterable<Result> | Iterable<Result>;
    };
    for await (const r of module.cases(filter)) if (r.name.includes(filter)) report(r);
  }
}

const needsWorld = ['throughput', 'latency', 'connections', 'memory'].some(
  (n) => filter === '' || filter.startsWith(n),
);
if (needsWorld) {
  const world = await startWorld();
  try {
    if ('memory'.startsWith(filter)) await memory(world, size.connections * 16, report);
    await dataPath(world, size, filter, report);
    if (!filter.startsWith('memory')) await runPeer(world, 'tls', () => startTlsPair(world));
    const version = haproxyVersion();
    if (version === undefined) process.stderr.write('haproxy is not installed: no ratios to it\n');
    else if (!filter.startsWith('memory')) {
      process.stderr.write(`peer: ${version}\n`);
      await runPeer(world, 'haproxy', startHaproxy);
    }
  } finally {
    world.stop();
  }
}
if ('waypoint'.startsWith(filter) || filter.startsWith('waypoint'))
  await waypointPath(filter, report);
await runPure();

const found = ratios();
for (const [name, value] of Object.entries(found))
  process.stderr.write(`${name.padEnd(40)} ${value.toFixed(2)}\n`);
if (values.json === true)
  process.stdout.write(`${JSON.stringify({ results, ratios: found }, null, 2)}\n`);
