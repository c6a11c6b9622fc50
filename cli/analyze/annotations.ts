// Istio's annotations on the objects where they are read, with values that can be read (control-plane.md 1.2).
// Pure.
import type { KubeObject } from '../../core/kube/index.ts';
import type { Say, Snapshot } from './snapshot.ts';

interface Known {
  readonly kinds: readonly string[];
  /** Absent = any text. */
  readonly values?: { readonly test: RegExp; readonly said: string };
  /** What to use instead. */
  readonly deprecated?: string;
  readonly alpha?: boolean;
}

const boolean = { test: /^(1|t|T|TRUE|true|True|0|f|F|FALSE|false|False)$/, said: 'true or false' };
const pods = ['Pod', 'Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Job'];
const waypoints = ['Gateway', 'GatewayClass'];

const known = new Map<string, Known>([
  ['ambient.istio.io/redirection', { kinds: ['Pod', 'WorkloadEntry', 'ServiceEntry'] }],
  ['ambient.istio.io/bypass-inbound-capture', { kinds: pods, values: boolean, alpha: true }],
  ['ambient.istio.io/dns-capture', { kinds: pods, values: boolean }],
  ['istio.io/reroute-virtual-interfaces', { kinds: pods, alpha: true }],
  [
    'traffic.sidecar.istio.io/kubevirtInterfaces',
    { kinds: pods, deprecated: 'istio.io/reroute-virtual-interfaces' },
  ],
  [
    'ambient.istio.io/waypoint-inbound-binding',
    {
      kinds: waypoints,
      values: { test: /^(NONE|PROXY)(\/\d{1,5})?$/, said: 'NONE or PROXY, with /PORT' },
    },
  ],
  ['ambient.istio.io/xfcc-include-client-identity', { kinds: ['Gateway', 'Pod'], values: boolean }],
  [
    'networking.istio.io/traffic-distribution',
    {
      kinds: ['Service', 'ServiceEntry', 'Namespace'],
      values: {
        test: /^(preferclose|prefersamezone|prefersamenode)$/i,
        said: 'PreferClose, PreferSameZone or PreferSameNode',
      },
    },
  ],
  [
    'istio.io/connect-strategy',
    {
      kinds: ['ServiceEntry'],
      values: { test: /^RACE_FIRST_TCP_CONNECT$/, said: 'RACE_FIRST_TCP_CONNECT' },
      alpha: true,
    },
  ],
  ['istio.io/dry-run', { kinds: ['AuthorizationPolicy'], values: boolean, alpha: true }],
  [
    'istio.io/use-waypoint-canary-weight',
    {
      kinds: ['Service', 'ServiceEntry', 'Namespace'],
      values: { test: /^(100|\d{1,2})$/, said: '0 to 100' },
      alpha: true,
    },
  ],
  ['gateway.istio.io/name-override', { kinds: ['Gateway'] }],
  ['gateway.istio.io/service-account', { kinds: ['Gateway'] }],
  ['gateway.istio.io/controller-version', { kinds: ['Gateway'] }],
  [
    'networking.istio.io/service-type',
    {
      kinds: ['Gateway'],
      values: { test: /^(ClusterIP|LoadBalancer|NodePort)$/, said: 'a type of Service' },
      deprecated: 'a ConfigMap in spec.infrastructure.parametersRef',
    },
  ],
  [
    'networking.istio.io/address-type',
    {
      kinds: ['Gateway'],
      values: { test: /^(IPAddress|Hostname)$/, said: 'IPAddress or Hostname' },
    },
  ],
  [
    'ambientlite.dev/waypoint-fail-open',
    { kinds: ['Service', 'Namespace'], values: { test: /^(true|false)$/, said: 'true or false' } },
  ],
]);

/** Only these speak of ambient mode; annotations of sidecars are left in peace. */
const ours = /^((ambient|gateway|networking|)\.?istio\.io|ambientlite\.dev)\//;

export function checkAnnotations(s: Snapshot, say: Say): void {
  // What istiod made of a Gateway carries that Gateway's annotations.
  for (const o of s.all())
    if (o.metadata.labels?.['gateway.istio.io/managed'] === undefined)
      for (const name of Object.keys(o.metadata.annotations ?? {})) check(o, name, say);
}

function check(o: KubeObject, name: string, say: Say): void {
  const path = ['metadata', 'annotations', name];
  const row = known.get(name);
  if (!row) {
    if (ours.test(name)) say('IST0108', o, path, `${name} is not known`);
    return;
  }
  if (!row.kinds.includes(o.kind ?? '')) {
    const text = `${name} is read on ${row.kinds.join(', ')}, not on ${o.kind ?? ''}`;
    say('IST0107', o, path, text);
    return;
  }
  const value = String(o.metadata.annotations?.[name] ?? '');
  if (row.values && !row.values.test.test(value))
    say('IST0125', o, path, `"${value}": ${name} is ${row.values.said}`);
  if (row.deprecated !== undefined)
    say('IST0135', o, path, `${name} is deprecated; use ${row.deprecated}`);
  if (row.alpha === true) say('IST0136', o, path, `${name} belongs to an alpha feature`);
}
