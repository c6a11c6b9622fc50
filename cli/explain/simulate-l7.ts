// What policies with targetRefs would change at the waypoints, judged on the requests that these have recorded. A record
// has caller, method and path, and neither headers nor claims. Pure.
import { parseIpPort } from '../../core/base/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import {
  accessPolicy,
  type AuthorizationPolicyFacts,
  field,
  isClassRef,
  isGatewayRef,
  isServiceRef,
  list,
  text,
} from '../../istiod-lite/index.ts';
import { decidedBy, judgeRequest, normalised, type Policies, policiesAt } from './l7.ts';
import type { Simulated } from './authz.ts';
import type { WaypointDump } from './waypoints.ts';

/** One request as a waypoint has recorded it. */
export interface SeenRequest {
  readonly source: { readonly addr: string; readonly identity: string };
  readonly destination: { readonly addr: string; readonly service: string };
  readonly request?: { readonly method: string; readonly path: string };
}

export interface WaypointSeen extends WaypointDump {
  readonly seen: readonly SeenRequest[];
}

/** Whether a policy holds for `namespace/host` behind the Gateway `namespace/name`. */
export function aimsAt(
  p: AuthorizationPolicyFacts,
  service: string,
  gateway: string,
  rootNamespace: string,
): boolean {
  return p.targetRefs.some((t) => {
    if (isServiceRef(t)) return service.startsWith(`${p.namespace}/${t.name}.${p.namespace}.svc.`);
    if (isGatewayRef(t)) return gateway === `${p.namespace}/${t.name}`;
    return isClassRef(t) && p.namespace === rootNamespace && t.name === 'istio-waypoint';
  });
}

const unseen = (p: Draft<wire.L7AccessPolicy>): boolean =>
  (p.rules ?? []).some(
    (r) =>
      (r.when ?? []).some((w) => (w.key ?? '').startsWith('request.') || w.key === 'remote.ip') ||
      (r.to ?? []).some((o) => filled(o.hosts)) ||
      (r.from ?? []).some((s) => filled(s.requestPrincipals) || filled(s.remoteIpBlocks)),
  );

const filled = (t: Draft<wire.L7Texts> | null | undefined): boolean =>
  (t?.any?.length ?? 0) + (t?.none?.length ?? 0) > 0;

/** Policies of the file that look at what no record holds: headers, hosts, claims. */
export const blindSpots = (added: readonly AuthorizationPolicyFacts[]): string[] =>
  added
    .map((p) => accessPolicy(p))
    .filter(unseen)
    .map(
      (p) =>
        `${p.key ?? ''} looks at headers, hosts or claims, which records do not hold: judged as if there were none`,
    );

function policiesAfter(
  before: Policies,
  added: readonly AuthorizationPolicyFacts[],
  aims: (p: AuthorizationPolicyFacts) => boolean,
): Policies {
  const keys = new Set(added.map((p) => `${p.namespace}/${p.name}`));
  const kept = before.filter((p) => !keys.has(p.key));
  return [...kept, ...normalised(added.filter(aims).map((p) => accessPolicy(p)))];
}

const word = (ok: boolean): 'allowed' | 'refused' => (ok ? 'allowed' : 'refused');

/** Each distinct caller, service, method and path that was recorded, judged before and after. */
export function simulateRequests(
  waypoints: readonly WaypointSeen[],
  added: readonly AuthorizationPolicyFacts[],
  rootNamespace: string,
): Simulated[] {
  const rows = new Map<string, Simulated>();
  for (const { waypoint, dump, seen } of waypoints) {
    const gateway = text(field(dump, 'gateway'));
    const names = list(field(dump, 'services')).map((s) => text(field(s, 'name')));
    for (const { source, destination, request } of seen) {
      const service = names.find((n) => n.endsWith(`/${destination.service}`));
      const before = service && policiesAt(dump, service);
      if (!request || !service || !before) continue;
      const after = policiesAfter(before, added, (p) => aimsAt(p, service, gateway, rootNamespace));
      const at = parseIpPort(destination.addr);
      const asked = {
        identity: source.identity === '' ? undefined : source.identity,
        sourceIp: parseIpPort(source.addr)?.ip ?? '',
        destinationIp: at?.ip ?? '',
        port: at?.port ?? 0,
        request: {
          method: request.method,
          path: request.path.split('?', 1)[0] ?? '/',
          host: destination.service,
          headers: [],
        },
      };
      const old = judgeRequest(before, asked);
      const next = judgeRequest(after, asked);
      const to = `${destination.service}:${asked.port} ${asked.request.method} ${asked.request.path}`;
      const key = `${source.identity} ${to} ${waypoint}`;
      rows.set(key, {
        source: source.identity === '' ? '(plaintext)' : source.identity,
        destination: to,
        live: false,
        before: word(old.allow),
        after: word(next.allow),
        decidedBy: `${decidedBy(next)} at waypoint ${waypoint}`,
        count: (rows.get(key)?.count ?? 0) + 1,
      });
    }
  }
  return [...rows.values()];
}
