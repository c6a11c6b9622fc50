// AuthorizationPolicy and PeerAuthentication as the control plane reads them: all fields kept as text,
// judged later by translate/.
import type { KubeObject } from '../../core/kube/index.ts';
import { type Dict, dict, field, list, type Meta, readMeta, text, texts } from './objects.ts';

/** Positive and negated texts of one field. */
export interface Texts {
  readonly any: readonly string[];
  readonly none: readonly string[];
}

export interface SourceFacts {
  readonly principals: Texts;
  readonly namespaces: Texts;
  readonly ipBlocks: Texts;
  readonly serviceAccounts: Texts;
  readonly remoteIpBlocks: Texts;
  readonly requestPrincipals: Texts;
  /** Names of the attributes present that only L7 can judge. */
  readonly l7: readonly string[];
}

export interface OperationFacts {
  readonly ports: Texts;
  readonly hosts: Texts;
  readonly methods: Texts;
  readonly paths: Texts;
  readonly l7: readonly string[];
}

export interface WhenFacts {
  readonly key: string;
  readonly values: Texts;
}

export interface RuleFacts {
  readonly from: readonly SourceFacts[];
  readonly to: readonly OperationFacts[];
  readonly when: readonly WhenFacts[];
}

export interface AuthorizationPolicyFacts extends Meta {
  /** Absent = every workload of the scope; present but empty = none (control-plane.md 3.3). */
  readonly selector?: Dict | undefined;
  readonly targetRefs: readonly {
    readonly group: string;
    readonly kind: string;
    readonly name: string;
  }[];
  readonly action: string;
  readonly rules: readonly RuleFacts[];
  /** Conditions now on the object, so that equal ones are not written again. */
  readonly conditions: readonly Condition[];
}

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number;
  readonly lastTransitionTime: string;
}

export type MtlsMode = 'UNSET' | 'DISABLE' | 'PERMISSIVE' | 'STRICT';

export interface PeerAuthenticationFacts extends Meta {
  /** Absent or empty = the whole scope. */
  readonly selector?: Dict | undefined;
  readonly mode: MtlsMode;
  readonly ports: ReadonlyMap<number, MtlsMode>;
}

const pair = (o: unknown, name: string, negated: string): Texts => ({
  any: texts(field(o, name)),
  none: texts(field(o, negated)),
});

const present = (o: unknown, names: readonly string[]): string[] =>
  names.filter((n) => list(field(o, n)).length > 0);

function readSource(o: unknown): SourceFacts {
  const s = field(o, 'source');
  return {
    principals: pair(s, 'principals', 'notPrincipals'),
    namespaces: pair(s, 'namespaces', 'notNamespaces'),
    ipBlocks: pair(s, 'ipBlocks', 'notIpBlocks'),
    serviceAccounts: pair(s, 'serviceAccounts', 'notServiceAccounts'),
    remoteIpBlocks: pair(s, 'remoteIpBlocks', 'notRemoteIpBlocks'),
    requestPrincipals: pair(s, 'requestPrincipals', 'notRequestPrincipals'),
    l7: present(s, [
      'remoteIpBlocks',
      'notRemoteIpBlocks',
      'requestPrincipals',
      'notRequestPrincipals',
    ]),
  };
}

function readOperation(o: unknown): OperationFacts {
  const op = field(o, 'operation');
  return {
    ports: pair(op, 'ports', 'notPorts'),
    hosts: pair(op, 'hosts', 'notHosts'),
    methods: pair(op, 'methods', 'notMethods'),
    paths: pair(op, 'paths', 'notPaths'),
    l7: present(op, ['hosts', 'notHosts', 'methods', 'notMethods', 'paths', 'notPaths']),
  };
}

function readSelector(spec: unknown): Dict | undefined {
  const selector = field(spec, 'selector');
  return selector === undefined || selector === null
    ? undefined
    : dict(field(selector, 'matchLabels'));
}

function readTargets(spec: unknown): { group: string; kind: string; name: string }[] {
  const one = field(spec, 'targetRef');
  const many = list(field(spec, 'targetRefs'));
  return (many.length > 0 ? many : one === undefined ? [] : [one]).map((t) => ({
    group: text(field(t, 'group')),
    kind: text(field(t, 'kind')),
    name: text(field(t, 'name')),
  }));
}

export function readConditions(o: KubeObject): Condition[] {
  return list(field(o['status'], 'conditions')).map((c) => ({
    type: text(field(c, 'type')),
    status: text(field(c, 'status')),
    reason: text(field(c, 'reason')),
    message: text(field(c, 'message')),
    observedGeneration: Number(field(c, 'observedGeneration') ?? 0) || 0,
    lastTransitionTime: text(field(c, 'lastTransitionTime')),
  }));
}

export function readAuthorizationPolicy(o: KubeObject): AuthorizationPolicyFacts {
  const spec = o['spec'];
  return {
    ...readMeta(o.metadata),
    selector: readSelector(spec),
    targetRefs: readTargets(spec),
    action: text(field(spec, 'action')) || 'ALLOW',
    rules: list(field(spec, 'rules')).map((r) => ({
      from: list(field(r, 'from')).map(readSource),
      to: list(field(r, 'to')).map(readOperation),
      when: list(field(r, 'when')).map((w) => ({
        key: text(field(w, 'key')),
        values: pair(w, 'values', 'notValues'),
      })),
    })),
    conditions: readConditions(o),
  };
}

const modes: readonly string[] = ['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'];
const mode = (v: unknown): MtlsMode => (modes.includes(text(v)) ? (v as MtlsMode) : 'UNSET');

export function readPeerAuthentication(o: KubeObject): PeerAuthenticationFacts {
  const spec = o['spec'];
  const ports = new Map<number, MtlsMode>();
  const levels = field(spec, 'portLevelMtls');
  if (typeof levels === 'object' && levels !== null) {
    for (const [port, v] of Object.entries(levels)) ports.set(Number(port), mode(field(v, 'mode')));
  }
  return {
    ...readMeta(o.metadata),
    selector: readSelector(spec),
    mode: mode(field(spec, 'mtls', 'mode')),
    ports,
  };
}
