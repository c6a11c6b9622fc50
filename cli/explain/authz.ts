// Who may reach a workload, and what a policy would cut before it is applied. Pure, on a mesh and on the
// connections that proxies recorded.
import { parseIpBytes, parseIpPort } from '../../core/base/index.ts';
import {
  authorize,
  type MeshState,
  type MeshView,
  parseIdentity,
  parseSpiffeId,
  type Policy,
  type PolicyKey,
  type Workload,
  workloadIdentity,
  workloadSpiffeId,
} from '../../core/model/index.ts';

export interface ReachRow {
  readonly source: string;
  readonly port: number;
  readonly allowed: boolean;
  readonly decidedBy: string;
  /** Who enforces it: ztunnel, or a waypoint by name; there `port` is the service's. */
  readonly where: string;
  /** At a waypoint: the service, whose policies these are, and the request that was judged. */
  readonly service?: string;
  readonly request?: string;
}

const zero = new Uint8Array(4);

function portsOf(w: Workload): number[] {
  const ports = [...w.services.values()].flatMap((m) => [...m.values()]).filter((p) => p > 0);
  return [...new Set(ports)].toSorted((a, b) => a - b);
}

/** Every identity of the mesh with a workload that has it, in order. */
export function sourcesOf(mesh: MeshView): [string, Workload][] {
  const sources = new Map<string, Workload>();
  for (const w of mesh.workloads()) if (w.protocol === 'HBONE') sources.set(workloadSpiffeId(w), w);
  return [...sources].toSorted(([a], [b]) => (a < b ? -1 : 1));
}

/** Every identity of the mesh, and nobody (plaintext), against each port of the workload. */
export function reach(mesh: MeshView, to: Workload): ReachRow[] {
  const rows: ReachRow[] = [];
  const applicable = mesh.policiesFor(to);
  for (const port of portsOf(to)) {
    const facts = {
      sourceIp: zero,
      destinationIp: parseIpBytes(to.addresses[0] ?? '') ?? zero,
      destinationPort: port,
    };
    const add = (source: string, verdict: ReturnType<typeof authorize>): void => {
      const why =
        verdict.by ?? (verdict.allow ? 'no policy speaks of it' : 'no ALLOW policy allows it');
      rows.push({ source, port, allowed: verdict.allow, decidedBy: why, where: 'ztunnel' });
    };
    for (const [id, w] of sourcesOf(mesh)) {
      const principal = parseSpiffeId(id);
      add(
        id,
        authorize(applicable, {
          ...facts,
          ...(principal && { principal }),
          identity: workloadIdentity(w),
        }),
      );
    }
    if (to.protocol === 'HBONE') add('(plaintext)', authorize(applicable, facts));
    else
      rows.push({
        source: '(anybody)',
        port,
        allowed: true,
        decidedBy: 'the workload is not in the mesh',
        where: 'ztunnel',
      });
  }
  return rows;
}

/** One inbound connection as a proxy knows it, live or ended. */
export interface SeenConnection {
  readonly state: string;
  readonly source: {
    readonly addr?: string;
    readonly identity?: string;
    readonly workload?: string;
  };
  readonly destination: {
    readonly addr?: string;
    readonly hboneAddr?: string;
    readonly workload?: string;
    readonly namespace?: string;
  };
  readonly protocol: string;
}

export interface Simulated {
  readonly source: string;
  readonly destination: string;
  readonly live: boolean;
  readonly before: 'allowed' | 'refused';
  readonly after: 'allowed' | 'refused';
  readonly decidedBy: string;
  readonly count: number;
}

function judge(mesh: MeshView, c: SeenConnection): { ok: boolean; by: string } | undefined {
  const at = parseIpPort(c.destination.hboneAddr ?? c.destination.addr ?? '');
  const to = [...mesh.workloads()].find(
    (w) => w.name === c.destination.workload && w.namespace === c.destination.namespace,
  );
  if (!at || !to) return undefined;
  const principal = c.source.identity === undefined ? undefined : parseSpiffeId(c.source.identity);
  const identity = c.source.identity === undefined ? undefined : parseIdentity(c.source.identity);
  const verdict = authorize(mesh.policiesFor(to), {
    principal,
    identity,
    sourceIp: parseIpBytes(parseIpPort(c.source.addr ?? '')?.ip ?? '') ?? zero,
    destinationIp: parseIpBytes(at.ip) ?? zero,
    destinationPort: at.port,
  });
  return {
    ok: verdict.allow,
    by: verdict.by ?? (verdict.allow ? 'no policy speaks of it' : 'no ALLOW policy allows it'),
  };
}

/** Adds or replaces policies, and attaches those with a selector to the workloads they select. */
export function withPolicies(
  mesh: MeshState,
  added: readonly { readonly policy: Policy; readonly selects: (w: Workload) => boolean }[],
): void {
  const workloads: Workload[] = [];
  for (const w of mesh.workloads()) {
    const keys = new Set<PolicyKey>(w.authorizationPolicies);
    for (const { policy, selects } of added) {
      keys.delete(policy.key);
      if (policy.scope === 'WorkloadSelector' && selects(w)) keys.add(policy.key);
    }
    workloads.push({ ...w, authorizationPolicies: [...keys] });
  }
  mesh.apply({ policies: added.map((a) => a.policy), workloads });
}

/** Policies that stand for PeerAuthentications (control-plane.md 3.5). */
const isConverted = (key: PolicyKey): boolean =>
  /\/(istio_converted_static_strict|converted_peer_authentication_.*)$/.test(key);

/** Puts what stands for PeerAuthentications in place of what stands for them now. */
export function withMutualTls(
  mesh: MeshState,
  policies: readonly Policy[],
  keysOf: (w: Workload) => readonly PolicyKey[],
): void {
  const workloads = [...mesh.workloads()].map((w) => ({
    ...w,
    authorizationPolicies: [
      ...w.authorizationPolicies.filter((key) => !isConverted(key)),
      ...keysOf(w),
    ],
  }));
  mesh.apply({ policies, workloads });
}

const word = (ok: boolean): 'allowed' | 'refused' => (ok ? 'allowed' : 'refused');

/** Each distinct pair that has talked, judged before and after. */
export function simulate(
  before: MeshView,
  after: MeshView,
  seen: readonly SeenConnection[],
): Simulated[] {
  const rows = new Map<string, Simulated>();
  for (const c of seen) {
    const old = judge(before, c);
    const next = judge(after, c);
    if (!old || !next) continue;
    const source = c.source.identity ?? '(plaintext)';
    const port = (c.destination.hboneAddr ?? c.destination.addr ?? '').split(':').at(-1) ?? '';
    const destination = `${c.destination.workload ?? ''}.${c.destination.namespace ?? ''}:${port}`;
    const live = c.state === 'live';
    const key = `${source} ${destination} ${String(live)}`;
    const count = (rows.get(key)?.count ?? 0) + 1;
    rows.set(key, {
      source,
      destination,
      live,
      before: word(old.ok),
      after: word(next.ok),
      decidedBy: next.by,
      count,
    });
  }
  return [...rows.values()];
}
