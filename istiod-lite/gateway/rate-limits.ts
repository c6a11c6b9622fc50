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
} from '../cluster/index.ts';
import type { World } from './binding.ts';
import { ms } from './hosts.ts';
import { located } from './located.ts';
import {
  maxLimits,
  type RateKey,
  type RateUnit,
  rateLimit,
  sharedCounter,
} from './rate-limit-schema.ts';
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

const unitMs: Readonly<Record<RateUnit, number>> = {
  Second: 1_000,
  Minute: 60_000,
  Hour: 3_600_000,
  Day: 86_400_000,
};

/** `undefined`: its name is missing. */
function keyOf({ type, name = '' }: RateKey): Draft<wire.L7RateKey> | undefined {
  switch (type) {
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
  }
}

function readLimit(l: unknown, at: number, faults: string[]): Draft<wire.L7RateLimit> | undefined {
  const name = text(field(l, 'name')) || `limit-${at}`;
  const wrong: string[] = [];
  const read = rateLimit.read(l, '', wrong);
  const keys = (read?.by ?? []).map(keyOf);
  const by = keys.filter((k) => k !== undefined);
  if (by.length < keys.length) wrong.push('by: the name of a Header or a Claim is missing');
  faults.push(...wrong.map((what) => `${name}: ${what}`));
  if (!read || wrong.length > 0) return undefined;
  return {
    name,
    requests: read.requests,
    unitMs: unitMs[read.unit ?? 'Second'],
    burst: read.burst ?? 0,
    by,
    paths: { any: [...(read.paths ?? [])] },
    methods: { any: [...(read.methods ?? [])] },
  };
}

/** One that cannot be read counts as one that gives no answer: its limits are not counted by each replica. */
function readShared(shared: unknown, faults: string[]): SharedFacts | undefined {
  if (shared === undefined || shared === null) return undefined;
  const read = sharedCounter.read(shared, 'shared', faults);
  return {
    service: read?.service ?? text(field(shared, 'service')),
    port: read?.port ?? 0,
    timeoutMs: ms(read?.timeout),
    failClosed: field(shared, 'failureMode') === 'Closed',
  };
}

export function readRateLimitPolicy(o: KubeObject): RateLimitFacts {
  const spec = o['spec'];
  const faults: string[] = [];
  const dryRun = field(spec, 'dryRun') === true;
  const shared = readShared(field(spec, 'shared'), faults);
  const limits = list(field(spec, 'limits'))
    .slice(0, maxLimits)
    .map((l, i) => readLimit(l, i, faults))
    .filter((l) => l !== undefined);
  return {
    ...readMeta(o.metadata),
    targetRefs: readTargets(spec),
    limits: limits.map((l) => ({ ...l, dryRun })),
    shared,
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
