// What authz check and describe show of a waypoint. Pure; a file of its own, so that only those who need the waypoint's
// code read it.
import type { MeshView, Service } from '../../core/model/index.ts';
import { actionName } from '../../waypoint/index.ts';
import { type ReachRow, sourcesOf } from './authz.ts';
import type { PolicyFact } from './describe.ts';
import { type AskedRequest, type Policies, policiesAt, requestVerdict } from './l7.ts';
import type { WaypointDump } from './waypoints.ts';

/** Every identity of the mesh with one request, against each port of a service at its waypoint. */
export function reachAtWaypoint(
  mesh: MeshView,
  service: Service,
  waypoint: string,
  policies: Policies,
  request: AskedRequest,
): ReachRow[] {
  return service.ports.flatMap(({ servicePort: port }) =>
    sourcesOf(mesh).map(([source, w]): ReachRow => {
      const v = requestVerdict(waypoint, policies, {
        identity: source,
        sourceIp: w.addresses[0] ?? '',
        destinationIp: service.vips[0]?.ip ?? '',
        port,
        request,
      });
      const { allow: allowed, decidedBy } = v;
      return {
        source,
        port,
        allowed,
        decidedBy,
        where: `waypoint ${waypoint}`,
        service: `${service.name}.${service.namespace}`,
        request: v.request,
      };
    }),
  );
}

/** What judges requests at a waypoint before a service. */
export interface WaypointFacts {
  readonly service: string;
  readonly waypoint: string;
  readonly policies: readonly (Omit<PolicyFact, 'scope'> & { readonly provider: string })[];
}

/** `undefined` = this waypoint does not stand before the service. */
export function describeAtWaypoint(
  { waypoint, dump }: WaypointDump,
  service: string,
): WaypointFacts | undefined {
  const all = policiesAt(dump, service);
  const policies = all?.map(({ key, action, dryRun, rules, provider }) => ({
    name: key,
    action: actionName(action),
    dryRun,
    rules: rules.length,
    provider,
  }));
  return policies && { service, waypoint, policies };
}

export function printWaypoints(all: readonly WaypointFacts[]): string {
  const lines = all.flatMap(({ service, waypoint, policies }) =>
    policies.length === 0
      ? [`   At waypoint ${waypoint}: no policy judges requests to ${service}`]
      : policies.map((p) => {
          const rules = p.rules === 1 ? '1 rule' : `${p.rules} rules`;
          const more = [p.provider && `asks ${p.provider}`, p.dryRun && 'dry run'].filter(Boolean);
          return `   At waypoint ${waypoint}: ${[`${p.name}  ${p.action}`, rules, ...more].join(', ')}`;
        }),
  );
  return lines.map((l) => `${l}\n`).join('');
}
