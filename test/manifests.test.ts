// What is installed agrees with the code that runs, and the three ways of installing agree with each other.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import {
  defaultValues,
  readSource,
  readValues,
  renderChart,
  renderObjects,
  type Values,
  valueTable,
} from '../cli/index.ts';
import type { KubeObject } from '../core/kube/index.ts';
import { packageVersion } from '../core/runtime/index.ts';
import { readConfig as readIstiodConfig } from '../istiod-lite/index.ts';
import { readConfig as readAgentConfig } from '../node-agent/index.ts';
import { crdsAreFresh } from '../scripts/gen-crds.ts';
import { staleChart } from '../scripts/gen-manifests.ts';
import { readConfig as readWaypointConfig } from '../waypoint/index.ts';
import { readConfig as readZtunnelConfig } from '../ztunnel/index.ts';

const root = join(import.meta.dirname, '..');
const source = readSource();
const defaults = defaultValues(source);
const everything = readValues(
  defaults,
  [],
  ['monitoring=true', 'networkPolicies=true', 'nodeTaint=true'],
);
const objects = renderObjects(source, everything, 'istio-system');
const text = (file: string): string => readFileSync(join(root, file), 'utf8');

interface Container {
  readonly name: string;
  readonly command: readonly string[];
  readonly image: string;
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly readinessProbe?: { readonly httpGet: { readonly path: string; readonly port: number } };
  readonly resources: { readonly requests: Record<string, string> };
  readonly securityContext: {
    readonly readOnlyRootFilesystem?: boolean;
    readonly privileged?: boolean;
    readonly runAsNonRoot?: boolean;
    readonly capabilities: { readonly drop: readonly string[]; readonly add?: readonly string[] };
  };
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
}
interface PodTemplate {
  readonly metadata: {
    readonly labels?: Record<string, string>;
    readonly annotations?: Record<string, string>;
  };
  readonly spec: {
    readonly serviceAccountName?: string;
    readonly terminationGracePeriodSeconds?: number;
    readonly containers: readonly Container[];
    readonly volumes?: readonly { readonly name: string }[];
  };
}

const templates = new Map(
  [...objects, parse(text('manifests/waypoint/deployment.yaml')) as KubeObject]
    .filter((o) => o.kind === 'Deployment' || o.kind === 'DaemonSet')
    .map((o) => [o.metadata.name, (o['spec'] as { template: PodTemplate }).template]),
);
const podOf = (name: string): PodTemplate['spec'] => {
  const t = templates.get(name);
  assert.ok(t, name);
  return t.spec;
};
const containerOf = (name: string): Container => {
  const [c] = podOf(name).containers;
  assert.ok(c, name);
  return c;
};
const envOf = (name: string): Record<string, string> =>
  Object.fromEntries(containerOf(name).env.map((e) => [e.name, e.value ?? 'from-the-pod']));

function value<T>(config: { ok: true; value: T } | { ok: false }): T {
  assert.ok(config.ok, JSON.stringify(config));
  return config.value;
}
const istiod = value(readIstiodConfig(envOf('istiod')));
const agent = value(readAgentConfig(envOf('node-agent')).config);
const address = { INSTANCE_IP: '10.0.0.1' };
const ztunnel = value(readZtunnelConfig({ ...envOf('ztunnel'), ...address }).config);
const waypoint = value(readWaypointConfig({ ...envOf('waypoint'), ...address }).config);

test('the programs take their environment as it is set', () => {
  assert.equal(istiod.clusterId, 'Kubernetes');
  assert.equal(ztunnel.trustDomain, istiod.trustDomain);
  assert.equal(waypoint.trustDomain, istiod.trustDomain);
  assert.equal(agent.zdsPath, '/var/run/ztunnel/ztunnel.sock');
});

test('ports are the ones that the programs bind, and probes ask there', () => {
  const ports = (name: string): number[] =>
    (containerOf(name).ports ?? []).map((p) => p.containerPort).toSorted((a, b) => a - b);
  assert.deepEqual(ports('istiod'), [istiod.httpPort, istiod.xdsPort, istiod.monitoringPort]);
  assert.deepEqual(ports('ztunnel'), [ztunnel.stats.port, ztunnel.readiness.port]);
  assert.deepEqual(ports('node-agent'), [agent.readiness.port]);
  for (const name of templates.keys()) {
    const probe = containerOf(name).readinessProbe?.httpGet;
    assert.ok(probe && ports(name).includes(probe.port), name);
  }
  const scraped = (name: string): string | undefined =>
    templates.get(name)?.metadata.annotations?.['prometheus.io/port'];
  assert.equal(scraped('istiod'), String(istiod.monitoringPort));
  assert.equal(scraped('ztunnel'), String(ztunnel.stats.port));
});

test('services lead to ports that pods have', () => {
  const services = objects.filter((o) => o.kind === 'Service');
  assert.deepEqual(
    services.map((s) => s.metadata.name),
    ['istiod'],
  );
  for (const s of services) {
    const { selector, ports } = s['spec'] as {
      selector: Record<string, string>;
      ports: { targetPort: number }[];
    };
    const labels = templates.get(s.metadata.name)?.metadata.labels ?? {};
    for (const [k, v] of Object.entries(selector)) assert.equal(labels[k], v);
    const open = containerOf(s.metadata.name).ports?.map((p) => p.containerPort) ?? [];
    for (const { targetPort } of ports) assert.ok(open.includes(targetPort), `${targetPort}`);
  }
  for (const name of ['ztunnel', 'waypoint'])
    for (const variable of ['XDS_ADDRESS', 'CA_ADDRESS'])
      assert.equal(envOf(name)[variable], `https://istiod.istio-system.svc:${istiod.xdsPort}`);
});

test('accounts, audience and root certificate are the ones that istiod expects', () => {
  const account = podOf('ztunnel').serviceAccountName;
  assert.deepEqual(istiod.trustedNodeAccounts, [`istio-system/${account}`]);
  for (const name of ['ztunnel', 'waypoint']) {
    const volumes = JSON.stringify(podOf(name).volumes);
    assert.match(volumes, new RegExp(`"audience":"${istiod.tokenAudiences[0]}"`));
    assert.match(volumes, /"configMap":\{"name":"istio-ca-root-cert"\}/);
  }
  const named = text('istiod-lite/app.ts') + text('istiod-lite/kube/leader.ts');
  for (const name of ['istio-ca-root-cert', 'istio-ca-crl', 'istiod-lite-leader'])
    assert.ok(named.includes(`'${name}'`) && JSON.stringify(objects).includes(`"${name}"`), name);
});

test('files that variables name are mounted', () => {
  for (const [name, t] of templates) {
    const mounts = (containerOf(name).volumeMounts ?? []).map((m) => m.mountPath);
    for (const m of containerOf(name).volumeMounts ?? [])
      assert.ok(
        t.spec.volumes?.some((v) => v.name === m.name),
        `${name}: ${m.name}`,
      );
    for (const [variable, path] of Object.entries(envOf(name)))
      if (path.startsWith('/var/run/'))
        assert.ok(
          mounts.some((m) => path.startsWith(m)),
          `${name}: ${variable}=${path}`,
        );
  }
});

test('no program has more of the node than it needs', () => {
  const wanted: Record<string, readonly string[]> = {
    istiod: [],
    waypoint: [],
    ztunnel: ['NET_ADMIN', 'SYS_ADMIN', 'NET_RAW'],
    'node-agent': ['NET_ADMIN', 'SYS_ADMIN', 'SYS_PTRACE'],
  };
  assert.deepEqual([...templates.keys()].toSorted(), Object.keys(wanted).toSorted());
  for (const [name, add] of Object.entries(wanted)) {
    const { securityContext: s, resources } = containerOf(name);
    assert.deepEqual(s.capabilities.drop, ['ALL'], name);
    assert.deepEqual(s.capabilities.add ?? [], add, name);
    assert.equal(s.readOnlyRootFilesystem, true, name);
    assert.notEqual(s.privileged, true, name);
    if (add.length === 0) assert.equal(s.runAsNonRoot, true, name);
    assert.ok(resources.requests['memory'] && resources.requests['cpu'], name);
  }
});

test('a program that drains is given the time it was told', () => {
  for (const name of ['ztunnel', 'waypoint'])
    assert.equal(
      envOf(name)['TERMINATION_GRACE_PERIOD_SECONDS'],
      String(podOf(name).terminationGracePeriodSeconds),
    );
});

test('node-agent’s rights are what its code asks for', () => {
  // Its one patch names the subresource.
  assert.match(text('node-agent/agent.ts'), /subresource: 'status'/);
  const code = globSync('node-agent/*.ts', { cwd: root }).map(text).join('\n');
  const asked = new Set<string>();
  for (const [, method, what] of code.matchAll(/kube\.(\w+)\(resources\.(\w+)/g))
    for (const verb of method === 'watch' ? ['list', 'watch'] : [method])
      asked.add(`${verb} ${what}${method === 'patch' ? '/status' : ''}`);
  const role = objects.find((o) => o.kind === 'ClusterRole' && o.metadata.name === 'node-agent');
  const rules = role?.['rules'] as { resources: string[]; verbs: string[] }[];
  const granted = rules.flatMap((r) => r.verbs.flatMap((v) => r.resources.map((x) => `${v} ${x}`)));
  assert.deepEqual(granted.toSorted(), [...asked].toSorted());
});

test('alerts and dashboard ask for metrics that are there', () => {
  const known = new Set(
    [...text('docs/reference/metrics.md').matchAll(/^\| `(\w+)`/gm)].map((m) => m[1]),
  );
  const asked = JSON.stringify(source.extras.get('monitoring'));
  const names = [...asked.matchAll(/\b(?:istio|ambient|pilot|citadel|workload_manager)_\w+/g)].map(
    (m) => m[0],
  );
  assert.ok(names.length > 10);
  assert.deepEqual(
    names.filter((n) => !known.has(n)),
    [],
  );
  for (const [, page] of asked.matchAll(/runbook: (\S+?)(?=\\n)/g)) text(page ?? '');
});

/** What Helm makes of a template, which has two forms alone; throws for any other. */
function helm(template: string, values: Values, namespace: string): string {
  const [, name, inner] =
    /^\{\{- if \.Values\.(\w+) \}\}\n([^]*)\{\{- end \}\}\n$/.exec(template) ?? [];
  if (name !== undefined && values.get(name) !== true) return '';
  return (inner ?? template).replaceAll(/\{\{ (.*?) \}\}/g, (_, form: string) => {
    if (form === '"{{"') return '{{';
    if (form === '.Release.Namespace') return namespace;
    const [, key = ''] = /^\.Values\.([\w.]+) \| toJson$/.exec(form) ?? [];
    assert.ok(values.has(key), form);
    return JSON.stringify(values.get(key));
  });
}
const read = (yaml: string): KubeObject[] =>
  parseAllDocuments(yaml).flatMap((d) => (d.toJS() as KubeObject | null) ?? []);
const byName = (all: readonly KubeObject[]): Map<string, KubeObject> =>
  new Map(all.map((o) => [`${o.kind} ${o.metadata.name}`, o]));

test('kinds of our own are what the control plane reads', () =>
  assert.ok(crdsAreFresh(), 'run npm run gen'));
test('the chart is fresh', () => assert.deepEqual(staleChart(), [], 'run npm run gen'));

for (const [what, values, namespace] of [
  ['defaults', defaults, 'istio-system'],
  [
    'other values',
    readValues(everything, [], ['istiod.replicas=5', 'image=a"b', 'network=true']),
    'mesh',
  ],
] as const) {
  test(`the chart is what manifests generate prints: ${what}`, () => {
    const files = renderChart(source, defaults, packageVersion());
    const chart = [...files]
      .filter(([file]) => file.startsWith('templates/'))
      .flatMap(([, template]) => read(helm(template, values, namespace)));
    const crds = read(files.get('crds/crds.yaml') ?? '');
    const printed = renderObjects(source, values, namespace).filter((o) => o.kind !== 'Namespace');
    assert.deepEqual(byName([...crds, ...chart]), byName(printed));
    const shown = parse(files.get('values.yaml') ?? '') as object;
    assert.deepEqual(readValues(defaults, [shown], []), defaults);
    assert.ok(Object.keys(valueTable).length > 10);
  });
}

const kubectl = (() => {
  try {
    execFileSync('kubectl', ['version', '--client'], { stdio: 'ignore', timeout: 20_000 });
    return false;
  } catch {
    return 'there is no kubectl';
  }
})();
test('kustomize makes the same of the folders', { skip: kubectl }, () => {
  const folders = [
    'crds',
    'base',
    'extras/network-policies',
    'extras/monitoring',
    'extras/node-taint',
  ];
  const made = folders.flatMap((f) =>
    read(
      execFileSync('kubectl', ['kustomize', join(root, 'manifests', f)], {
        encoding: 'utf8',
        timeout: 30_000,
        maxBuffer: 64 << 20,
      }),
    ),
  );
  assert.deepEqual(byName(made), byName(objects));
});
