// The small pure parts of the CLI: references, tables, completion, demo runner.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Command } from 'commander';
import { complete } from './commands/completion.ts';
import { runStory } from './demo/runner.ts';
import { KubeError } from '../core/kube/index.ts';
import { noKubeconfig } from './connect.ts';
import { errorLine } from './errors.ts';
import { printTable, readFormat } from './output.ts';
import { buildProgram } from './program.ts';
import { parseReference } from './refs.ts';
import { readManifests } from './apply.ts';

const references: [string, ReturnType<typeof parseReference>][] = [
  ['pod/a', { kind: 'pod', name: 'a', namespace: 'ns' }],
  ['deploy/a.shop', { kind: 'deployment', name: 'a', namespace: 'shop' }],
  ['SVC/a', { kind: 'service', name: 'a', namespace: 'ns' }],
  ['ds/z.istio-system', { kind: 'daemonset', name: 'z', namespace: 'istio-system' }],
  ['bare', { kind: 'any', name: 'bare', namespace: 'ns' }],
];
for (const [text, expected] of references) {
  test(`reference ${text}`, () => assert.deepEqual(parseReference(text, 'ns'), expected));
}
for (const text of ['job/a', 'pod/', 'pod/a/b', '/a']) {
  test(`no reference: ${text}`, () => assert.throws(() => parseReference(text, 'ns')));
}

test('no kubeconfig: what is missing is named, and what to do', () => {
  const said = (env: Record<string, string>, ...files: string[]): string =>
    noKubeconfig(env, (file) => files.includes(file)) ?? '';
  const fresh = { HOME: '/h' };
  assert.match(said(fresh), /no kubeconfig and no sandbox.*-c.*ambientctl sandbox up --detach/);
  assert.equal(said(fresh, '/h/.kube/config'), '');
  assert.equal(said(fresh, '/var/run/secrets/kubernetes.io/serviceaccount/token'), '');
  const both = { HOME: '/h', KUBECONFIG: '/a:/b' };
  assert.equal(said(both, '/a', '/b'), '');
  assert.match(said(both, '/a', '/h/.kube/config'), /KUBECONFIG names \/b, .*unset/);
});

test('an error of the command line says where help is; an unreachable server, what to look at', async () => {
  const program = await buildProgram();
  let text = '';
  const say = (c: Command): void => {
    c.configureOutput({
      writeErr: (part) => {
        text += part;
      },
    });
    c.commands.forEach(say);
  };
  say(program);
  await assert.rejects(
    program.parseAsync(['node', 'ambientctl', 'waypoint', 'list', '--nonsense']),
  );
  assert.match(
    text,
    /^Error: unknown option '--nonsense'\nsee: ambientctl waypoint list --help\n$/,
  );
  const refused = new KubeError(
    0,
    'Unreachable',
    'cannot reach the API server at https://h:1: ECONNREFUSED',
  );
  assert.match(errorLine(refused), /^Error: cannot reach [^\n]*\nis it running\?.*sandbox status/);
  assert.equal(errorLine(new Error('x')), 'Error: x\n');
});

test('tables have no trailing spaces and align', () => {
  assert.equal(
    printTable(
      [
        ['A', 'B'],
        ['long', ''],
      ],
      1,
    ),
    'A    B\nlong\n',
  );
});

test('an unknown output format is refused in istioctl’s words', () => {
  assert.throws(() => readFormat('xml'), /output format "xml" not supported/);
});

test('completion: sub-commands, flags, prefixes', async () => {
  const program = await buildProgram();
  assert.ok(complete(program, ['']).includes('ztunnel-config'));
  assert.deepEqual(complete(program, ['sandbox', 'st']), ['status']);
  assert.ok(complete(program, ['zc', 'workloads', '--']).includes('--output'));
  assert.ok(!complete(program, ['']).includes('__complete'));
});

test('every command is there by its name and aliases alone, as in the whole tree', async () => {
  const whole = await buildProgram();
  const outline = (c: Command): unknown => [
    c.name(),
    c.aliases(),
    c.options.map((o) => o.flags),
    c.commands.map(outline),
  ];
  for (const command of whole.commands) {
    for (const name of [command.name(), ...command.aliases()]) {
      const alone = await buildProgram(['-n', 'shop', name]);
      const found = alone.commands.find((c) => c.name() === command.name());
      assert.deepEqual(found && outline(found), outline(command), name);
      if (/^(completion|__complete)$/.test(name)) continue;
      assert.ok(alone.commands.length < whole.commands.length, name);
    }
  }
  const unknown = await buildProgram(['frobnicate']);
  assert.equal(unknown.commands.length, whole.commands.length);
});

test('every command has an example or sub-commands', async () => {
  const without: string[] = [];
  const visit = (c: Command, path: string): void => {
    const name = `${path} ${c.name()}`.trim();
    if (c.commands.length > 0) for (const inner of c.commands) visit(inner, name);
    else if (!c.name().startsWith('__')) {
      let text = '';
      c.configureOutput({ writeOut: (part) => void (text += part) });
      c.outputHelp();
      if (!text.includes('Example')) without.push(name);
    }
  };
  visit(await buildProgram(), '');
  assert.deepEqual(without, []);
});

test('manifests: what is no object is named', () => {
  assert.throws(() => readManifests('kind: Pod', 'x.yaml'), /x\.yaml: an object needs/);
  assert.throws(() => readManifests('a: [', 'x.yaml'), /x\.yaml: /);
  assert.deepEqual(readManifests('---\n---\n', 'x.yaml'), []);
});

test('a story stops at its first failed step and says why', async () => {
  const lines: string[] = [];
  const step = (id: string, error?: string) => ({
    id,
    title: id,
    run: (note: (line: string) => void) => {
      note(`evidence of ${id}`);
      return error === undefined ? Promise.resolve() : Promise.reject(new Error(error));
    },
  });
  const screen = { line: (text: string) => void lines.push(text), colour: false };
  const result = await runStory([step('a'), step('b', 'broken'), step('c')], () => 'd', screen);
  assert.equal(result.ok, false);
  assert.deepEqual(
    result.steps.map((s) => [s.id, s.ok, s.error]),
    [
      ['a', true, undefined],
      ['b', false, 'broken'],
    ],
  );
  assert.deepEqual(result.steps[0]?.evidence, ['evidence of a']);
});
