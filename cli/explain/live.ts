// What only the running cluster knows of an explained connection: a waypoint that is asked for and absent, endpoints that
// the waypoint leaves out for now.
import { failOpenAnnotation, field, list, text } from '../../istiod-lite/index.ts';
import { type KubeClient, resources } from '../../core/kube/index.ts';
import { serviceKey, type Workload } from '../../core/model/index.ts';
import { callPodJson } from '../admin-client.ts';
import { adminPort } from '../refs.ts';
import type { Candidate, Explanation } from './explain.ts';
import type { Destination } from './find.ts';
import { type AskedRequest, policiesAt, requestVerdict } from './l7.ts';
import type { WaypointDump } from './waypoints.ts';

/** `name.namespace` of ejected pods, with the time until they are back. */
export function ejectedPods(
  dump: unknown,
  service: { readonly namespace: string; readonly hostname: string },
  port: number,
): Map<string, number> {
  const out = new Map<string, number>();
  const wanted = `${service.namespace}/${service.hostname}|${port}|`;
  for (const c of list(field(dump, 'clusters'))) {
    if (!text(field(c, 'cluster')).startsWith(wanted)) continue;
    for (const o of list(field(c, 'outliers'))) {
      if (field(o, 'ejected') !== true) continue;
      // cluster//Pod/namespace/name
      const [name = '', namespace = ''] = text(field(o, 'host')).split('/').toReversed();
      const back = field(o, 'backInMs');
      out.set(`${name}.${namespace}`, typeof back === 'number' ? back : 0);
    }
  }
  return out;
}

export function withEjected(
  all: readonly Candidate[],
  out: ReadonlyMap<string, number>,
  waypoint: string,
): Candidate[] {
  return all.map((c) => {
    const back = out.get(c.pod);
    if (back === undefined) return c;
    const why = `ejected by ${waypoint}, back in ${Math.ceil(back / 1000)} s`;
    return { ...c, fit: false, why };
  });
}

/** What of a waypoint judges requests to a service, in the order in which it does. */
export function judgeNotes(
  dump: unknown,
  service: { readonly namespace: string; readonly hostname: string },
): string[] {
  const name = `${service.namespace}/${service.hostname}`;
  const found = list(field(dump, 'services')).find((s) => field(s, 'name') === name);
  const judges = field(found, 'judges');
  const policies = (action: string): string[] =>
    list(field(judges, 'policies'))
      .filter((p) => field(p, 'action') === action)
      .map((p) => {
        const provider = text(field(p, 'provider'));
        const dry = field(p, 'dryRun') === true ? ' (dry run)' : '';
        return `${text(field(p, 'key'))}${provider === '' ? '' : ` asks ${provider}`}${dry}`;
      });
  const issuers = list(field(judges, 'issuers')).map((i) => {
    const keys = field(i, 'keys') === true ? '' : ' (no keys: its tokens are refused)';
    return `${text(field(i, 'issuer'))}${keys}`;
  });
  const limits = list(field(judges, 'limits')).map(
    (l) => `${text(field(l, 'policy'))} ${text(field(l, 'name'))}`,
  );
  const rows: readonly (readonly [string, readonly string[]])[] = [
    ['CUSTOM', policies('CUSTOM')],
    ['tokens of', issuers],
    ['DENY', policies('DENY')],
    ['ALLOW', policies('ALLOW')],
    ['rate limits', limits],
  ];
  return rows
    .filter(([, all]) => all.length > 0)
    .map(([what, all]) => `requests are judged by ${what} ${all.join(', ')}`);
}

/** The condition that says so. */
function notBound(service: unknown): unknown {
  const conditions = list(field(service, 'status', 'conditions'));
  const c = conditions.find((x) => field(x, 'type') === 'istio.io/WaypointBound');
  return field(c, 'status') === 'False' ? c : undefined;
}

/** What the status of the service says of a waypoint that it asks for and cannot have. */
export function absentNote(
  service: unknown,
  namespace: unknown,
  refused: boolean,
): string | undefined {
  const c = notBound(service);
  if (c === undefined) return undefined;
  const says = (o: unknown): unknown =>
    field(o, 'metadata', 'annotations', failOpenAnnotation) ?? undefined;
  const then = refused
    ? 'a policy would be skipped, so every proxy refuses'
    : (says(service) ?? says(namespace)) === 'true'
      ? `by annotation ${failOpenAnnotation} it is gone around, with its policies`
      : 'no policy is skipped, so it is gone around';
  return `${text(field(c, 'reason'))}: ${text(field(c, 'message'))}; ${then}`;
}

/** With what the waypoint says to a request of `from`: a refusal there is one of the whole way. */
export function withRequest(
  e: Explanation,
  { waypoint, dump }: WaypointDump,
  from: Pick<Workload, 'addresses'>,
  to: Destination,
  asked: AskedRequest,
): Explanation {
  const policies = to.service && policiesAt(dump, serviceKey(to.service));
  if (!policies)
    return { ...e, notes: [...e.notes, `${waypoint} does not stand before ${to.label}`] };
  const request = requestVerdict(waypoint, policies, {
    identity: e.captured ? e.identities.source : undefined,
    sourceIp: from.addresses[0] ?? '',
    destinationIp: to.ip,
    port: to.port,
    request: asked,
  });
  return { ...e, request, ...(!request.allow && { outcome: 'refused' as const }) };
}

export async function withLiveFacts(
  kube: KubeClient,
  e: Explanation,
  to: Destination,
  asked?: { readonly from: Workload; readonly request: AskedRequest },
): Promise<Explanation> {
  const { service } = to;
  if (!service) return e;
  const object = await kube.get(resources.services, service.namespace, service.name);
  // A user who may not read namespaces learns the rest.
  const around = notBound(object)
    ? await kube.get(resources.namespaces, undefined, service.namespace).catch(() => undefined)
    : undefined;
  const absent = absentNote(object, around, e.path.do === 'refuse');
  const notes = absent === undefined ? e.notes : [...e.notes, absent];
  const { via, endpoint } = e.path;
  if (via !== 'waypoint' || endpoint === undefined) return { ...e, notes };
  const [name = '', namespace = ''] = endpoint.split('.');
  try {
    const dump = await callPodJson(kube, { namespace, name }, adminPort, 'GET', '/config_dump');
    const out = ejectedPods(dump, service, to.port);
    const judged = [...notes, ...judgeNotes(dump, service)];
    const whole = { ...e, notes: judged, candidates: withEjected(e.candidates, out, endpoint) };
    if (!asked) return whole;
    return withRequest(whole, { waypoint: endpoint, dump }, asked.from, to, asked.request);
  } catch (error) {
    if (asked) throw error;
    return { ...e, notes: [...notes, `${endpoint} could not be asked for ejected endpoints`] };
  }
}
