// Everything about security that a waypoint is told with a service or gateway: who may, whose tokens count, whom to ask.
import { L7Normalization, L7PolicyAction } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import type { AuthorizationPolicyFacts, ServiceFacts } from '../cluster/index.ts';
import { accessPolicy } from './access.ts';
import { jwtRules } from './authentication.ts';
import type { World } from './binding.ts';
import { located } from './located.ts';
import { pluginsOf } from './plugins.ts';
import { rateLimits } from './rate-limits.ts';
import { policiesFor } from './targets.ts';

/** On a CUSTOM policy: asked after tokens are checked, so that its rules may name end users. */
const afterTokensAnnotation = 'ambientlite.dev/custom-after-authentication';

/** What is wrong with the provider a policy names; `undefined` = nothing. */
export function providerFault(world: World, name: string): string | undefined {
  const p = world.gateways.meshConfig.providers.get(name);
  if (!p) return `provider "${name}" is not in the mesh configuration`;
  if (p.fault !== undefined) return `provider "${name}": ${p.fault}`;
  return located(world, p.service, p.how.port ?? 0)
    ? undefined
    : `provider "${name}": service ${p.service} with port ${p.how.port} was not found`;
}

function provider(world: World, name: string): Draft<wire.L7AuthProvider> {
  const p = world.gateways.meshConfig.providers.get(name);
  const where = p && p.fault === undefined && located(world, p.service, p.how.port ?? 0);
  return where ? { ...p.how, ...where } : { name, broken: true };
}

/** Asked before tokens are read or anybody has said anything, a rule cannot tell them apart: it holds for all. */
const withoutUsers = (r: Draft<wire.L7AccessRule>): Draft<wire.L7AccessRule> => ({
  ...r,
  from: (r.from ?? []).map((s) => ({ ...s, requestPrincipals: undefined })),
  when: (r.when ?? []).filter((w) => !/^(request\.auth|experimental)\./.test(w.key ?? '')),
});

function policy(p: AuthorizationPolicyFacts): Draft<wire.L7AccessPolicy> {
  const made = accessPolicy(p);
  if (made.action !== L7PolicyAction.CUSTOM) return made;
  const afterTokens = p.annotations.get(afterTokensAnnotation) === 'true';
  const rules = made.rules ?? [];
  return {
    ...made,
    provider: p.provider,
    afterTokens,
    rules: afterTokens ? rules : rules.map(withoutUsers),
  };
}

const normalizations: Readonly<Record<string, number>> = {
  NONE: L7Normalization.AS_IT_IS,
  MERGE_SLASHES: L7Normalization.MERGE_SLASHES,
  DECODE_AND_MERGE_SLASHES: L7Normalization.DECODE_AND_MERGE_SLASHES,
};

/** `gateway` is `namespace/name`; no service = what comes in at the gateway itself. */
export function securityFor(
  world: World,
  service: ServiceFacts | undefined,
  gateway: string,
): Draft<wire.L7ServiceConfig> {
  const all = policiesFor(world, service, gateway);
  const names = new Set(all.filter((p) => p.action === 'CUSTOM').map((p) => p.provider));
  return {
    policies: all.map(policy),
    jwtRules: jwtRules(world, service, gateway),
    providers: [...names].map((n) => provider(world, n)),
    rateLimits: rateLimits(world, service, gateway),
    plugins: pluginsOf(world, service, gateway),
    pathNormalization: normalizations[world.gateways.meshConfig.normalization ?? ''] ?? 0,
  };
}
