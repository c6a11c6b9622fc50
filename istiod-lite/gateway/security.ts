// Everything about security that a waypoint is told with a service or gateway: who may, whose tokens count, whom to ask.
import { L7PolicyAction } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import type { AuthorizationPolicyFacts, ServiceFacts } from '../cluster/index.ts';
import { serviceHostname } from '../translate/index.ts';
import { accessPolicy } from './access.ts';
import { jwtRules } from './authentication.ts';
import type { World } from './binding.ts';
import { policiesFor } from './targets.ts';

/** On a CUSTOM policy: asked after tokens are checked, so that its rules may name end users. */
const afterTokensAnnotation = 'ambientlite.dev/custom-after-authentication';

/** Where a provider's service is in the mesh. */
function located(
  world: World,
  service: string,
  port: number,
): { readonly namespace: string; readonly hostname: string } | undefined {
  const cut = service.indexOf('/');
  const namespace = cut < 0 ? undefined : service.slice(0, cut);
  const host = service.slice(cut + 1).toLowerCase();
  const here = (n: string): boolean => namespace === undefined || namespace === n;
  for (const s of world.cluster.services.all()) {
    const hostname = serviceHostname(s, world.settings);
    if (hostname === host && here(s.namespace) && s.ports.some((p) => p.port === port))
      return { namespace: s.namespace, hostname };
  }
  for (const e of world.cluster.serviceEntries.all()) {
    if (e.hosts.includes(host) && here(e.namespace))
      return { namespace: e.namespace, hostname: host };
  }
  return undefined;
}

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

/** Asked before tokens are read, a rule cannot tell end users apart: it holds for all of them. */
const withoutUsers = (r: Draft<wire.L7AccessRule>): Draft<wire.L7AccessRule> => ({
  ...r,
  from: (r.from ?? []).map((s) => ({ ...s, requestPrincipals: undefined })),
  when: (r.when ?? []).filter((w) => !(w.key ?? '').startsWith('request.auth.')),
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

/** `gateway` is `namespace/name`; no service = what comes in at the gateway itself. */
export function securityFor(
  world: World,
  service: ServiceFacts | undefined,
  gateway: string,
): Draft<wire.L7ServiceConfig> {
  const all = policiesFor(world, service, gateway).filter((p) => p.action !== 'AUDIT');
  const names = new Set(all.filter((p) => p.action === 'CUSTOM').map((p) => p.provider));
  return {
    policies: all.map(policy),
    jwtRules: jwtRules(world, service, gateway),
    providers: [...names].map((n) => provider(world, n)),
  };
}
