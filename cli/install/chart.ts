// The Helm chart of the same objects: each value's place holds `.Values.…`, the namespace is the release's. Two forms of
// template alone are written, `toJson` and `if`, so that what Helm makes of it can be told without Helm. Pure.
import { stringify } from 'yaml';
import type { KubeObject } from '../../core/kube/index.ts';
import { type Source, writtenNamespace } from './render.ts';
import { slotsOf, valueTable, type Values } from './values.ts';

const yaml = (o: unknown): string => stringify(o, { aliasDuplicateObjects: false, lineWidth: 0 });

const mark = (name: string): string => `@@${name}@@`;

function template(objects: readonly KubeObject[]): string {
  const marked = structuredClone([...objects]);
  for (const name of Object.keys(valueTable))
    for (const slot of slotsOf(name, marked)) slot.set(mark(name));
  return marked
    .map((o) =>
      yaml(o)
        .replaceAll('{{', '{{ "{{" }}')
        .replaceAll(/"?@@([\w.]+)@@"?/g, '{{ .Values.$1 | toJson }}')
        .replaceAll(writtenNamespace, '{{ .Release.Namespace }}'),
    )
    .join('---\n');
}

function valuesFile(values: Values): string {
  const lines = ['# Written by scripts/gen-manifests.ts from cli/install/values.ts. Do not edit.'];
  const done = new Set<string>();
  for (const [name, { help }] of Object.entries(valueTable)) {
    const [group = '', inner] = name.split('.');
    if (inner !== undefined && !done.has(group)) lines.push(`${group}:`);
    done.add(group);
    const lead = inner === undefined ? '' : '  ';
    lines.push(`${lead}# ${help}`, `${lead}${inner ?? group}: ${JSON.stringify(values.get(name))}`);
  }
  return `${lines.join('\n')}\n`;
}

/** File name in the chart → text. The namespace is made by `helm install --create-namespace`. */
export function renderChart(source: Source, values: Values, version: string): Map<string, string> {
  const own = { apiVersion: 'v2', name: 'ambient-lite', type: 'application' };
  const description = 'An ambient service mesh: mutual TLS between services without sidecars.';
  const files = new Map([
    ['Chart.yaml', yaml({ ...own, version, appVersion: version, description })],
    ['values.yaml', valuesFile(values)],
    ['crds/crds.yaml', source.crds.map(yaml).join('---\n')],
    ['templates/mesh.yaml', template(source.base.filter((o) => o.kind !== 'Namespace'))],
  ]);
  for (const [name, objects] of source.extras) {
    const text = `{{- if .Values.${name} }}\n${template(objects)}{{- end }}\n`;
    files.set(`templates/${name}.yaml`, text);
  }
  return files;
}
