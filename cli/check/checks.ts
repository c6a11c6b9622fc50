// What commonly breaks an ambient mesh, judged from facts (control-plane.md 8.7, 10.1, 10.4). Pure.
import type { KubeObject } from '../../core/kube/index.ts';
import { type Fields, list, record, text } from '../install/fields.ts';
import { isOurs } from '../install/plan.ts';
import { podTrouble, rolloutOf } from '../install/rollout.ts';
import type { Facts } from './facts.ts';

export interface Finding {
  readonly level: 'ok' | 'warning' | 'error';
  readonly check: string;
  readonly message: string;
  /** What to do about it. */
  readonly hint?: string;
}

type Check = (f: Facts) => Finding[];
const ok = (check: string, message: string): Finding => ({ level: 'ok', check, message });
const warning = (check: string, message: string, hint: string): Finding => ({
  level: 'warning',
  check,
  message,
  hint,
});
const error = (check: string, message: string, hint: string): Finding => ({
  level: 'error',
  check,
  message,
  hint,
});

const some = (names: readonly string[]): string =>
  names.length > 5
    ? `${names.slice(0, 5).join(', ')} and ${names.length - 5} more`
    : names.join(', ');

export const oldestMinor = 30;
/** nftables with what the node agent's rules need. */
const oldestKernel = [5, 4] as const;

const version: Check = ({ version: v }) => {
  const minor = Number.parseInt(v.minor ?? '', 10);
  if (Number.isNaN(minor))
    return [warning('version', 'the server does not tell its version', 'it must be 1.30 or newer')];
  if (v.major !== '1' || minor < oldestMinor)
    return [
      error(
        'version',
        `Kubernetes is ${v.gitVersion}`,
        `1.${oldestMinor} or newer is needed: manifests use appArmorProfile`,
      ),
    ];
  return [ok('version', `Kubernetes is ${v.gitVersion}`)];
};

const rights: Check = ({ denied }) =>
  denied.length > 0
    ? [
        error(
          'rights',
          `you may not: ${denied.join(', ')}`,
          'install as cluster-admin, or let an administrator apply `ambientctl manifests generate`',
        ),
      ]
    : [ok('rights', 'you may create what is needed')];

const nodes: Check = ({ nodes: all }) => {
  if (all.length === 0)
    return [warning('nodes', 'there are no nodes', 'pods will wait until there are')];
  const out: Finding[] = [];
  const linux = all.filter(
    (n) => record(record(n['status'])['nodeInfo'])['operatingSystem'] !== 'windows',
  );
  const info = (n: KubeObject, what: string): string =>
    text(record(record(n['status'])['nodeInfo'])[what]);
  const other = all.filter((n) => !linux.includes(n)).map((n) => n.metadata.name);
  if (other.length > 0)
    out.push(warning('nodes', `not Linux: ${some(other)}`, 'their pods stay outside the mesh'));
  const oldKernels = linux.filter((n) => {
    const [major = 0, minor = 0] = info(n, 'kernelVersion')
      .split('.')
      .map((x) => Number.parseInt(x, 10));
    return (
      major > 0 &&
      (major < oldestKernel[0] || (major === oldestKernel[0] && minor < oldestKernel[1]))
    );
  });
  if (oldKernels.length > 0)
    out.push(
      error(
        'kernel',
        `older than ${oldestKernel.join('.')}: ${some(oldKernels.map((n) => `${n.metadata.name} (${info(n, 'kernelVersion')})`))}`,
        'capture needs nftables of a newer kernel',
      ),
    );
  const strange = linux.filter((n) => !/^(|amd64|arm64)$/.test(info(n, 'architecture')));
  if (strange.length > 0)
    out.push(
      error(
        'architecture',
        `neither amd64 nor arm64: ${some(strange.map((n) => n.metadata.name))}`,
        'the image has these two',
      ),
    );
  return out.length > 0
    ? out
    : [ok('nodes', `${linux.length} nodes, kernels and architectures fit`)];
};

const crds: Check = ({ crds: all }) => {
  const groups = /\.(gateway\.networking\.k8s\.io|networking\.istio\.io|security\.istio\.io)$/;
  const foreign = all.filter((c) => groups.test(c.metadata.name) && !isOurs(c));
  const stale = foreign.filter((c) => {
    const wanted = /^(tcp|tls)routes\.gateway/.test(c.metadata.name) ? 'v1alpha2' : 'v1';
    const versions = list(record(c['spec'])['versions']);
    return (
      /^(gateways|gatewayclasses|httproutes|grpcroutes|tcproutes|tlsroutes|authorizationpolicies|peerauthentications|serviceentries|destinationrules|virtualservices)\./.test(
        c.metadata.name,
      ) && !versions.some((v) => v['name'] === wanted && v['served'] === true)
    );
  });
  if (stale.length > 0)
    return [
      error(
        'kinds',
        `no version that istiod reads: ${some(stale.map((c) => c.metadata.name))}`,
        'update Gateway API (1.1 or newer) or Istio’s kinds',
      ),
    ];
  if (foreign.length > 0)
    return [ok('kinds', `${foreign.length} kinds are there already and stay as they are`)];
  return [ok('kinds', 'no kinds of somebody else')];
};

/** Without a kind, what was written in it is gone, and no mistake is said of what is written now. */
const ownKinds: Check = ({ crds: all, ownKinds: wanted }) => {
  const there = new Set(
    all.filter((c) => c.metadata.deletionTimestamp === undefined).map((c) => c.metadata.name),
  );
  const missing = wanted.filter((name) => !there.has(name));
  if (missing.length === 0) return [ok('kinds', `all ${wanted.length} are there`)];
  return [
    error(
      'kinds',
      `not there, and nothing of them in force: ${some(missing)}`,
      'run ambientctl install again; objects of a deleted kind are gone with it, apply them again too',
    ),
  ];
};

const otherMesh: Check = (f) => {
  const out: Finding[] = [];
  const istiod = f.deployments.find((d) => d.metadata.name === 'istiod');
  if (istiod && !isOurs(istiod))
    out.push(
      error(
        'other mesh',
        `Istio’s istiod is in namespace ${f.namespace}`,
        'see docs/migration.md; two control planes cannot share a namespace',
      ),
    );
  const cni = f.daemonSets.filter((d) => d.metadata.name === 'istio-cni-node');
  if (cni.length > 0)
    out.push(
      error(
        'other mesh',
        'the DaemonSet istio-cni-node runs',
        'two node agents would fight over the same pods: remove it first (docs/migration.md)',
      ),
    );
  const injected = f.namespaces
    .filter((n) => n.metadata.labels?.['istio-injection'] === 'enabled')
    .map((n) => n.metadata.name);
  if (injected.length > 0)
    out.push(
      warning(
        'other mesh',
        `namespaces with sidecars: ${some(injected)}`,
        'pods with a sidecar are not captured',
      ),
    );
  return out.length > 0 ? out : [ok('other mesh', 'none is here')];
};

const network: Check = (f) => {
  const out: Finding[] = [];
  const c = f.ciliumConfig;
  if (c?.['enable-bpf-masquerade'] === 'true')
    out.push(
      error(
        'cilium',
        'enable-bpf-masquerade is on',
        'probes of captured pods lose their address: set bpf.masquerade=false',
      ),
    );
  if (
    c &&
    c['kube-proxy-replacement'] !== 'false' &&
    c['bpf-lb-sock'] === 'true' &&
    c['bpf-lb-sock-hostns-only'] !== 'true'
  )
    out.push(
      error(
        'cilium',
        'socket load balancing reaches into pods',
        'ztunnel would see pods instead of services: set socketLB.hostNamespaceOnly=true',
      ),
    );
  const closed = f.networkPolicies.filter((p) => {
    const spec = record(p['spec']);
    const rules = list(spec['ingress']);
    const types = spec['policyTypes'];
    const ingress = Array.isArray(types) ? types.includes('Ingress') : true;
    return ingress && !isOurs(p) && !rules.some(opens);
  });
  if (closed.length > 0)
    out.push(
      warning(
        'network policies',
        `without TCP 15008: ${some(closed.map((p) => `${p.metadata.namespace}/${p.metadata.name}`))}`,
        'traffic between pods in the mesh arrives on TCP 15008; probes come from 169.254.7.127',
      ),
    );
  return out.length > 0 ? out : [ok('network', 'nothing that is known to break capture')];
};

function opens(rule: Fields): boolean {
  const ports = list(rule['ports']);
  return (
    ports.length === 0 ||
    ports.some((p) => {
      const from = p['port'];
      const to = p['endPort'] ?? from;
      return (
        p['protocol'] !== 'UDP' &&
        (from === undefined || (typeof from === 'number' && from <= 15_008 && 15_008 <= Number(to)))
      );
    })
  );
}

const platform: Check = (f) => {
  const out: Finding[] = [];
  const ids = f.nodes.map((n) => text(record(n['spec'])['providerID']));
  if (ids.some((id) => id.startsWith('gce://')) && f.quotas.length === 0)
    out.push(
      warning(
        'platform',
        'this is GKE',
        `system-node-critical pods outside kube-system need a ResourceQuota in ${f.namespace}`,
      ),
    );
  if (f.crds.some((c) => c.metadata.name === 'securitycontextconstraints.security.openshift.io'))
    out.push(
      warning(
        'platform',
        'this is OpenShift',
        'give the accounts ztunnel and node-agent the SCC privileged',
      ),
    );
  const home = f.namespaces.find((n) => n.metadata.name === f.namespace);
  const enforced = home?.metadata.labels?.['pod-security.kubernetes.io/enforce'];
  if (home && !isOurs(home) && enforced !== undefined && enforced !== 'privileged')
    out.push(
      error(
        'pod security',
        `namespace ${f.namespace} enforces ${enforced}`,
        `kubectl label --overwrite namespace ${f.namespace} pod-security.kubernetes.io/enforce=privileged`,
      ),
    );
  return out.length > 0 ? out : [ok('platform', 'nothing special to do')];
};

const unread: Check = (f) =>
  f.unread.map((u) => warning('reading', u, 'checks that need it say nothing'));

const isLoopback = (f: Facts): boolean =>
  f.daemonSets.some(
    (d) => d.metadata.annotations?.['sandbox.ambientlite.dev/driver'] === 'loopback',
  );

const programs: Check = (f) =>
  (['istiod', 'ztunnel', 'node-agent'] as const).map((name) => {
    const o = [...f.deployments, ...f.daemonSets].find(
      (d) => d.metadata.name === name && d.metadata.namespace === f.namespace,
    );
    if (!o && name === 'node-agent' && isLoopback(f))
      return ok(name, 'not needed: the sandbox captures by itself (driver loopback)');
    if (!o || !isOurs(o)) return error(name, 'is not installed', 'ambientctl install');
    const kind = name === 'istiod' ? 'Deployment' : 'DaemonSet';
    const state = rolloutOf({ ...o, kind });
    if (state.kind === 'ready') return ok(name, 'runs');
    const pods = f.pods.filter(
      (p) => p.metadata.namespace === f.namespace && p.metadata.labels?.['app'] === name,
    );
    const [why] = pods.flatMap((p) => {
      const trouble = podTrouble(p, []);
      return trouble === undefined ? [] : [`pod ${p.metadata.name}: ${trouble}`];
    });
    return error(
      name,
      state.why,
      why ?? `kubectl -n ${f.namespace} describe ${kind.toLowerCase()} ${name}`,
    );
  });

const roots: Check = (f) => {
  const have = new Set(f.rootMaps.map((m) => m.metadata.namespace));
  const inMesh = f.namespaces.filter(
    (n) => n.metadata.labels?.['istio.io/dataplane-mode'] === 'ambient',
  );
  const without = inMesh.map((n) => n.metadata.name).filter((n) => !have.has(n));
  return without.length > 0
    ? [
        error(
          'root certificate',
          `missing in: ${some(without)}`,
          'istiod writes ConfigMap istio-ca-root-cert: look at its log',
        ),
      ]
    : [ok('root certificate', `${have.size} namespaces have it`)];
};

const enrolment: Check = (f) => {
  const inMesh = new Set(
    f.namespaces
      .filter((n) => n.metadata.labels?.['istio.io/dataplane-mode'] === 'ambient')
      .map((n) => n.metadata.name),
  );
  const of = (value: string): KubeObject[] =>
    f.pods.filter((p) => p.metadata.annotations?.['ambient.istio.io/redirection'] === value);
  const pending = of('pending').map((p) => `${p.metadata.namespace}/${p.metadata.name}`);
  if (pending.length > 0)
    return [
      error(
        'pods',
        `wait for their proxy: ${some(pending)}`,
        'look at the logs of node-agent and ztunnel on their nodes',
      ),
    ];
  return [ok('pods', `${of('enabled').length} in the mesh, ${inMesh.size} namespaces enrolled`)];
};

export const beforeInstall: readonly Check[] = [
  version,
  rights,
  nodes,
  crds,
  otherMesh,
  network,
  platform,
  unread,
];
export const afterInstall: readonly Check[] = [
  version,
  nodes,
  ownKinds,
  programs,
  roots,
  enrolment,
  network,
  unread,
];

export const runChecks = (checks: readonly Check[], facts: Facts): Finding[] =>
  checks.flatMap((check) => check(facts));
