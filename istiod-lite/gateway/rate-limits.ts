// RateLimitPolicy (ambientlite.dev/v1alpha1) → limits a waypoint holds requests to. Pure.
import type { KubeObject } from '../../core/kube/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import {
  type Condition,
  field,
  list,
  type Meta,
  readConditions,
  readMeta,
  readTargets,
  type ServiceFacts,
  text,
  texts,
} from '../cluster/index.ts';
import type { World } from './binding.ts';
import { ms, whole } from './hosts.ts';
import { located } from './located.ts';
import { aims, type TargetRef } from './targets.ts';

interface SharedFacts {
  /** `namespace/hostname`, or a hostname. */
  readonly service: string;
  readonly port: number;
  readonly timeoutMs: number;
  readonly failClosed: boolean;
}

export interface RateLimitFacts extends Meta {
  readonly targetRefs: readonly TargetRef[];
  readonly limits: readonly Draft<wire.L7RateLimit>[];
  readonly shared: SharedFacts | undefined;
  /** Limits that cannot be read: they do not hold. */
  readonly faults: readonly string[];
  readonly conditions: readonly Condition[];
}

const units: Readonly<Record<string, number>> = {
  Second: 1_000,
  Minute: 60_000,
  Hour: 3_600_000,
  Day: 86_400_000,
};
const maxLimits = 32;
const maxKeys = 8;

function readKey(k: unknown): Draft<wire.L7RateKey> | undefined {
  const name = text(field(k, 'name'));
  switch (text(field(k, 'type'))) {
    case 'Identity':
      return { identity: true };
    case 'Path':
      return { path: true };
    case 'Method':
      return { method: true };
    case 'Address':
      return { address: true };
    case 'Header':
      return name === '' ? undefined : { header: name.toLowerCase() };
    case 'Claim':
      return name === '' ? undefined : { claim: name };
    default:
      return undefined;
  }
}

function readLimit(l: unknown, at: number, faults: string[]): Draft<wire.L7RateLimit> | undefined {
  const name = text(field(l, 'name')) || `limit-${at}`;
  const requests = whole(field(l, 'requests'));
  const unit = text(field(l, 'unit')) || 'Second';
  const unitMs = Object.hasOwn(units, unit) ? units[unit] : undefined;
  const keys = list(field(l, 'by')).slice(0, maxKeys).map(readKey);
  const by = keys.filter((k) => k !== undefined);
  const wrong =
    requests === 0
      ? 'requests must be 1 or more'
      : unitMs === undefined
        ? `unit "${unit.slice(0, 40)}" is not known`
        : by.length < keys.length
          ? 'by has a type that is not known, or a name is missing'
          : '';
  if (wrong !== '' || unitMs === undefined) {
    faults.push(`${name}: ${wrong}`);
    return undefined;
  }
  return {
    name,
    requests,
    unitMs,
    burst: whole(field(l, 'burst')),
    by,
    paths: { any: texts(field(l, 'paths')) },
    methods: { any: texts(field(l, 'methods')) },
  };
}

export function readRateLimitPolicy(o: KubeObject): RateLimitFacts {
  const spec = o['spec'];
  const faults: string[] = [];
  const dryRun = field(spec, 'dryRun') === true;
  const shared = field(spec, 'shared');
  const limits = list(field(spec, 'limits'))
    .slice(0, maxLimits)
    .map((l, i) => readLimit(l, i, faults))
    .filter((l) => l !== undefined);
  return {
    ...readMeta(o.metadata),
    targetRefs: readTargets(spec),
    limits: limits.map((l) => ({ ...l, dryRun })),
    shared:
      shared === undefined || shared === null
        ? undefined
        : {
            service: text(field(shared, 'service')),
            port: whole(field(shared, 'port')),
            timeoutMs: ms(field(shared, 'timeout')),
            failClosed: field(shared, 'failureMode') === 'Closed',
          },
    faults,
    conditions: readConditions(o),
  };
}

/** Limits that hold for a service behind `gateway` (`namespace/name`), by policy, then as written. */
export function rateLimits(
  world: World,
  service: ServiceFacts | undefined,
  gateway: string,
): Draft<wire.L7RateLimit>[] {
  const key = (p: RateLimitFacts): string => `${p.namespace}/${p.name}`;
  return [...world.gateways.rateLimits.values()]
    .filter((p) => p.targetRefs.some((t) => aims(world, p, t, service, gateway)))
    .toSorted((a, b) => (key(a) < key(b) ? -1 : 1))
    .flatMap((p) => {
      const { shared } = p;
      const where = shared && located(world, shared.service, shared.port);
      // A service that is not there cannot be asked: its own setting says what then.
      const asked = shared && {
        namespace: where?.namespace ?? p.namespace,
        hostname: where?.hostname ?? shared.service,
        port: shared.port,
        timeoutMs: shared.timeoutMs,
        failClosed: shared.failClosed,
        domain: key(p),
      };
      return p.limits.map((l) => ({ ...l, policy: key(p), ...(asked && { shared: asked }) }));
    });
}
