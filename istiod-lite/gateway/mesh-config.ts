// The mesh's own configuration, ConfigMap `istio` in the control plane's namespace, key `mesh`: what of it is read
// here (waypoint-l7.md 5.3, 5.6, 6.7, 6.9). A text that cannot be read changes nothing, and is told.
import { parse } from 'yaml';
import type { KubeObject } from '../../core/kube/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import { dict, field, list, text, texts } from '../cluster/index.ts';
import { number } from './objects.ts';
import { ms } from './hosts.ts';

export interface ProviderFacts {
  readonly name: string;
  /** `namespace/hostname`, or a hostname. */
  readonly service: string;
  /** All but where it is. */
  readonly how: Draft<wire.L7AuthProvider>;
  /** It cannot be read: what asks it is refused. */
  readonly fault?: string | undefined;
}

export interface MeshConfigFacts {
  readonly providers: ReadonlyMap<string, ProviderFacts>;
  /** Absent = BASE. */
  readonly normalization?: string | undefined;
  /** `defaultHttpRetryPolicy`, as it is written. */
  readonly retries?: unknown;
  /** 0 = the waypoint's own default. */
  readonly connectTimeoutMs: number;
  readonly fault?: string | undefined;
}

export const noMeshConfig: MeshConfigFacts = { providers: new Map(), connectTimeoutMs: 0 };

/** The name of its ConfigMap, in the control plane's namespace. */
export const meshConfigName = 'istio';

const maxMs = 600_000;
const listed = (v: unknown): string[] => texts(v).filter((n) => n !== '*');

function body(v: unknown): Draft<wire.L7AuthProvider> {
  return {
    maxBody: Math.max(0, number(field(v, 'maxRequestBytes'))),
    partialBody: field(v, 'allowPartialMessage') === true,
    bodyAsBytes: field(v, 'packAsBytes') === true,
  };
}

function httpForm(v: unknown): Draft<wire.L7HttpCheck> {
  const more = dict(field(v, 'includeAdditionalHeadersInCheck'));
  return {
    pathPrefix: text(field(v, 'pathPrefix')),
    include: listed(field(v, 'includeRequestHeadersInCheck')),
    additional: [...more].map(([name, value]) => ({ name: name.toLowerCase(), value })),
    upstreamOnAllow: listed(field(v, 'headersToUpstreamOnAllow')),
    downstreamOnAllow: listed(field(v, 'headersToDownstreamOnAllow')),
    downstreamOnDeny: listed(field(v, 'headersToDownstreamOnDeny')),
  };
}

/** `undefined` = another kind of provider, for telemetry. */
function readProvider(v: unknown): ProviderFacts | undefined {
  const name = text(field(v, 'name'));
  const http = field(v, 'envoyExtAuthzHttp');
  const grpc = field(v, 'envoyExtAuthzGrpc');
  const given = http ?? grpc;
  if (given === undefined || given === null) return undefined;
  const port = number(field(given, 'port'));
  const service = text(field(given, 'service'));
  const timeout = text(field(given, 'timeout'));
  const timeoutMs = timeout === '' || timeout === '0s' ? 0 : ms(timeout);
  const prefix = text(field(given, 'pathPrefix'));
  const status = Number(field(given, 'statusOnError') ?? 0);
  const faults = [
    /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name) ? '' : 'its name is no DNS label',
    service === '' ? 'service is missing' : '',
    port < 1 || port > 65_535 ? 'port is missing' : '',
    timeout !== '' && timeout !== '0s' && timeoutMs === 0 ? 'timeout is no duration' : '',
    prefix !== '' && !prefix.startsWith('/') ? 'pathPrefix must start with /' : '',
    Number.isInteger(status) && (status === 0 || (status >= 200 && status <= 599))
      ? ''
      : 'statusOnError is no HTTP status',
  ].filter((f) => f !== '');
  return {
    name,
    service,
    how: {
      name,
      port,
      timeoutMs: Math.min(timeoutMs, maxMs),
      failOpen: field(given, 'failOpen') === true,
      statusOnError: Number.isInteger(status) ? status : 0,
      ...body(field(given, 'includeRequestBodyInCheck')),
      ...(http !== undefined && http !== null && { http: httpForm(http) }),
    },
    fault: faults.length > 0 ? faults.join(', ') : undefined,
  };
}

const modes = ['DEFAULT', 'NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'];

/** `before` is what held until now. */
export function readMeshConfig(o: KubeObject, before: MeshConfigFacts): MeshConfigFacts {
  let mesh: unknown;
  try {
    mesh = parse(text(field(o['data'], 'mesh')), { maxAliasCount: 100 });
  } catch {
    return { ...before, fault: 'the text of key "mesh" is no YAML' };
  }
  const providers = new Map<string, ProviderFacts>();
  for (const v of list(field(mesh, 'extensionProviders'))) {
    const p = readProvider(v);
    if (!p) continue;
    const twice = providers.has(p.name) ? { fault: 'its name is given twice' } : {};
    providers.set(p.name, { ...p, ...twice });
  }
  const mode = text(field(mesh, 'pathNormalization', 'normalization'));
  const isMode = mode === '' || modes.includes(mode);
  const timeout = text(field(mesh, 'connectTimeout'));
  const isTimeout = timeout === '' || ms(timeout) > 0;
  const faults = [
    isMode ? '' : `pathNormalization "${mode.slice(0, 60)}" is not known`,
    isTimeout ? '' : `connectTimeout "${timeout.slice(0, 60)}" is no duration above 0`,
  ].filter((f) => f !== '');
  return {
    providers,
    normalization: isMode ? mode || undefined : before.normalization,
    retries: field(mesh, 'defaultHttpRetryPolicy'),
    connectTimeoutMs: isTimeout ? ms(timeout) : before.connectTimeoutMs,
    ...(faults.length > 0 && { fault: faults.join(', ') }),
  };
}
