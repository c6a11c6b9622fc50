// The seven things that together answer "is it really mutual TLS" (control-plane.md 8.8), each from evidence.
// Pure. `null` = it could not be told.
import { type Leg, provesMtls, type Report } from './verdict.ts';

export interface Proof {
  readonly name:
    | 'captured'
    | 'path'
    | 'identities'
    | 'negotiated'
    | 'policy'
    | 'plaintext-refused'
    | 'verdict';
  readonly ok: boolean | null;
  readonly text: string;
}

/** One end: whether its proxy has it, and why not. */
export interface EndFacts {
  readonly name: string;
  /** The annotation that the node agent sets last. */
  readonly annotated: boolean;
  /** Its node proxy knows the pod. */
  readonly served: boolean;
  readonly why?: string;
}

export interface ProofFacts {
  readonly ends: readonly EndFacts[];
  readonly legs: readonly Leg[];
  /** Waypoint of the path, `name.namespace`. */
  readonly waypoint?: string;
  /** Why traffic goes around a waypoint that somebody asked for. */
  readonly bypass?: string;
  /** Serial numbers of the roots at both ends. */
  readonly roots: readonly (readonly string[])[];
  readonly report: Pick<Report, 'verdict' | 'policies' | 'plaintext' | 'reason'>;
  /** What the policies’ statuses say about rules that are not enforced as written. */
  readonly notes: readonly string[];
}

function captured(f: ProofFacts): Proof {
  const bad = f.ends.filter((e) => !e.annotated || !e.served);
  const why = bad.map((e) => `${e.name}: ${e.why ?? 'not captured'}`).join('; ');
  const ok = f.ends.length < 2 ? null : bad.length === 0;
  const names = f.ends.map((e) => e.name).join(' and ');
  const text =
    bad.length > 0
      ? why
      : ok === null
        ? 'one end is not known'
        : `${names} are annotated, and their proxies serve them`;
  return { name: 'captured', ok: bad.length > 0 ? false : ok, text };
}

function path(f: ProofFacts): Proof {
  if (f.legs.length === 0) return { name: 'path', ok: null, text: 'no connection was made' };
  const hops = [f.legs[0]?.from ?? '', ...f.legs.map((l) => l.to)].join(' → ');
  if (f.bypass !== undefined) return { name: 'path', ok: false, text: `${hops}; ${f.bypass}` };
  const how = f.waypoint === undefined ? 'direct' : `via waypoint ${f.waypoint}`;
  return { name: 'path', ok: true, text: `${how}: ${hops}` };
}

function identities(f: ProofFacts): Proof {
  const shown = f.legs.map((l) => `${l.local?.identity ?? '?'} → ${l.peer?.identity ?? '?'}`);
  const whole =
    f.legs.length > 0 && f.legs.every((l) => l.peer !== undefined && l.local !== undefined);
  const [first = [], ...rest] = f.roots;
  const shared = rest.every((r) => r.some((serial) => first.includes(serial)));
  const ok = whole ? shared : f.legs.length === 0 ? null : false;
  const root = rest.length === 0 || !shared ? '' : '; the same root at both ends';
  const text = !whole
    ? 'not every end has shown a certificate'
    : shared
      ? `${shown.join('; ')}${root}`
      : 'the two ends trust different roots';
  return { name: 'identities', ok, text };
}

function negotiated(f: ProofFacts): Proof {
  const texts = f.legs.map((l) =>
    l.tls ? `${l.tls.version} ${l.tls.cipher} ALPN ${l.tls.alpn}` : 'no TLS',
  );
  const ok = f.legs.length === 0 ? null : f.legs.every(provesMtls);
  return { name: 'negotiated', ok, text: texts.join('; ') || 'no connection was made' };
}

function policy({ report: r, notes }: ProofFacts): Proof {
  const decided = r.policies.find((p) => p.decided)?.name;
  const refused = r.verdict === 'refused';
  const by = decided ?? r.reason?.policy;
  const what = refused
    ? `refused${by === undefined ? '' : ` by ${by}`}`
    : r.policies.length === 0
      ? 'no policy applies'
      : `allowed with ${r.policies.map((p) => p.name).join(', ')} in force`;
  return { name: 'policy', ok: !refused, text: [what, ...notes].join('; ') };
}

/** In the order of the reference. */
export function proofsOf(f: ProofFacts): Proof[] {
  const { accepted, decidedBy } = f.report.plaintext;
  return [
    captured(f),
    path(f),
    identities(f),
    negotiated(f),
    policy(f),
    {
      name: 'plaintext-refused',
      ok: accepted === null ? null : !accepted,
      text: decidedBy,
    },
    {
      name: 'verdict',
      ok: f.report.verdict === 'unknown' ? null : f.report.verdict === 'mtls',
      text: f.report.verdict,
    },
  ];
}
