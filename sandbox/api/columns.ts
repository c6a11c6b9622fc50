// The columns `kubectl get` shows for built-in kinds, after Name. Pure: time is an argument.
import type { KubeObject } from '../contract.ts';
import { at, list, number, record, text } from './json.ts';

export type Cell = string | number | boolean | null;

export interface Column {
  readonly name: string;
  readonly type: string;
  readonly format?: string;
  /** 1 = only with `-o wide`. */
  readonly priority?: number;
  cell(object: KubeObject, nowMs: number): Cell;
}

/** `2d5h`, `4m32s`: the two largest units while small, one when large. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return two(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return two(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  if (days < 8) return two(days, 'd', hours % 24, 'h');
  if (days < 730) return `${days}d`;
  const years = Math.floor(days / 365);
  return years < 8 ? two(years, 'y', days % 365, 'd') : `${years}y`;
}

function two(a: number, unit: string, b: number, smaller: string): string {
  return b === 0 ? `${a}${unit}` : `${a}${unit}${b}${smaller}`;
}

export function age(time: unknown, nowMs: number): string {
  const ms = typeof time === 'string' ? Date.parse(time) : Number.NaN;
  return Number.isNaN(ms) ? '<unknown>' : duration(nowMs - ms);
}

const column = (name: string, cell: Column['cell'], type = 'string'): Column => ({
  name,
  type,
  cell,
});
const wide = (name: string, cell: Column['cell']): Column => ({
  name,
  type: 'string',
  priority: 1,
  cell,
});
const ageColumn = column('Age', (o, now) => age(o.metadata.creationTimestamp, now));
const or = (value: unknown, other: string): string => text(value) || other;
const count = (value: unknown): number => Object.keys(record(value)).length;
const int = (o: KubeObject, ...path: string[]): number => number(at(o, ...path)) ?? 0;

function statuses(pod: KubeObject): Record<string, unknown>[] {
  return list(at(pod, 'status', 'containerStatuses')).map(record);
}

function ready(pod: KubeObject): string {
  const total = list(at(pod, 'spec', 'containers')).length;
  return `${statuses(pod).filter((s) => s['ready'] === true).length}/${total}`;
}

function initState(pod: KubeObject): string | undefined {
  const all = list(at(pod, 'spec', 'initContainers')).length;
  const states = list(at(pod, 'status', 'initContainerStatuses')).map(record);
  for (const [i, s] of states.entries()) {
    const done = number(at(s, 'state', 'terminated', 'exitCode'));
    if (done === 0 || s['started'] === true) continue;
    if (done !== undefined)
      return `Init:${or(at(s, 'state', 'terminated', 'reason'), `ExitCode:${done}`)}`;
    const waiting = text(at(s, 'state', 'waiting', 'reason'));
    return waiting && waiting !== 'PodInitializing' ? `Init:${waiting}` : `Init:${i}/${all}`;
  }
  return undefined;
}

/** The STATUS of `kubectl get pods`: the most telling reason, else the phase. */
function podStatus(pod: KubeObject): string {
  const phase = or(at(pod, 'status', 'reason'), or(at(pod, 'status', 'phase'), 'Unknown'));
  if (pod.metadata.deletionTimestamp !== undefined) return 'Terminating';
  let reason = initState(pod);
  if (reason) return reason;
  reason = phase;
  let running = false;
  for (const s of statuses(pod).toReversed()) {
    const waiting = text(at(s, 'state', 'waiting', 'reason'));
    const ended = at(s, 'state', 'terminated');
    if (waiting) reason = waiting;
    else if (ended !== undefined) {
      const signal = number(at(ended, 'signal'));
      const code = `${signal ? 'Signal' : 'ExitCode'}:${signal ?? number(at(ended, 'exitCode')) ?? 0}`;
      reason = or(at(ended, 'reason'), code);
    } else if (s['ready'] === true && at(s, 'state', 'running') !== undefined) running = true;
  }
  if (reason === 'Completed' && running) return 'Running';
  return reason;
}

function restarts(pod: KubeObject, nowMs: number): string {
  const total = statuses(pod).reduce((sum, s) => sum + (number(s['restartCount']) ?? 0), 0);
  const last = statuses(pod)
    .map((s) => Date.parse(text(at(s, 'lastState', 'terminated', 'finishedAt'))))
    .filter((t) => !Number.isNaN(t));
  return total > 0 && last.length > 0
    ? `${total} (${duration(nowMs - Math.max(...last))} ago)`
    : `${total}`;
}

function gates(pod: KubeObject): string {
  const wanted = list(at(pod, 'spec', 'readinessGates'));
  if (wanted.length === 0) return '<none>';
  const conditions = list(at(pod, 'status', 'conditions')).map(record);
  const met = wanted.filter((g) =>
    conditions.some((c) => c['type'] === record(g)['conditionType'] && c['status'] === 'True'),
  );
  return `${met.length}/${wanted.length}`;
}

const pods: readonly Column[] = [
  column('Ready', ready),
  column('Status', podStatus),
  column('Restarts', restarts),
  ageColumn,
  wide('IP', (o) => or(at(o, 'status', 'podIP'), '<none>')),
  wide('Node', (o) => or(at(o, 'spec', 'nodeName'), '<none>')),
  wide('Nominated Node', (o) => or(at(o, 'status', 'nominatedNodeName'), '<none>')),
  wide('Readiness Gates', gates),
];

const templateContainers = (o: KubeObject) =>
  list(at(o, 'spec', 'template', 'spec', 'containers')).map(record);
const containers = wide('Containers', (o) =>
  templateContainers(o)
    .map((c) => text(c['name']))
    .join(','),
);
const images = wide('Images', (o) =>
  templateContainers(o)
    .map((c) => text(c['image']))
    .join(','),
);

function printSelector(value: unknown): string {
  const selector = record(value);
  const plain = selector['matchLabels'] ?? (selector['matchExpressions'] ? {} : selector);
  const parts = Object.entries(record(plain)).map(([k, v]) => `${k}=${text(v)}`);
  for (const e of list(selector['matchExpressions']).map(record)) {
    const values = list(e['values']).map(text).join(',');
    const operator = text(e['operator']);
    if (operator === 'Exists') parts.push(text(e['key']));
    else if (operator === 'DoesNotExist') parts.push(`!${text(e['key'])}`);
    else parts.push(`${text(e['key'])} ${operator.toLowerCase()} (${values})`);
  }
  return parts.join(',') || '<none>';
}

const selector = wide('Selector', (o) => printSelector(at(o, 'spec', 'selector')));

const deployments: readonly Column[] = [
  column('Ready', (o) => `${int(o, 'status', 'readyReplicas')}/${int(o, 'spec', 'replicas')}`),
  column('Up-to-date', (o) => int(o, 'status', 'updatedReplicas'), 'integer'),
  column('Available', (o) => int(o, 'status', 'availableReplicas'), 'integer'),
  ageColumn,
  containers,
  images,
  selector,
];

const replicaSets: readonly Column[] = [
  column('Desired', (o) => int(o, 'spec', 'replicas'), 'integer'),
  column('Current', (o) => int(o, 'status', 'replicas'), 'integer'),
  column('Ready', (o) => int(o, 'status', 'readyReplicas'), 'integer'),
  ageColumn,
  containers,
  images,
  selector,
];

const daemonSets: readonly Column[] = [
  column('Desired', (o) => int(o, 'status', 'desiredNumberScheduled'), 'integer'),
  column('Current', (o) => int(o, 'status', 'currentNumberScheduled'), 'integer'),
  column('Ready', (o) => int(o, 'status', 'numberReady'), 'integer'),
  column('Up-to-date', (o) => int(o, 'status', 'updatedNumberScheduled'), 'integer'),
  column('Available', (o) => int(o, 'status', 'numberAvailable'), 'integer'),
  column('Node Selector', (o) => printSelector(at(o, 'spec', 'template', 'spec', 'nodeSelector'))),
  ageColumn,
  containers,
  images,
  selector,
];

function servicePorts(service: KubeObject): string {
  const ports = list(at(service, 'spec', 'ports')).map(record);
  const print = (p: Record<string, unknown>) => {
    const node = number(p['nodePort']);
    return `${number(p['port']) ?? 0}${node ? `:${node}` : ''}/${or(p['protocol'], 'TCP')}`;
  };
  return ports.map(print).join(',') || '<none>';
}

function externalIp(service: KubeObject): string {
  if (at(service, 'spec', 'type') === 'ExternalName')
    return text(at(service, 'spec', 'externalName'));
  const ingress = list(at(service, 'status', 'loadBalancer', 'ingress')).map(record);
  const ips = [
    ...list(at(service, 'spec', 'externalIPs')).map(text),
    ...ingress.map((i) => or(i['ip'], text(i['hostname']))),
  ];
  if (ips.length > 0) return ips.join(',');
  return at(service, 'spec', 'type') === 'LoadBalancer' ? '<pending>' : '<none>';
}

const services: readonly Column[] = [
  column('Type', (o) => text(at(o, 'spec', 'type'))),
  column('Cluster-IP', (o) => or(at(o, 'spec', 'clusterIP'), '<none>')),
  column('External-IP', externalIp),
  column('Port(s)', servicePorts),
  ageColumn,
  selector,
];

function fewer(items: readonly string[], none = '<none>'): string {
  if (items.length === 0) return none;
  return items.length > 3
    ? `${items.slice(0, 3).join(',')} + ${items.length - 3} more...`
    : items.join(',');
}

function endpointAddresses(endpoints: KubeObject): string {
  const pairs = list(endpoints['subsets'])
    .map(record)
    .flatMap((subset) => {
      const ports = list(subset['ports']).map((p) => number(record(p)['port']) ?? 0);
      return list(subset['addresses']).flatMap((a) =>
        ports.map((p) => `${text(record(a)['ip'])}:${p}`),
      );
    });
  return fewer(pairs);
}

function sliceEndpoints(slice: KubeObject): string {
  return fewer(
    list(slice['endpoints']).flatMap((e) => list(record(e)['addresses']).map(text)),
    '<unset>',
  );
}

const slices: readonly Column[] = [
  column('AddressType', (o) => text(o['addressType'])),
  column('Ports', (o) =>
    fewer(
      list(o['ports']).map((p) => `${number(record(p)['port']) ?? '*'}`),
      '<unset>',
    ),
  ),
  column('Endpoints', sliceEndpoints),
  ageColumn,
];

function nodeStatus(node: KubeObject): string {
  const ready = list(at(node, 'status', 'conditions'))
    .map(record)
    .find((c) => c['type'] === 'Ready');
  const words = [ready ? (ready['status'] === 'True' ? 'Ready' : 'NotReady') : 'Unknown'];
  if (at(node, 'spec', 'unschedulable') === true) words.push('SchedulingDisabled');
  return words.join(',');
}

function nodeRoles(node: KubeObject): string {
  const lead = 'node-role.kubernetes.io/';
  const roles = Object.keys(node.metadata.labels ?? {}).filter((k) => k.startsWith(lead));
  return roles.map((r) => r.slice(lead.length)).join(',') || '<none>';
}

function nodeAddress(type: string): Column['cell'] {
  return (o) => {
    const found = list(at(o, 'status', 'addresses'))
      .map(record)
      .find((a) => a['type'] === type);
    return or(found?.['address'], '<none>');
  };
}

const nodeInfo =
  (field: string): Column['cell'] =>
  (o) =>
    or(at(o, 'status', 'nodeInfo', field), '<unknown>');

const nodes: readonly Column[] = [
  column('Status', nodeStatus),
  column('Roles', nodeRoles),
  ageColumn,
  column('Version', nodeInfo('kubeletVersion')),
  wide('Internal-IP', nodeAddress('InternalIP')),
  wide('External-IP', nodeAddress('ExternalIP')),
  wide('OS-Image', nodeInfo('osImage')),
  wide('Kernel-Version', nodeInfo('kernelVersion')),
  wide('Container-Runtime', nodeInfo('containerRuntimeVersion')),
];

function involved(event: KubeObject): string {
  return `${text(at(event, 'involvedObject', 'kind')).toLowerCase()}/${text(at(event, 'involvedObject', 'name'))}`;
}

const seen =
  (field: string): Column['cell'] =>
  (o, now) =>
    age(text(o[field]) || text(o['eventTime']) || o.metadata.creationTimestamp, now);

const events: readonly Column[] = [
  { name: 'Last Seen', type: 'string', cell: seen('lastTimestamp') },
  column('Type', (o) => text(o['type'])),
  column('Reason', (o) => text(o['reason'])),
  column('Object', involved),
  wide('Source', (o) =>
    [
      text(at(o, 'source', 'component')) || text(o['reportingComponent']),
      text(at(o, 'source', 'host')),
    ]
      .filter(Boolean)
      .join(', '),
  ),
  column('Message', (o) => text(o['message']).trim()),
  wide('First Seen', seen('firstTimestamp')),
  wide('Count', (o) => `${number(o['count']) ?? 1}`),
];

const roleRef = column(
  'Role',
  (o) => `${text(at(o, 'roleRef', 'kind'))}/${text(at(o, 'roleRef', 'name'))}`,
);
const created = column('Created At', (o) => text(o.metadata.creationTimestamp));

const tables: Readonly<Record<string, readonly Column[]>> = {
  'v1/pods': pods,
  'v1/services': services,
  'v1/endpoints': [column('Endpoints', endpointAddresses), ageColumn],
  'v1/namespaces': [column('Status', (o) => or(at(o, 'status', 'phase'), 'Active')), ageColumn],
  'v1/nodes': nodes,
  'v1/events': events,
  'v1/configmaps': [
    column('Data', (o) => count(o['data']) + count(o['binaryData']), 'integer'),
    ageColumn,
  ],
  'v1/secrets': [
    column('Type', (o) => text(o['type'])),
    column('Data', (o) => count(o['data']), 'integer'),
    ageColumn,
  ],
  'v1/serviceaccounts': [column('Secrets', (o) => list(o['secrets']).length, 'integer'), ageColumn],
  'apps/v1/deployments': deployments,
  'apps/v1/replicasets': replicaSets,
  'apps/v1/daemonsets': daemonSets,
  'discovery.k8s.io/v1/endpointslices': slices,
  'coordination.k8s.io/v1/leases': [
    column('Holder', (o) => text(at(o, 'spec', 'holderIdentity'))),
    ageColumn,
  ],
  'apiextensions.k8s.io/v1/customresourcedefinitions': [created],
  'policy/v1/poddisruptionbudgets': [
    column('Min Available', (o) => limit(at(o, 'spec', 'minAvailable'))),
    column('Max Unavailable', (o) => limit(at(o, 'spec', 'maxUnavailable'))),
    column('Allowed Disruptions', (o) => int(o, 'status', 'disruptionsAllowed'), 'integer'),
    ageColumn,
  ],
  'networking.k8s.io/v1/networkpolicies': [
    column('Pod-Selector', (o) => printSelector(at(o, 'spec', 'podSelector'))),
    ageColumn,
  ],
  'rbac.authorization.k8s.io/v1/roles': [created],
  'rbac.authorization.k8s.io/v1/clusterroles': [created],
  'rbac.authorization.k8s.io/v1/rolebindings': [roleRef, ageColumn],
  'rbac.authorization.k8s.io/v1/clusterrolebindings': [roleRef, ageColumn],
};

function limit(value: unknown): string {
  return typeof value === 'number' || typeof value === 'string' ? String(value) : 'N/A';
}

/** Columns after Name; undefined for kinds without a table of their own. */
export function builtinColumns(key: string): readonly Column[] | undefined {
  return tables[key];
}
