// From evidence to a verdict: what `verify mtls` says, and its exit code. Pure. Only what a connection
// negotiated counts as proof; configuration alone never does (sandbox.md D11).
import type { Proof } from './proofs.ts';

export type Verdict = 'mtls' | 'plaintext' | 'refused' | 'unknown';

export interface Tls {
  readonly version: string;
  readonly cipher: string;
  readonly alpn: string;
}

export interface Peer {
  readonly identity: string;
  readonly serial: string;
  readonly notAfter: string;
  readonly chain: readonly {
    readonly serial: string;
    readonly notAfter: string;
    readonly id?: string;
  }[];
}

export interface Leg {
  readonly from: string;
  readonly to: string;
  readonly protocol: 'HBONE' | 'TCP';
  readonly tls?: Tls | undefined;
  /** Who answered, proven by its certificate. */
  readonly peer?: Peer | undefined;
  /** Who asked, as its own proxy presented it. */
  readonly local?: { readonly identity: string; readonly serial: string } | undefined;
}

export interface PolicyNote {
  readonly name: string;
  readonly action: string;
  readonly scope: string;
  readonly dryRun: boolean;
  /** It decided this connection. */
  readonly decided: boolean;
}

export interface Evidence {
  readonly kind: 'probe' | 'record' | 'evaluation' | 'capture' | 'configuration' | 'packets';
  readonly text: string;
  readonly trace?: string;
}

export interface Report {
  readonly verdict: Verdict;
  readonly from: string;
  readonly to: string;
  readonly destination: string;
  readonly legs: readonly Leg[];
  readonly policies: readonly PolicyNote[];
  readonly plaintext: { readonly accepted: boolean | null; readonly decidedBy: string };
  readonly reason?: { readonly code: string; readonly policy?: string; readonly detail?: string };
  readonly evidence: readonly Evidence[];
  /** The seven proofs, in order. */
  readonly proofs: readonly Proof[];
}

/** 0 mTLS proven · 3 the same, but plaintext is accepted too and `--strict` was given · 4 · 5 · 6. */
export function exitCode(r: Report, strict: boolean): number {
  switch (r.verdict) {
    case 'mtls':
      return strict && r.plaintext.accepted !== false ? 3 : 0;
    case 'plaintext':
      return 4;
    case 'refused':
      return 5;
    case 'unknown':
      return 6;
  }
}

/** A leg proves mutual TLS if TLS 1.3 with h2 was negotiated and both ends showed an identity. */
export function provesMtls(leg: Leg): boolean {
  return (
    leg.protocol === 'HBONE' &&
    leg.tls?.version === 'TLSv1.3' &&
    leg.tls.alpn === 'h2' &&
    leg.peer?.identity.startsWith('spiffe://') === true &&
    leg.local?.identity.startsWith('spiffe://') === true
  );
}

/** The probe's answer, as ztunnel gives it (the fields this needs). */
export interface ProbeFacts {
  readonly served: boolean;
  readonly ok: boolean;
  readonly protocol?: 'HBONE' | 'TCP' | undefined;
  readonly legs: readonly Leg[];
  /** 2 behind a waypoint. Default 1. */
  readonly expected?: number;
  /** Packets that could be read were on the wire meanwhile. */
  readonly leaks?: boolean;
}

export function judge(p: ProbeFacts): Verdict {
  if (!p.served || p.leaks === true) return 'plaintext';
  if (!p.ok) return 'refused';
  if (p.protocol === 'TCP' || p.legs.some((l) => l.protocol === 'TCP')) return 'plaintext';
  const whole = p.legs.length >= (p.expected ?? 1);
  return whole && p.legs.every(provesMtls) ? 'mtls' : 'unknown';
}

const until = (text: string): string => text.replace(/\.\d+Z$/, 'Z');

function printLeg(leg: Leg, n: number): string[] {
  const how = leg.tls
    ? `${leg.protocol}  ${leg.tls.version}  ${leg.tls.cipher}  ALPN ${leg.tls.alpn}`
    : leg.protocol;
  const lines = [`  leg ${n}      ${leg.from} → ${leg.to}  ${how}`];
  if (leg.local) lines.push(`    source   ${leg.local.identity}  serial ${leg.local.serial}`);
  if (leg.peer) {
    lines.push(
      `    peer     ${leg.peer.identity}  serial ${leg.peer.serial}  valid until ${until(leg.peer.notAfter)}`,
    );
  }
  return lines;
}

const headline: Record<Verdict, string> = {
  mtls: 'mutual TLS is on',
  plaintext: 'NOT encrypted',
  refused: 'refused or unreachable',
  unknown: 'cannot tell',
};

/** For a person. */
export function printReport(r: Report): string {
  const lines = [`${r.from} → ${r.to} (${r.destination}): ${headline[r.verdict]}`, ''];
  for (const [i, leg] of r.legs.entries()) lines.push(...printLeg(leg, i + 1));
  if (r.reason) {
    const policy = r.reason.policy === undefined ? '' : ` by policy ${r.reason.policy}`;
    const detail = r.reason.detail === undefined ? '' : ` (${r.reason.detail})`;
    lines.push(`  reason     ${r.reason.code}${policy}${detail}`);
  }
  for (const p of r.policies) {
    const notes = [p.dryRun ? 'dry run' : '', p.decided ? 'decided this connection' : ''].filter(
      Boolean,
    );
    const more = notes.length > 0 ? `, ${notes.join(', ')}` : '';
    lines.push(`  policy     ${p.name}  ${p.action}, ${p.scope}${more}`);
  }
  const { accepted, decidedBy } = r.plaintext;
  const word = accepted === null ? 'not known' : accepted ? 'ACCEPTED too' : 'refused';
  lines.push(`  plaintext  ${word}: ${decidedBy}`);
  for (const e of r.evidence) lines.push(`  ${e.kind.padEnd(10)} ${e.text}`);
  for (const p of r.proofs) {
    const mark = p.ok === null ? '?' : p.ok ? '✔' : '✘';
    lines.push(`  ${mark} ${p.name.padEnd(18)} ${p.text}`);
  }
  lines.push('', `verdict: ${r.verdict}`);
  return `${lines.join('\n')}\n`;
}
