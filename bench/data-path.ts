// throughput, latency, connections: the cases of the peer's own benchmarks (names and shapes alike), over
// no, one or two proxies in one run, so that ratios mean something.
import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { Path, World } from './world.ts';

export interface Result {
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  readonly more?: Readonly<Record<string, number>>;
}

export interface Size {
  /** Bytes of one throughput case, over all its connections. */
  readonly bytes: number;
  readonly trips: number;
  readonly connections: number;
  /** Before a case of trips or connections is counted. */
  readonly warmMs: number;
}

const chunk = Buffer.alloc(128 * 1024, 7);
const paths: readonly Path[] = ['direct', 'tcp', 'hbone'];
const limitMs = 120_000;

function limited<T>(work: Promise<T>, what: string): Promise<T> {
  const timer = Promise.withResolvers<never>();
  const handle = setTimeout(
    () => timer.reject(new Error(`${what}: over ${limitMs / 1000} s`)),
    limitMs,
  );
  return Promise.race([work, timer.promise]).finally(() => clearTimeout(handle));
}

async function push(socket: Socket, bytes: number): Promise<void> {
  const done = once(socket, 'data');
  done.catch(() => {});
  socket.write('S');
  for (let left = bytes; left > 0; left -= chunk.length) {
    if (!socket.write(left < chunk.length ? chunk.subarray(0, left) : chunk))
      await once(socket, 'drain');
  }
  socket.end();
  await done;
  socket.destroy();
}

async function throughput(world: World, path: Path, count: number, size: Size): Promise<Result> {
  // Warm: what is measured is the code as it runs for hours (performance.md 4.3).
  for (let i = 0; i < 2; i++) await push(await world.dial(path), size.bytes / 2);
  const sockets = await Promise.all(Array.from({ length: count }, () => world.dial(path)));
  const before = await world.usage();
  const from = performance.now();
  await Promise.all(sockets.map((s) => push(s, size.bytes / count)));
  const seconds = (performance.now() - from) / 1000;
  const cpu = (await world.usage()).cpuMicros - before.cpuMicros;
  return {
    name: `throughput/${path}${count}`,
    unit: 'Gb/s',
    value: (size.bytes * 8) / seconds / 1e9,
    more: { cpuSecondsPerGB: cpu / 1e6 / (size.bytes / 1e9) },
  };
}

async function trip(socket: Socket, payload: Buffer): Promise<number> {
  const from = performance.now();
  let got = 0;
  const all = Promise.withResolvers<void>();
  const take = (part: Buffer): void => {
    got += part.length;
    if (got >= payload.length) all.resolve();
  };
  socket.on('data', take);
  socket.write(payload);
  await all.promise;
  socket.off('data', take);
  return performance.now() - from;
}

const percentile = (sorted: readonly number[], p: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? 0;

/** 10,000 operations or the time given: what is measured is the code as it runs for hours (performance.md 4.3). */
async function warm(ms: number, operation: () => Promise<unknown>): Promise<void> {
  const until = performance.now() + ms;
  for (let i = 0; i < 10_000 && performance.now() < until; i++) await operation();
}

async function latency(world: World, path: Path, size: Size): Promise<Result> {
  const socket = await world.dial(path);
  socket.write('E');
  const payload = Buffer.alloc(1024, 9);
  await warm(size.warmMs, () => trip(socket, payload));
  const before = await world.usage();
  const times: number[] = [];
  for (let i = 0; i < size.trips; i++) times.push(await trip(socket, payload));
  const cpu = (await world.usage()).cpuMicros - before.cpuMicros;
  socket.destroy();
  times.sort((a, b) => a - b);
  return {
    name: `latency/${path}`,
    unit: 'µs p50',
    value: percentile(times, 0.5) * 1000,
    more: {
      p90: percentile(times, 0.9) * 1000,
      p99: percentile(times, 0.99) * 1000,
      cpuMicrosPerTrip: cpu / size.trips,
    },
  };
}

async function oneConnection(world: World, path: Path): Promise<void> {
  const socket = await world.dial(path);
  const answer = once(socket, 'data');
  answer.catch(() => {});
  socket.write('Ex');
  await answer;
  socket.destroy();
}

async function connections(world: World, path: Path, size: Size): Promise<Result> {
  await warm(size.warmMs, () => oneConnection(world, path));
  const before = await world.usage();
  const from = performance.now();
  for (let i = 0; i < size.connections; i++) await oneConnection(world, path);
  const seconds = (performance.now() - from) / 1000;
  const cpu = (await world.usage()).cpuMicros - before.cpuMicros;
  return {
    name: `connections/${path}`,
    unit: '/s',
    value: size.connections / seconds,
    more: { cpuMicrosPerConnection: cpu / size.connections },
  };
}

/** Runs the cases whose name contains `filter`; each result is reported as it comes. */
export async function dataPath(
  world: World,
  size: Size,
  filter: string,
  report: (r: Result) => void,
): Promise<void> {
  const wanted = (name: string): boolean => name.includes(filter);
  for (const count of [1, 2, 8]) {
    for (const path of paths) {
      const name = `throughput/${path}${count}`;
      if (wanted(name)) report(await limited(throughput(world, path, count, size), name));
    }
  }
  for (const path of paths) {
    if (wanted(`latency/${path}`))
      report(await limited(latency(world, path, size), `latency/${path}`));
  }
  for (const path of paths) {
    const name = `connections/${path}`;
    if (wanted(name)) report(await limited(connections(world, path, size), name));
  }
}
