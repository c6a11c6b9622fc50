// The whole decision for one connection, taken by the data plane's own functions on a mesh: which endpoint,
// which path, which identities, every policy considered, and what would be bypassed. Pure.
import { parseIpBytes, printIpPort, type Random } from '../../core/base/index.ts';
import {
  type MeshView,
  serviceKey,
  traceVerdict,
  type Workload,
  workloadIdentity,
  workloadSpiffeId,
} from '../../core/model/index.ts';
import { type EgressMode, type OutboundPlan, planOutbound } from '../../ztunnel/index.ts';
import type { Destination } from './find.ts';
import { printRequest, type RequestVerdict } from './l7.ts';

export interface Candidate {
  readonly pod: string;
  readonly address: string;
  readonly fit: boolean;
  /** Why not, or where it stands. */
  readonly why: string;
}

export interface PolicyLine {
  readonly name: string;
  readonly action: string;
  readonly scope: string;
  readonly dryRun: boolean;
  readonly matches: boolean;
  /** One-based. */
  readonly rule?: number;
  readonly decided: boolean;
}

export interface Explanation {
  readonly from: string;
  readonly to: string;
  readonly destination: string;
  readonly captured: boolean;
  readonly outcome: 'mtls' | 'plaintext' | 'refused';
  readonly path: {
    readonly do: OutboundPlan['do'];
    readonly dial?: string;
    readonly authority?: string;
    readonly via?: string;
    readonly expect?: readonly string[];
    readonly endpoint?: string;
    readonly detail?: string;
  };
  readonly identities: { readonly source: string; readonly destination: string | null };
  readonly candidates: readonly Candidate[];
  readonly policies: readonly PolicyLine[];
  readonly verdict: {
    readonly allow: boolean;
    readonly code?: string;
    readonly by?: string;
  } | null;
  /** What the waypoint says to the request that was asked for. */
  readonly request?: RequestVerdict;
  /** What does not hold on this path, each with its cause. */
  readonly notes: readonly string[];
}

const nameOf = (w: Workload): string => `${w.name}.${w.namespace}`;

function candidatesOf(mesh: MeshView, to: Destination): Candidate[] {
  if (!to.service) return [];
  const all = to.service.loadBalancing?.healthPolicy === 'AllowAll';
  return [...mesh.endpoints(serviceKey(to.service)).values()].map((e) => {
    const w = mesh.workload(e.workload);
    const mapped = e.ports.get(to.port);
    const fit =
      w !== undefined && (e.healthy || all) && (mapped !== undefined || w.protocol === 'TCP');
    const why = !w
      ? 'unknown'
      : !e.healthy && !all
        ? 'not ready'
        : `port ${to.port} → ${mapped ?? to.port}`;
    return { pod: w ? nameOf(w) : e.workload, address: w?.addresses.join(',') ?? '', fit, why };
  });
}

function pathOf(plan: OutboundPlan): Explanation['path'] {
  switch (plan.do) {
    case 'refuse':
      return { do: plan.do, detail: `${plan.code}: ${plan.detail}` };
    case 'pass':
      return {
        do: plan.do,
        dial: printIpPort(plan.dial),
        ...(plan.destination && { endpoint: nameOf(plan.destination) }),
      };
    case 'tunnel':
      return {
        do: plan.do,
        dial: printIpPort(plan.dial),
        authority: plan.authority,
        via: plan.via,
        expect: plan.expect,
        endpoint: nameOf(plan.destination),
      };
    case 'double':
      return { do: plan.do, dial: printIpPort(plan.dial), authority: plan.authority };
    case 'resolve':
      return {
        do: plan.do,
        detail: `host name ${plan.host}:${plan.port}`,
        endpoint: nameOf(plan.destination),
      };
  }
}

/** Where the destination's proxy will see the connection arrive. */
function arrival(plan: OutboundPlan): { workload: Workload; port: number } | undefined {
  if ((plan.do !== 'tunnel' && plan.do !== 'pass') || !plan.destination) return undefined;
  if (plan.do === 'pass') return { workload: plan.destination, port: plan.dial.port };
  return {
    workload: plan.destination,
    port: Number(plan.authority.slice(plan.authority.lastIndexOf(':') + 1)),
  };
}

function notesOf(
  from: Workload,
  to: Destination,
  plan: OutboundPlan,
  captured: boolean,
  egress: EgressMode,
): string[] {
  const notes: string[] = [];
  if (!captured)
    notes.push(
      `${nameOf(from)} is not in the mesh: its traffic is not captured and carries no identity`,
    );
  const end = arrival(plan);
  // A waypoint is no captured pod either, and still ends a tunnel.
  if (end && plan.do === 'pass' && end.workload.protocol === 'TCP') {
    notes.push(`${nameOf(end.workload)} is not in the mesh: no encryption, no policy at its end`);
  }
  if (end?.workload.networkMode === 'HostNetwork')
    notes.push(`${nameOf(end.workload)} uses the host network`);
  if (plan.do === 'pass' && !plan.destination) {
    notes.push('the address belongs to nothing the mesh knows: passed on as it is');
    if (egress === 'LOG_ONLY')
      notes.push('OUTBOUND_TRAFFIC_POLICY is LOG_ONLY: REGISTRY_ONLY would refuse it');
  }
  if (plan.do === 'refuse' && plan.code === 'EGRESS_NOT_REGISTERED')
    notes.push('OUTBOUND_TRAFFIC_POLICY is REGISTRY_ONLY: a ServiceEntry would let it through');
  if (to.workload && !to.workload.waypoint) {
    const bound = [...to.workload.services.keys()];
    if (bound.length > 0)
      notes.push('called by pod: a waypoint of its services, if any, is not on this path');
  }
  return notes;
}

export function explain(
  mesh: MeshView,
  from: Workload,
  to: Destination,
  random: Random,
  egress: EgressMode = 'ALLOW_ANY',
): Explanation {
  const captured = from.protocol === 'HBONE';
  const plan = planOutbound(
    mesh,
    from,
    { ip: to.ip, port: to.port },
    { network: from.network, random, egress },
  );
  const end = arrival(plan);
  const judged = end !== undefined && end.workload.protocol === 'HBONE';
  const withIdentity = captured && plan.do === 'tunnel';
  const trace =
    judged && end
      ? traceVerdict(mesh.policiesFor(end.workload), {
          ...(withIdentity && {
            principal: workloadSpiffeId(from),
            identity: workloadIdentity(from),
          }),
          sourceIp: parseIpBytes(from.addresses[0] ?? '') ?? new Uint8Array(4),
          destinationIp: parseIpBytes(end.workload.addresses[0] ?? '') ?? new Uint8Array(4),
          destinationPort: end.port,
        })
      : undefined;
  const verdict = trace?.verdict;
  const refused = plan.do === 'refuse' || plan.do === 'double' || verdict?.allow === false;
  return {
    from: nameOf(from),
    to: to.label,
    destination: printIpPort(to),
    captured,
    outcome: refused ? 'refused' : withIdentity ? 'mtls' : 'plaintext',
    path: pathOf(plan),
    identities: {
      source: workloadSpiffeId(from),
      destination: end ? workloadSpiffeId(end.workload) : null,
    },
    candidates: candidatesOf(mesh, to),
    policies: (trace?.considered ?? []).map((c) => ({
      name: c.policy.key,
      action: c.policy.action.toUpperCase(),
      scope: c.policy.scope,
      dryRun: c.policy.dryRun,
      matches: c.rule !== undefined,
      ...(c.rule !== undefined && { rule: c.rule + 1 }),
      decided: verdict?.by === c.policy.key,
    })),
    verdict: verdict
      ? {
          allow: verdict.allow,
          ...(!verdict.allow && { code: verdict.code }),
          ...(verdict.by !== undefined && { by: verdict.by }),
        }
      : null,
    notes: notesOf(from, to, plan, captured, egress),
  };
}

const words = { mtls: 'mutual TLS', plaintext: 'plaintext', refused: 'refused' } as const;

function pathLines(e: Explanation): string[] {
  const { path } = e;
  const lines = [
    `  source    ${e.from}  ${e.identities.source}${e.captured ? '' : '  (not captured)'}`,
  ];
  for (const c of e.candidates)
    lines.push(`  endpoint  ${c.fit ? '✔' : '✘'} ${c.pod}  ${c.address}  ${c.why}`);
  if (path.detail !== undefined) lines.push(`  path      ${path.do}: ${path.detail}`);
  else if (path.do === 'tunnel') {
    lines.push(
      `  path      HBONE to ${path.dial ?? ''} for ${path.authority ?? ''}, via ${path.via ?? ''} ${path.endpoint ?? ''}`,
    );
    lines.push(`  expects   ${(path.expect ?? []).join(', ')}`);
  } else lines.push(`  path      TCP to ${path.dial ?? ''} ${path.endpoint ?? ''}`.trimEnd());
  return lines;
}

export function printExplanation(e: Explanation): string {
  const lines = [
    `${e.from} → ${e.to} (${e.destination}): ${words[e.outcome]}`,
    '',
    ...pathLines(e),
  ];
  for (const p of e.policies) {
    const match = p.matches ? `rule ${p.rule ?? 0} matches` : 'no rule matches';
    const more = [p.dryRun ? 'dry run' : '', p.decided ? '← decided' : '']
      .filter(Boolean)
      .join('  ');
    lines.push(`  policy    ${p.name}  ${p.action}, ${p.scope}: ${match}  ${more}`.trimEnd());
  }
  if (e.verdict) {
    const by = e.verdict.by === undefined ? '' : ` by ${e.verdict.by}`;
    lines.push(`  verdict   ${e.verdict.allow ? `allowed${by}` : `${e.verdict.code ?? ''}${by}`}`);
  }
  if (e.request) lines.push(...printRequest(e.request));
  for (const n of e.notes) lines.push(`  note      ${n}`);
  return `${lines.join('\n')}\n`;
}

/** 0 = allowed over mutual TLS, 4 = plaintext, 5 = refused; as `verify mtls`. */
export const explainExit = (e: Explanation): number =>
  e.outcome === 'mtls' ? 0 : e.outcome === 'plaintext' ? 4 : 5;
