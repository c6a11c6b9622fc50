// Errors as values of the table in fault-table.ts, and how they are told to a peer and read back.
import { type FaultCode, type FaultRow, faults } from './fault-table.ts';

export interface FaultDetail {
  /** Plain words beside the code; never holds secrets or peer text unescaped. */
  readonly detail?: string;
  /** `namespace/name` of the policy that decided. */
  readonly policy?: string;
  readonly cause?: unknown;
}

/** The one error class of the data path. Expected outcomes are plan values; this is for what throws. */
export class MeshError extends Error {
  readonly code: FaultCode;
  readonly policy: string | undefined;
  readonly detail: string | undefined;

  constructor(code: FaultCode, more: FaultDetail = {}) {
    // The code says where it comes from; a stack for every refused connection would cost more than the refusal.
    const { stackTraceLimit } = Error;
    if (code !== 'INTERNAL') Error.stackTraceLimit = 0;
    super(more.detail === undefined ? code : `${code}: ${more.detail}`, { cause: more.cause });
    Error.stackTraceLimit = stackTraceLimit;
    this.name = 'MeshError';
    this.code = code;
    this.policy = more.policy;
    this.detail = more.detail;
  }

  get row(): FaultRow {
    return faults[this.code];
  }
}

const codeOf = (error: unknown): string | undefined => {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
};

/** Normalises anything caught to a MeshError; walks `cause` for one already made. */
export function fromUnknown(error: unknown, otherwise: FaultCode = 'INTERNAL'): MeshError {
  for (let e: unknown = error, i = 0; e !== undefined && e !== null && i < 8; i++) {
    if (e instanceof MeshError) return e;
    e = e instanceof Error ? e.cause : undefined;
  }
  const text = error instanceof Error ? error.message : String(error);
  switch (codeOf(error)) {
    case 'ECONNREFUSED':
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return new MeshError('DIAL_REFUSED', { detail: text, cause: error });
    case 'ETIMEDOUT':
      return new MeshError('DIAL_TIMEOUT', { detail: text, cause: error });
    case 'ECONNRESET':
    case 'EPIPE':
      return new MeshError('PEER_RESET', { detail: text, cause: error });
    default:
      return new MeshError(otherwise, { detail: text, cause: error });
  }
}

/** `x-ambient-reason` value: `CODE` or `CODE; policy=ns/name` (sandbox.md D12). */
export function printReason(code: FaultCode, policy?: string): string {
  return policy === undefined ? code : `${code}; policy=${policy}`;
}

/** Reads a peer's `x-ambient-reason`; unknown codes and junk give `undefined`. */
export function parseReason(
  text: string | undefined,
): { code: FaultCode; policy?: string } | undefined {
  if (text === undefined || text.length > 512) return undefined;
  const [code = '', rest] = text.split('; policy=', 2);
  if (!Object.hasOwn(faults, code)) return undefined;
  if (rest === undefined) return { code: code as FaultCode };
  const clean = Array.from(rest).every((c) => c > ' ' && c <= '~' && c !== ';' && c !== '"');
  return clean ? { code: code as FaultCode, policy: rest } : { code: code as FaultCode };
}

/** Escapes control and non-ASCII characters of text that came from a peer (checklist section 0.8). */
export function printable(text: string, limit = 200): string {
  let out = '';
  for (const c of text.slice(0, limit)) {
    out += c >= ' ' && c <= '~' && c !== '\\' ? c : `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`;
  }
  return text.length > limit ? `${out}…` : out;
}
