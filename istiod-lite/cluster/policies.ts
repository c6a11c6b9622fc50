// AuthorizationPolicy and PeerAuthentication as the control plane reads them: all fields kept as text,
// judged later by translate/.
import type { KubeObject } from '../../core/kube/index.ts';
import { type Dict, dict, field, list, type Meta, readMeta, text } from './objects.ts';

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
  /** Fields of the wrong type: what they ask for is not known. */
  readonly bad: readonly string[];
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
  /** Whom a CUSTOM policy asks. */
  readonly provider: string;
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

/** Reads one rule and remembers what was not of the expected type. */
class RuleReader {
  readonly bad: string[] = [];

  /** A list; absent = empty. */
  list(o: unknown, name: string): readonly unknown[] {
    const v = field(o, name);
    if (v === undefined || v === null || Array.isArray(v)) return list(v);
    this.bad.push(`${name} (not a list)`);
    return [];
  }

  /** A list of texts, numbers taken as texts; one that cannot be read makes the whole list unknown. */
  texts(o: unknown, name: string): readonly string[] {
    const all = this.list(o, name);
    if (all.every((v) => typeof v === 'string' || typeof v === 'number')) return all.map(String);
    this.bad.push(`${name} (not texts)`);
    return [];
  }

  pair(o: unknown, name: string, negated: string): Texts {
    return { any: this.texts(o, name), none: this.texts(o, negated) };
  }
}

const present = (o: unknown, names: readonly string[]): string[] =>
  names.filter((n) => {
    const v = field(o, n);
    return v !== undefined && v !== null && !(Array.isArray(v) && v.length === 0);
  });

function readSource(r: RuleReader, o: unknown): SourceFacts {
  const s = field(o, 'source');
  return {
    principals: r.pair(s, 'principals', 'notPrincipals'),
    namespaces: r.pair(s, 'namespaces', 'notNamespaces'),
    ipBlocks: r.pair(s, 'ipBlocks', 'notIpBlocks'),
    serviceAccounts: r.pair(s, 'serviceAccounts', 'notServiceAccounts'),
    remoteIpBlocks: r.pair(s, 'remoteIpBlocks', 'notRemoteIpBlocks'),
    requestPrincipals: r.pair(s, 'requestPrincipals', 'notRequestPrincipals'),
    l7: present(s, [
      'remoteIpBlocks',
      'notRemoteIpBlocks',
      'requestPrincipals',
      'notRequestPrincipals',
    ]),
  };
}

function readOperation(r: RuleReader, o: unknown): OperationFacts {
  const op = field(o, 'operation');
  return {
    ports: r.pair(op, 'ports', 'notPorts'),
    hosts: r.pair(op, 'hosts', 'notHosts'),
    methods: r.pair(op, 'methods', 'notMethods'),
    paths: r.pair(op, 'paths', 'notPaths'),
    l7: present(op, ['hosts', 'notHosts', 'methods', 'notMethods', 'paths', 'notPaths']),
  };
}

function readRule(o: unknown): RuleFacts {
  const r = new RuleReader();
  return {
    from: r.list(o, 'from').map((x) => readSource(r, x)),
    to: r.list(o, 'to').map((x) => readOperation(r, x)),
    when: r.list(o, 'when').map((w) => ({
      key: text(field(w, 'key')),
      values: r.pair(w, 'values', 'notValues'),
    })),
    bad: r.bad,
  };
}

function readSelector(spec: unknown): Dict | undefined {
  const selector = field(spec, 'selector');
  return selector === undefined || selector === null
    ? undefined
    : dict(field(selector, 'matchLabels'));
}

export function readTargets(spec: unknown): { group: string; kind: string; name: string }[] {
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
    provider: text(field(spec, 'provider', 'name')),
    rules: list(field(spec, 'rules')).map(readRule),
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
