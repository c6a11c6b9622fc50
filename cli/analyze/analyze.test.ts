// One file for every code: its first lines say all messages that its objects give, no more and no less.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { analyze, type Message, reaches, suppressor } from './analyze.ts';
import { codes } from './codes.ts';
import { readObjects } from './read.ts';
import { Snapshot } from './snapshot.ts';

const folder = join(import.meta.dirname, 'testdata');
const files = readdirSync(folder).filter((f) => f.endsWith('.yaml'));
const settings = {
  clusterId: 'Kubernetes',
  trustDomain: 'cluster.local',
  clusterDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  network: '',
};

function messagesOf(text: string, file = 'x.yaml'): Message[] {
  const { loaded, bad } = readObjects(text, file, 'default');
  assert.deepEqual(bad, []);
  return analyze(new Snapshot(loaded, settings));
}

const short = (m: Message): string => `${m.code} ${m.origin} ${m.path}`.trim();

describe('analyze', () => {
  for (const file of files) {
    test(`${file.replace('.yaml', '')}: ${codes[file.replace('.yaml', '') as keyof typeof codes]?.name ?? 'no message'}`, () => {
      const text = readFileSync(join(folder, file), 'utf8');
      const head = text.split('\n').filter((l) => l.startsWith('# '));
      const wanted = head.map((l) => l.slice(2)).filter((l) => l !== 'nothing');
      assert.deepEqual(messagesOf(text).map(short).toSorted(), wanted.toSorted());
    });
  }

  test('every code has a file, and the file shows the code', () => {
    for (const code of Object.keys(codes)) {
      const text = readFileSync(join(folder, `${code}.yaml`), 'utf8');
      assert.match(text, new RegExp(`^# ${code} `, 'm'));
    }
  });

  test('a message names level, object, place, line, and what to do', () => {
    const [m] = messagesOf(readFileSync(join(folder, 'AMB0203.yaml'), 'utf8'), 'shop.yaml');
    assert.deepEqual(m, {
      code: 'AMB0203',
      name: 'EmptySelector',
      level: 'Error',
      origin: 'AuthorizationPolicy shop/p',
      kind: 'AuthorizationPolicy',
      namespace: 'shop',
      resource: 'p',
      path: 'spec.selector',
      message: 'the selector has no labels and selects no workload',
      help: codes.AMB0203.help,
      documentationUrl: 'docs/reference/analyze.md#amb0203',
      reference: 'shop.yaml:18',
    });
  });

  test('gravest first, then by object and place', () => {
    const text = files
      .filter((f) => f.startsWith('IST01'))
      .map((f) => readFileSync(join(folder, f), 'utf8'))
      .join('\n---\n');
    const levels = messagesOf(text).map((m) => m.level);
    const rank = { Error: 0, Warning: 1, Info: 2 };
    assert.deepEqual(
      levels,
      levels.toSorted((a, b) => rank[a] - rank[b]),
    );
  });

  const kinds = [
    'AuthorizationPolicy',
    'PeerAuthentication',
    'VirtualService',
    'DestinationRule',
    'ServiceEntry',
    'HTTPRoute',
    'Gateway',
    'NetworkPolicy',
    'Pod',
    'Service',
    'Deployment',
  ];
  const odd = ['null', '[]', '7', '{rules: 7, http: [7], selector: [], targetRefs: {}, ports: x}'];
  for (const kind of kinds) {
    test(`a ${kind} with a spec of any shape does not stop the analysis`, () => {
      for (const spec of odd) {
        messagesOf(
          `{apiVersion: x/v1, kind: ${kind}, metadata: {name: a, namespace: b}, spec: ${spec}}`,
        );
      }
    });
  }

  const fits: [string, boolean][] = [
    ['IST0118=Service shop/web', true],
    ['IST0118=Service web.shop', true],
    ['IST0118=Service *', true],
    ['IST0118=*/web', true],
    ['IST0118=Service shop/w', false],
    ['IST0102=Service shop/web', false],
  ];
  const [sample] = messagesOf(readFileSync(join(folder, 'IST0118.yaml'), 'utf8'));
  for (const [rule, hidden] of fits) {
    test(`suppress ${rule}: ${hidden ? 'hidden' : 'shown'}`, () => {
      assert.ok(sample);
      assert.equal(suppressor([rule])(sample), hidden);
    });
  }
  test('a suppression without a code is refused', () =>
    assert.throws(() => suppressor(['Service *']), /CODE=RESOURCE/));

  test('thresholds: a level reaches itself and those below', () => {
    assert.ok(reaches('Error', 'Info') && reaches('Info', 'Info') && !reaches('Info', 'Warning'));
  });

  test('text that is no YAML, and what is no object, are named', () => {
    const { bad } = readObjects('kind: Pod\n---\na: [\n', 'x.yaml', 'default');
    assert.equal(bad.length, 2);
    assert.match(bad[0]?.message ?? '', /needs apiVersion, kind and metadata\.name \(line 1\)/);
  });
});
