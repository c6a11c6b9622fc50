// Golden cases: testdata/NAME.yaml (Kubernetes objects) → testdata/NAME.json (what proxies are told, and what
// authors are told). `UPDATE_GOLDEN=1 node --test istiod-lite/translate` writes the JSON anew; read the diff.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import type { KubeObject } from '../../core/kube/index.ts';
import {
  dumpPolicy,
  dumpService,
  dumpWorkload,
  MeshState,
  type Policy,
  type Workload,
} from '../../core/model/index.ts';
import { ClusterState, type Kind, nothingTouched } from '../cluster/index.ts';
import { type MeshSettings, Translator } from './index.ts';

const dir = join(import.meta.dirname, 'testdata');

interface Case {
  readonly kind: 'Case';
  /** Test name; carries the row of the reference. */
  readonly title: string;
  readonly settings?: Partial<MeshSettings>;
  readonly revision?: string;
  /** Lists to keep in the golden file; all if absent. */
  readonly show?: readonly ('workloads' | 'services' | 'policies' | 'statuses')[];
}

const defaults: MeshSettings = {
  clusterId: 'Kubernetes',
  trustDomain: 'cluster.local',
  clusterDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  network: '',
};

function load(file: string): { about: Case; objects: KubeObject[] } {
  const text = readFileSync(join(dir, file), 'utf8');
  const [about, ...objects] = parseAllDocuments(text).map((d) => d.toJS() as unknown);
  return { about: about as Case, objects: objects as KubeObject[] };
}

function clusterOf({ about, objects }: ReturnType<typeof load>) {
  const settings = { ...defaults, ...about.settings };
  const cluster = new ClusterState(settings.rootNamespace, about.revision);
  const touched = nothingTouched();
  touched.policies = true;
  for (const o of objects) cluster.apply(o.kind as Kind, 'ADDED', o, touched);
  return { cluster, touched, translator: new Translator(settings) };
}

const showWorkload = (w: Workload): unknown => ({
  ...dumpWorkload(w),
  services: Object.fromEntries([...w.services].map(([k, p]) => [k, Object.fromEntries(p)])),
});

function translate(loaded: ReturnType<typeof load>): Record<string, unknown> {
  const { cluster, touched, translator } = clusterOf(loaded);
  const out = translator.translate(cluster, touched);
  const mesh = new MeshState();
  mesh.apply(out.policies ? { ...out, policies: out.policies } : out);
  const sorted = <T>(list: readonly T[]): T[] =>
    list.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  const all: Record<string, unknown> = {
    workloads: sorted(out.workloads.map(showWorkload)),
    services: sorted(
      out.services.map((s) => {
        const { endpoints: _, ...rest } = dumpService(mesh, s);
        return {
          ...rest,
          ports: s.ports.map((p) => `${p.servicePort}→${p.targetPort} ${p.appProtocol}`),
        };
      }),
    ),
    policies: sorted((out.policies ?? []).map((p: Policy) => dumpPolicy(p))),
    statuses: sorted(out.statuses),
  };
  const show = loaded.about.show ?? Object.keys(all);
  return Object.fromEntries(show.map((k) => [k, all[k]]));
}

const cases = readdirSync(dir).filter((f) => f.endsWith('.yaml'));

describe('translation', () => {
  for (const file of cases) {
    const loaded = load(file);
    test(loaded.about.title, () => {
      const golden = join(dir, file.replace(/\.yaml$/, '.json'));
      const made = `${JSON.stringify(translate(loaded), null, 2)}\n`;
      if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(golden, made);
      assert.deepEqual(JSON.parse(made), JSON.parse(readFileSync(golden, 'utf8')), file);
    });

    test(`${loaded.about.title}: whatever order the objects come in`, () => {
      const turned = { ...loaded, objects: loaded.objects.toReversed() };
      assert.deepEqual(translate(turned), translate(loaded));
    });
  }

  test('every golden file has its case', () => {
    const names = new Set(cases.map((f) => f.replace(/\.yaml$/, '')));
    const goldens = readdirSync(dir).filter((f) => f.endsWith('.json'));
    assert.deepEqual(
      goldens.filter((f) => !names.has(f.replace(/\.json$/, ''))),
      [],
    );
  });
});
