// Holds the shape of the code: floors, doors, cycles, purity, one user per library (design.md section 2).
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, test } from 'node:test';

const root = join(import.meta.dirname, '..');

/** Folder → floor. A folder may import from lower floors; same-floor folders only where `beside` says so. */
const floors: Record<string, number> = {
  'core/base': 0,
  'core/proto': 0,
  'core/model': 1,
  'core/telemetry': 1,
  'core/dns': 1,
  'core/rpc': 2,
  'core/hbone': 2,
  'core/runtime': 2,
  'core/linux': 2,
  certs: 3,
  'core/xds': 3,
  'core/kube': 3,
  'core/zds': 3,
  ztunnel: 4,
  waypoint: 4,
  'istiod-lite': 4,
  'node-agent': 4,
  ratelimit: 4,
  sandbox: 4,
  cli: 5,
  samples: 5,
  // On the cli's floor, but they look at it from outside, through its door.
  test: 6,
  bench: 7,
  scripts: 6,
};

/** Library → the only places that may import it. */
const doors: Record<string, readonly string[]> = {
  '@grpc/grpc-js': ['core/rpc/'],
  protobufjs: ['core/rpc/', 'scripts/'],
  '@peculiar/x509': ['certs/x509.ts'],
  'reflect-metadata': ['certs/x509.ts'],
  pino: ['core/telemetry/'],
  'prom-client': ['core/telemetry/'],
  '@kubernetes/client-node': ['core/kube/', 'scripts/'],
  koffi: ['core/linux/'],
  commander: ['cli/'],
  jose: ['waypoint/l7/token-keys.ts'],
};

/** Inner folders with a door of their own: entered by their index.ts alone, also from their own component. */
const innerDoors = [
  'sandbox/api',
  'sandbox/store',
  'sandbox/controllers',
  'sandbox/kubelet',
  'sandbox/enrol',
  'sandbox/loopback',
  'sandbox/netns',
  'istiod-lite/cluster',
  'istiod-lite/gateway',
  'istiod-lite/translate',
  'test/kit',
  'waypoint/plugins',
];

interface Import {
  readonly file: string;
  readonly spec: string;
  /** Project path of a relative import. */
  readonly target: string | undefined;
  readonly typeOnly: boolean;
}

const folderOf = (file: string): string =>
  Object.keys(floors)
    .toSorted((a, b) => b.length - a.length)
    .find((f) => file.startsWith(`${f}/`)) ?? '';

const files = globSync(
  '{core,certs,ztunnel,waypoint,istiod-lite,node-agent,ratelimit,sandbox,cli,test,bench,scripts,samples}/**/*.ts',
  {
    cwd: root,
  },
);

const sources = new Map(files.map((f) => [f, readFileSync(join(root, f), 'utf8')]));

/** Without comments and the insides of strings, so that words in them do not count. */
function bare(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/(^|[^:])\/\/.*$/gm, '$1')
    .replace(/'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`/g, "''");
}

function importsOf(file: string, text: string): Import[] {
  const found: Import[] = [];
  const pattern =
    /^\s*(?:import|export)\s+(type\s+)?[^'"`;]*?from\s+'([^']+)'|^\s*import\s+'([^']+)'|import\('([^']+)'\)/gm;
  for (const m of text.matchAll(pattern)) {
    const spec = m[2] ?? m[3] ?? m[4] ?? '';
    const target = spec.startsWith('.') ? normalize(join(dirname(file), spec)) : undefined;
    found.push({ file, spec, target, typeOnly: m[1] !== undefined });
  }
  return found;
}

const imports = [...sources].flatMap(([file, text]) => importsOf(file, text));
const product = imports.filter((i) => !i.file.startsWith('test/') && !i.file.endsWith('.test.ts'));

const pure = (file: string): boolean =>
  !file.endsWith('.test.ts') &&
  (/(^|\/)(plan|decide)\.ts$/.test(file) ||
    /-(state|plan)\.ts$/.test(file) ||
    /^core\/(base|model)\//.test(file) ||
    /^istiod-lite\/(cluster|translate)\//.test(file) ||
    file.startsWith('waypoint/balance/'));

describe('architecture', () => {
  test('every file lies in a known folder', () => {
    assert.deepEqual(
      files.filter((f) => folderOf(f) === ''),
      [],
    );
    assert.ok(files.length > 100, 'the files were found');
  });

  test('imports go down the floors', () => {
    const wrong = product
      .filter((i) => i.target !== undefined && folderOf(i.target) !== folderOf(i.file))
      .filter((i) => (floors[folderOf(i.target ?? '')] ?? 99) >= (floors[folderOf(i.file)] ?? 0))
      .map((i) => `${i.file} → ${i.spec}`);
    assert.deepEqual(wrong, []);
  });

  test('folders are entered by their doors', () => {
    const insideOf = (file: string): string =>
      innerDoors.find((d) => file.startsWith(`${d}/`)) ?? folderOf(file);
    const wrong = product
      .filter((i) => i.target !== undefined && insideOf(i.target) !== insideOf(i.file))
      .filter((i) => {
        const home = insideOf(i.target ?? '');
        const isInner = innerDoors.includes(home);
        // A component's own top-level files may be read by its inner folders.
        if (!isInner && folderOf(i.file) === home) return false;
        return i.target !== `${home}/index.ts`;
      })
      .map((i) => `${i.file} → ${i.spec}`);
    assert.deepEqual(wrong, []);
  });

  test('one user per library', () => {
    const wrong = imports
      .filter(
        (i) =>
          i.target === undefined && !i.file.endsWith('.test.ts') && !i.file.startsWith('test/'),
      )
      .filter((i) => {
        const allowed = doors[i.spec];
        return allowed !== undefined && !allowed.some((a) => i.file.startsWith(a));
      })
      .map((i) => `${i.file} → ${i.spec}`);
    assert.deepEqual(wrong, []);
  });

  test('no import cycles between files', () => {
    const graph = new Map<string, string[]>();
    for (const i of product) {
      if (i.target === undefined || i.typeOnly) continue;
      graph.set(i.file, [...(graph.get(i.file) ?? []), i.target]);
    }
    const state = new Map<string, 'open' | 'done'>();
    const cycles: string[] = [];
    const visit = (file: string, path: readonly string[]): void => {
      if (state.get(file) === 'done') return;
      if (state.get(file) === 'open') {
        cycles.push([...path.slice(path.indexOf(file)), file].join(' → '));
        return;
      }
      state.set(file, 'open');
      for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
      state.set(file, 'done');
    };
    for (const file of graph.keys()) visit(file, []);
    assert.deepEqual(cycles, []);
  });

  test('pure files have no IO, time, chance or asynchrony', () => {
    const impure: [string, RegExp][] = [
      ['node: module', /from\s+''/],
      ['timer', /\b(setTimeout|setInterval|setImmediate|queueMicrotask)\b/],
      ['clock', /\bDate\.now\b|\bnew Date\(\)|\bperformance\.now\b/],
      ['chance', /\bMath\.random\b|\bcrypto\./],
      ['process', /\bprocess\./],
      ['asynchrony', /\basync\b|\bawait\b/],
    ];
    const wrong: string[] = [];
    for (const [file, text] of sources) {
      if (!pure(file)) continue;
      if (importsOf(file, text).some((i) => i.spec.startsWith('node:')))
        wrong.push(`${file}: node: module`);
      const code = bare(text);
      for (const [what, pattern] of impure.slice(1))
        if (pattern.test(code)) wrong.push(`${file}: ${what}`);
    }
    assert.deepEqual(wrong, []);
  });

  test('no folder is called utils, common or helpers', () => {
    assert.deepEqual(
      files.filter((f) => /(^|\/)(utils?|common|helpers?)(\/|\.ts$)/.test(f)),
      [],
    );
  });

  test('files have one job: none is over 450 lines', () => {
    const long = [...sources]
      .filter(([f]) => !f.endsWith('.gen.ts') && !f.endsWith('.test.ts'))
      .map(([f, text]) => [f, text.split('\n').length] as const)
      .filter(([, lines]) => lines > 450);
    assert.deepEqual(long, []);
  });
});
