// AuthorizationPolicy with targetRefs → what a waypoint judges (waypoint-l7.md 6), and the condition that
// tells its author where it is attached (control-plane.md 3.8).
import { L7PolicyAction } from '../../core/proto/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import type { AuthorizationPolicyFacts, SourceFacts, Texts } from '../cluster/index.ts';

const copy = (t: Texts): Draft<wire.L7Texts> => ({ any: [...t.any], none: [...t.none] });

/** `sa` means the policy's own namespace. */
const accounts = (t: Texts, namespace: string): Draft<wire.L7Texts> => {
  const full = (s: string): string => (s.includes('/') ? s : `${namespace}/${s}`);
  return { any: t.any.map(full), none: t.none.map(full) };
};

function source(s: SourceFacts, namespace: string): Draft<wire.L7AccessSource> {
  return {
    principals: copy(s.principals),
    namespaces: copy(s.namespaces),
    ipBlocks: copy(s.ipBlocks),
    remoteIpBlocks: copy(s.remoteIpBlocks),
    serviceAccounts: accounts(s.serviceAccounts, namespace),
    requestPrincipals: copy(s.requestPrincipals),
  };
}

const known = new Set([
  'source.ip',
  'remote.ip',
  'source.namespace',
  'source.principal',
  'source.serviceAccount',
  'destination.ip',
  'destination.port',
  'connection.sni',
  'request.auth.principal',
  'request.auth.audiences',
  'request.auth.presenter',
]);
const isKnown = (key: string): boolean =>
  known.has(key) ||
  /^request\.headers\[.+\]$/.test(key) ||
  /^request\.auth\.claims(\[[^[\]]+\])+$/.test(key) ||
  /^experimental\.envoy\.filters\.http\.ext_authz\[[^[\]]+\]$/.test(key);

const actions: Readonly<Record<string, number>> = {
  ALLOW: L7PolicyAction.ALLOW,
  DENY: L7PolicyAction.DENY,
  CUSTOM: L7PolicyAction.CUSTOM,
  AUDIT: L7PolicyAction.AUDIT,
};

/** Keys of `when` that a waypoint cannot judge yet. */
export function unknownKeys(p: AuthorizationPolicyFacts): string[] {
  return p.rules.flatMap((r) => r.when.map((w) => w.key)).filter((k) => !isKnown(k));
}

export function accessPolicy(p: AuthorizationPolicyFacts): Draft<wire.L7AccessPolicy> {
  return {
    key: `${p.namespace}/${p.name}`,
    // What is none of these is refused as a whole: nothing asked for may go unenforced.
    action: actions[p.action] ?? L7PolicyAction.DENY,
    dryRun: p.annotations.get('istio.io/dry-run') === 'true',
    rules: p.rules.map((r) => ({
      from: r.from.map((s) => source(s, p.namespace)),
      to: r.to.map((o) => ({
        hosts: copy(o.hosts),
        ports: copy(o.ports),
        methods: copy(o.methods),
        paths: copy(o.paths),
      })),
      when: r.when
        .filter((w) => isKnown(w.key))
        .map((w) => ({ key: w.key, values: copy(w.values) })),
      unreadable: r.bad.length > 0 || r.when.some((w) => !isKnown(w.key)),
    })),
  };
}
