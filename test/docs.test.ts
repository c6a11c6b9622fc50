// Documentation and code agree: generated references are fresh, links lead somewhere, the manifests use
// the ports and variables that the programs know.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { configVariables as istiodVariables } from '../istiod-lite/index.ts';
import { analyzeTexts, renderHelp, valueTable } from '../cli/index.ts';
import { staleDocs } from '../scripts/gen-docs.ts';
import { readConfig as readWaypointConfig } from '../waypoint/index.ts';
import { readConfig as readAgentConfig } from '../node-agent/index.ts';
import { readConfig as readZtunnelConfig } from '../ztunnel/index.ts';

const root = join(import.meta.dirname, '..');

test('docs/reference says what the code says', async () => {
  assert.deepEqual(await staleDocs(), [], 'run npm run gen');
});

test('docs/tools.md: every command prints what is written, and ends with that code', async () => {
  const text = readFileSync(join(root, 'docs/tools.md'), 'utf8');
  const examples = [
    ...text.matchAll(/^```console\n\$ ambientctl (.*)\n([\s\S]*?)# exit (\d+)\n```$/gm),
  ];
  assert.ok(examples.length >= 5);
  const run = promisify(execFile);
  await Promise.all(
    examples.map(async ([, line = '', out, code]) => {
      const program = [join(root, 'cli/main.ts'), ...line.split(' ')];
      const ran = await run(process.execPath, program, { cwd: root }).then(
        (r) => ({ stdout: r.stdout, code: 0 }),
        (e: unknown) => e as { stdout: string; code: number },
      );
      assert.equal(ran.stdout, out, line);
      assert.equal(ran.code, Number(code), line);
    }),
  );
});

test('links between documents lead somewhere', () => {
  const broken: string[] = [];
  for (const file of globSync('{*.md,docs/**/*.md,samples/**/*.md,bench/*.md}', { cwd: root })) {
    const text = readFileSync(join(root, file), 'utf8');
    for (const m of text.matchAll(/\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)/g)) {
      if (!existsSync(join(root, dirname(file), m[1] ?? ''))) broken.push(`${file} → ${m[1]}`);
    }
  }
  assert.deepEqual(broken, []);
});

test('commands that the README names exist in package.json', () => {
  const scripts = (
    JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object }
  ).scripts;
  const text = readFileSync(join(root, 'README.md'), 'utf8');
  for (const m of text.matchAll(/npm (?:run (?:-s )?)([a-z:]+)/g)) {
    assert.ok(Object.hasOwn(scripts, m[1] ?? ''), `npm run ${m[1]}`);
  }
});

interface Container {
  readonly command?: readonly string[];
  readonly env?: readonly { readonly name: string }[];
}

function containers(value: unknown, found: Container[] = []): Container[] {
  if (Array.isArray(value)) for (const v of value) containers(v, found);
  else if (typeof value === 'object' && value !== null) {
    if ('command' in value && 'env' in value) found.push(value as Container);
    for (const v of Object.values(value)) containers(v, found);
  }
  return found;
}

test('manifests set only variables that the programs read', () => {
  const known = new Map([
    ['ztunnel/main.ts', new Set(readZtunnelConfig({}).asked.map((v) => v.name))],
    ['waypoint/main.ts', new Set(readWaypointConfig({}).asked.map((v) => v.name))],
    ['node-agent/main.ts', new Set(readAgentConfig({}).asked.map((v) => v.name))],
    ['istiod-lite/main.ts', new Set(istiodVariables().map((v) => v.name))],
  ]);
  // Facts about the pod that are there for people who look into it, and what glibc reads.
  const informative = new Set([
    'POD_NAME',
    'POD_NAMESPACE',
    'SERVICE_ACCOUNT',
    'INSTANCE_IP',
    'MALLOC_ARENA_MAX',
  ]);
  const wrong: string[] = [];
  for (const file of globSync('manifests/{base,sandbox,waypoint}/*.yaml', { cwd: root })) {
    const documents = parseAllDocuments(readFileSync(join(root, file), 'utf8'));
    for (const c of containers(documents.map((d) => d.toJS() as unknown))) {
      const program = c.command?.at(-1) ?? '';
      for (const { name } of c.env ?? []) {
        if (!known.get(program)?.has(name) && !informative.has(name))
          wrong.push(`${file}: ${program} ${name}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

const pages = [
  'docs/policy.md',
  'docs/verify.md',
  'docs/install.md',
  'docs/troubleshooting.md',
  'docs/migration.md',
];

test('commands that the pages name exist, with their flags', async () => {
  const sections = new Map((await renderHelp()).map((h) => [h.name, h.text]));
  let seen = 0;
  for (const page of pages) {
    const text = readFileSync(join(root, page), 'utf8');
    for (const [line] of text.matchAll(/ambientctl [^`\n]+/g)) {
      const words = line.trim().split(' ');
      const depth = [3, 2].find((n) => sections.has(words.slice(0, n).join(' ')));
      const help = sections.get(words.slice(0, depth ?? 0).join(' '));
      assert.ok(help, `${page}: ${line}`);
      for (const flag of words.filter((w) => w.startsWith('-')))
        assert.match(help, new RegExp(`(^|[ ,])${flag}[ ,]`, 'm'), `${page}: ${line}: ${flag}`);
      seen++;
    }
  }
  assert.ok(seen > 6);
});

test('values that pages set exist', () => {
  const set = globSync('docs/*.md', { cwd: root }).flatMap((page) =>
    [...readFileSync(join(root, page), 'utf8').matchAll(/--set ([\w.]+)=/g)].map((m) => m[1] ?? ''),
  );
  assert.ok(set.length > 4);
  assert.deepEqual(
    set.filter((name) => !Object.hasOwn(valueTable, name)),
    [],
  );
});

test('the YAML of the page on policy says nothing wrong about the bookstore', async () => {
  const page = readFileSync(join(root, 'docs/policy.md'), 'utf8');
  const blocks = [...page.matchAll(/```yaml\n([^]*?)```/g)].map((m) => m[1] ?? '');
  assert.ok(blocks.length >= 4);
  const meshed = `
apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {istio.io/dataplane-mode: ambient}}
`;
  const samples = ['bookinfo/platform/kube/bookinfo.yaml', 'curl/curl.yaml'].map((f) =>
    readFileSync(join(root, 'samples', f), 'utf8'),
  );
  assert.deepEqual(await analyzeTexts([meshed, ...samples, ...blocks]), []);
  const wrong = blocks.map((b) => b.replace('sa/curl', 'sa/crul'));
  assert.deepEqual(await analyzeTexts([meshed, ...samples, ...wrong]), [
    'AMB0204 AuthorizationPolicy default/productpage spec.rules[0].from[0].source.principals[0]',
  ]);
});
