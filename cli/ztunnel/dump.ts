// config_dump as the CLI reads it: Istio's keys, lists or maps, any letter case of the top keys
// (ztunnel-protocol.md 13.3). Pure; also used on files.
import { CliError } from '../errors.ts';

export interface DumpWorkload {
  readonly workloadIps?: readonly string[];
  readonly waypoint?: { readonly destination?: string };
  readonly protocol?: string;
  readonly uid?: string;
  readonly name?: string;
  readonly namespace?: string;
  readonly node?: string;
  readonly hostname?: string;
  readonly status?: string;
  readonly serviceAccount?: string;
}

export interface DumpService {
  readonly name?: string;
  readonly namespace?: string;
  readonly hostname?: string;
  readonly vips?: readonly string[];
  readonly waypoint?: { readonly destination?: string };
  readonly endpoints?: Readonly<Record<string, { readonly workloadUid?: string }>>;
}

export interface DumpPolicy {
  readonly name?: string;
  readonly namespace?: string;
  readonly scope?: string;
  readonly action?: string;
}

export interface DumpCertificateItem {
  readonly serialNumber?: string;
  readonly validFrom?: string;
  readonly expirationTime?: string;
}

export interface DumpCertificate {
  readonly identity?: string;
  readonly state?: string;
  readonly certChain?: readonly DumpCertificateItem[];
  readonly rootCerts?: readonly DumpCertificateItem[];
}

export interface DumpConnection {
  readonly src?: string;
  readonly originalDst?: string | null;
  readonly actualDst?: string;
  readonly protocol?: string;
}

export interface DumpWorkloadState {
  readonly state?: string;
  readonly info?: { readonly name?: string; readonly namespace?: string };
  readonly connections?: {
    readonly inbound?: readonly DumpConnection[];
    readonly outbound?: readonly DumpConnection[];
  };
}

export interface Dump {
  readonly workloads: readonly DumpWorkload[];
  readonly services: readonly DumpService[];
  readonly policies: readonly DumpPolicy[];
  readonly certificates: readonly DumpCertificate[];
  readonly workloadState: Readonly<Record<string, DumpWorkloadState>>;
  /** The whole dump as it came. */
  readonly raw: Readonly<Record<string, unknown>>;
}

/** Throws CliError if the value is no config dump. */
export function readDump(value: unknown): Dump {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new CliError('not a ztunnel config dump');
  }
  const raw = value as Record<string, unknown>;
  const at = (name: string): unknown =>
    Object.entries(raw).find(([k]) => k.toLowerCase() === name.toLowerCase())?.[1];
  const items = <T>(name: string): readonly T[] => {
    const v = at(name);
    if (Array.isArray(v)) return v as T[];
    return typeof v === 'object' && v !== null ? (Object.values(v) as T[]) : [];
  };
  if (at('workloads') === undefined && at('services') === undefined) {
    throw new CliError('not a ztunnel config dump: it has neither workloads nor services');
  }
  return {
    workloads: items('workloads'),
    services: items('services'),
    policies: items('policies'),
    certificates: items('certificates'),
    workloadState: (at('workloadState') ?? {}) as Dump['workloadState'],
    raw,
  };
}
