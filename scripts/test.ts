// `npm test`: everything but the rings that ask for root or an API server, the longest first, so that no long story is
// left to run alone at the end. Named files are run alone: `npm test -- test/mesh/tunnel.test.ts`.
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

const root = join(import.meta.dirname, '..');
/** Of a file and of each test in it; the longest takes two thirds of it on two busy cores. */
const timeout = 240_000;
const first = [
  'test/sandbox/waypoint.test.ts',
  'test/one-process/units.ts',
  'test/sandbox/cli.test.ts',
  'test/sandbox/life.test.ts',
  'test/one-process/control-plane.ts',
];

function allFiles(): string[] {
  const stories = globSync('test/**/*.test.ts', { cwd: root }).toSorted();
  const rest = stories.filter((f) => !first.includes(f) && !f.startsWith('test/control-plane/'));
  return [...first, ...rest];
}

const named = process.argv.slice(2);
const files = (named.length > 0 ? named : allFiles()).map((f) => join(root, f));
run({ files, concurrency: 3, timeout })
  .on('test:fail', () => {
    process.exitCode = 1;
  })
  .compose(new spec())
  .pipe(process.stdout);
