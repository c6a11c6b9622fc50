// The image without an engine to build it: exactly what the Dockerfile copies, with the packages of production alone, is
// put into a folder, and every program starts there.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makeSbom } from '../scripts/sbom.ts';

const root = join(import.meta.dirname, '..');
const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8');
const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '));

/** What the last stage copies from here. */
const copied = [...last.matchAll(/^COPY (?!--)(.+)$/gm)].flatMap((m) =>
  (m[1] ?? '').split(' ').slice(0, -1),
);

interface Component {
  readonly name: string;
  readonly licenses?: readonly object[];
}
const { components } = makeSbom() as { components: readonly Component[] };

describe('the image', () => {
  let app: string;
  before(() => {
    app = mkdtempSync(join(tmpdir(), 'ambient-image-'));
    const ignored = (path: string): boolean => /\.test\.ts$|[/\\]testkit\.ts$/.test(path);
    for (const name of copied)
      cpSync(join(root, name), join(app, name), { recursive: true, filter: (p) => !ignored(p) });
    for (const { name } of components) {
      const from = join(root, 'node_modules', name);
      const to = join(app, 'node_modules', name);
      if (!existsSync(from)) continue;
      mkdirSync(dirname(to), { recursive: true });
      if (!existsSync(to)) symlinkSync(from, to);
    }
  });
  after(() => rmSync(app, { recursive: true, force: true }));

  const run = (args: readonly string[], env: Record<string, string> = {}) => {
    const flags = ['--preserve-symlinks', ...args];
    const { status, stdout, stderr } = spawnSync(process.execPath, flags, {
      cwd: app,
      env: { PATH: process.env['PATH'], HOME: app, NODE_ENV: 'production', ...env },
      encoding: 'utf8',
      timeout: 30_000,
      maxBuffer: 64 << 20,
    });
    return { status, text: stdout + stderr };
  };

  test('has every program', () => {
    const programs = globSync('*/main.ts', { cwd: root }).map(dirname);
    assert.ok(programs.length >= 6);
    assert.deepEqual(
      programs.filter((p) => !copied.includes(p)),
      [],
    );
    assert.deepEqual(
      copied.filter((c) => !existsSync(join(root, c))),
      [],
    );
  });

  const bad: [string, Record<string, string>, RegExp][] = [
    ['istiod-lite', { KUBECONFIG: '/nonexistent' }, /cannot read kubeconfig/],
    ['ztunnel', { PROXY_MODE: 'x' }, /bad configuration.*PROXY_MODE/],
    ['waypoint', { LOG_FORMAT: 'x' }, /bad configuration.*LOG_FORMAT/],
    ['node-agent', {}, /bad configuration.*NODE_NAME/],
  ];
  for (const [program, env, says] of bad) {
    test(`${program} starts, and says what is wrong with ${Object.keys(env).join() || 'nothing'}`, () => {
      const { status, text } = run([`${program}/main.ts`], env);
      assert.match(text, says);
      assert.equal(status, 1, text);
    });
  }

  test('the command line works, with the manifests beside it', () => {
    assert.match(run(['cli/main.ts', '--help']).text, /Usage: ambientctl/);
    const { status, text } = run(['cli/main.ts', 'manifests', 'generate', '-o', 'json']);
    assert.equal(status, 0, text);
    assert.ok((JSON.parse(text) as unknown[]).length > 20);
  });

  test('the list of its packages names a licence for each', () => {
    assert.ok(components.length > 10);
    assert.deepEqual(
      components.filter((c) => c.licenses === undefined).map((c) => basename(c.name)),
      [],
    );
  });
});
