// Would the destination take a connection without identity? Judged by the data plane's own `authorize` on
// the policies its proxy holds. Pure.
import { parseIpBytes } from '../../core/base/index.ts';
import { authorize, type Policy, type PolicyKey, readPolicyDump } from '../../core/model/index.ts';
import type { PolicyNote } from './verdict.ts';

export interface WorkloadPolicies {
  readonly policies: readonly Policy[];
  readonly missing: readonly PolicyKey[];
  /** Policies of the dump that could not be read: then nothing is claimed. */
  readonly unread: number;
}

/** Those that apply to a workload, from its ztunnel's dump (ztunnel-protocol.md 5.1). */
export function policiesOf(
  dumpPolicies: readonly unknown[],
  namespace: string,
  named: readonly string[],
): WorkloadPolicies {
  const all = new Map<string, Policy>();
  let unread = 0;
  for (const p of dumpPolicies) {
    const policy = readPolicyDump(p);
    if (policy.ok) all.set(policy.value.key, policy.value);
    else unread++;
  }
  const applies = [...all.values()].filter(
    (p) =>
      p.scope === 'Global' ||
      (p.scope === 'Namespace' && (p.namespace === namespace || p.namespace === '')) ||
      named.includes(p.key),
  );
  const missing = named.filter((k) => !all.has(k)).map((k) => k as PolicyKey);
  return { policies: applies, missing, unread };
}

export function judgePlaintext(
  w: WorkloadPolicies,
  enrolled: boolean,
  destinationIp: string,
  destinationPort: number,
): { accepted: boolean | null; decidedBy: string } {
  if (!enrolled) return { accepted: true, decidedBy: 'the destination is not in the mesh' };
  if (w.unread > 0) return { accepted: null, decidedBy: `${w.unread} policies could not be read` };
  const verdict = authorize(w, {
    sourceIp: parseIpBytes('192.0.2.1') ?? new Uint8Array(4),
    destinationIp: parseIpBytes(destinationIp) ?? new Uint8Array(4),
    destinationPort,
  });
  if (verdict.allow) {
    const why =
      verdict.by === undefined
        ? 'no PeerAuthentication is STRICT and no policy refuses it'
        : verdict.by;
    return { accepted: true, decidedBy: why };
  }
  return { accepted: false, decidedBy: verdict.by ?? 'ALLOW policies exist and none allows it' };
}

/** What the destination's proxy recorded of a connection that was really sent without identity. */
export function judgeRecord(
  record:
    | { readonly state: string; readonly reason?: string; readonly policy?: string }
    | undefined,
  sent: { readonly open: boolean; readonly error?: string },
): { accepted: boolean; decidedBy: string } {
  if (record?.state === 'refused') {
    const by = record.policy ?? 'ALLOW policies exist and none allows it';
    return { accepted: false, decidedBy: by };
  }
  if (record) return { accepted: true, decidedBy: 'a connection without identity was let through' };
  if (sent.open) return { accepted: true, decidedBy: 'a plaintext connection stayed open' };
  return { accepted: false, decidedBy: `the connection was not taken (${sent.error ?? 'closed'})` };
}

export function noteOf(p: Policy, decided: string | undefined): PolicyNote {
  return {
    name: p.key,
    action: p.action.toUpperCase(),
    scope: p.scope,
    dryRun: p.dryRun,
    decided: p.key === decided,
  };
}
