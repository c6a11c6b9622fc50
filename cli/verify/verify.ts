// Collects the evidence for `verify mtls`: a real probe through FROM's ztunnel, behind a waypoint a second one
// by the waypoint, the record of the same connection at the other end, the policies in force there, and a
// connection without identity from outside the mesh. Reads only what proxies recorded.
import { newTraceparent, parseIpPort, traceIdOf } from '../../core/base/index.ts';
import { type KubeClient, type KubeObject, resources } from '../../core/kube/index.ts';
import { redirectionKey } from '../../core/model/index.ts';
import { systemRandom } from '../../core/runtime/index.ts';
import { callPodJson } from '../admin-client.ts';
import {
  adminPort,
  parseReference,
  podSpec,
  resolvePod,
  type ZtunnelPod,
  ztunnelPods,
} from '../refs.ts';
import { type Dump, type DumpWorkload, readDump } from '../ztunnel/dump.ts';
import {
  type Answer,
  type Inbound,
  inboundOf,
  legOf,
  type SecondAnswer,
  wireLeaks,
  wireText,
} from './answers.ts';
import { policyNotes, rootsOf, waypointPolicies, whyNotServed } from './configuration.ts';
import { probeFromOutside } from './outside.ts';
import { judgePlaintext, judgeRecord, noteOf, policiesOf } from './plaintext.ts';
import { type EndFacts, proofsOf } from './proofs.ts';
import { findTarget, podLabel, type Target } from './target.ts';
import { type Evidence, judge, type Leg, type PolicyNote, type Report } from './verdict.ts';

export interface VerifyOptions {
  readonly from: string;
  readonly to: string;
  readonly namespace: string;
  readonly istioNamespace: string;
  readonly timeoutMs: number;
  /** A connection of its own instead of the pool's. */
  readonly fresh: boolean;
  /** Plaintext is really sent, where that can be done; else the policies are judged. */
  readonly sendPlaintext: boolean;
}

/** Where the bytes end, as far as it is known. */
interface Endpoint {
  readonly workload: DumpWorkload & { readonly authorizationPolicies?: readonly string[] };
  readonly port: number;
}

interface Base {
  readonly from: string;
  readonly to: string;
  readonly destination: string;
}

class Collector {
  readonly #kube: KubeClient;
  readonly #o: VerifyOptions;
  readonly #ztunnels: readonly ZtunnelPod[];
  readonly #evidence: Evidence[] = [];
  readonly #traceparent = newTraceparent(systemRandom);
  readonly #trace = traceIdOf(this.#traceparent) ?? '';

  constructor(kube: KubeClient, o: VerifyOptions, ztunnels: readonly ZtunnelPod[]) {
    this.#kube = kube;
    this.#o = o;
    this.#ztunnels = ztunnels;
  }

  async run(pod: KubeObject, target: Target): Promise<Report> {
    const from = podLabel(pod);
    const base: Base = { from, to: target.label, destination: target.destination };
    const z = this.#ztunnels.find((x) => x.node === podSpec(pod).nodeName);
    if (!z) {
      const text = `no ztunnel can be reached on node "${podSpec(pod).nodeName ?? ''}" of ${from}`;
      return this.#unknown(base, text);
    }
    const answer = await this.#probe(z, pod, target);
    const why = answer.served ? undefined : await whyNotServed(this.#kube, pod);
    if (why !== undefined)
      this.#note('capture', `ztunnel ${z.name} does not serve pod ${from}: ${why}`);
    const dump = await this.#dumpOf(z);
    const waypoint = this.#waypointOf(answer);
    const second = waypoint && answer.ok ? await this.#second(waypoint, target) : undefined;
    const endpoint = endpointOf(dump, answer, second, target);
    const far = this.#ztunnels.find((x) => x.node === endpoint?.workload.node);
    const inbound = answer.served ? await this.#otherEnd(far ?? z, answer, second) : undefined;
    const legs = this.#legs(base, answer, second, inbound);
    const policies = await this.#policies(dump, endpoint, target, inbound ?? answer);
    const plaintext = await this.#plaintext(dump, endpoint, far ?? z);
    const verdict = judge({
      served: answer.served,
      ok: answer.ok && second?.ok !== false,
      protocol: answer.protocol,
      legs,
      expected: waypoint ? 2 : 1,
      leaks: wireLeaks(answer.wire),
    });
    const reason = reasonOf(answer, second, inbound);
    const report = { verdict, policies, plaintext, ...(reason && { reason }) };
    const notes = await policyNotes(this.#kube, policies);
    for (const text of notes) this.#note('configuration', text);
    const bypass = this.#bypass(dump, answer, target);
    const proofs = proofsOf({
      ends: [
        endOf(pod, answer.served, why),
        ...(endpoint ? [await this.#farEnd(endpoint.workload, far)] : []),
      ],
      legs,
      ...(waypoint && { waypoint: `${waypoint.name}.${waypoint.namespace}` }),
      ...(bypass !== undefined && { bypass }),
      roots: [rootsOf(dump), ...(far && far !== z ? [rootsOf(await this.#dumpOf(far))] : [])],
      report,
      notes,
    });
    return { ...base, ...report, legs, evidence: this.#evidence, proofs };
  }

  #note(kind: Evidence['kind'], text: string, trace?: string): void {
    this.#evidence.push({ kind, text, ...(trace !== undefined && { trace }) });
  }

  #unknown(base: Base, text: string): Report {
    this.#note('probe', text);
    const plaintext = { accepted: null, decidedBy: 'not asked' };
    const report = { verdict: 'unknown', policies: [], plaintext } as const;
    const proofs = proofsOf({ ends: [], legs: [], roots: [], report, notes: [] });
    return { ...base, ...report, legs: [], evidence: this.#evidence, proofs };
  }

  async #probe(z: ZtunnelPod, pod: KubeObject, target: Target): Promise<Answer> {
    const { fresh, timeoutMs } = this.#o;
    const body = {
      source: pod.metadata.uid,
      destination: target.destination,
      traceparent: this.#traceparent,
      fresh,
      packets: true,
      timeoutMs,
    };
    const path = '/ambient/probe';
    const answer = (await callPodJson(this.#kube, z, adminPort, 'POST', path, body)) as Answer;
    if (answer.served) {
      const how = answer.ok
        ? `answered over ${answer.protocol ?? '?'}`
        : `failed: ${answer.reason ?? ''}`;
      const text = `${z.name} opened a connection as this pod; it ${how} (trace ${this.#trace})`;
      this.#note('probe', text, this.#trace);
    }
    if (answer.wire) this.#note('packets', wireText(answer.wire), this.#trace);
    return answer;
  }

  #waypointOf(a: Answer): { readonly namespace: string; readonly name: string } | undefined {
    return a.plan?.via === 'waypoint' ? a.plan.destination : undefined;
  }

  /** What lies behind the waypoint: the connection that it would make for this target. */
  async #second(
    waypoint: { readonly namespace: string; readonly name: string },
    target: Target,
  ): Promise<SecondAnswer | undefined> {
    const { fresh, timeoutMs } = this.#o;
    const { destination } = target;
    const body = { destination, traceparent: this.#traceparent, fresh, timeoutMs };
    const name = `${waypoint.name}.${waypoint.namespace}`;
    try {
      const path = '/ambient/probe';
      const answer = await callPodJson(this.#kube, waypoint, adminPort, 'POST', path, body);
      const second = answer as SecondAnswer;
      const to = second.endpoint?.name ?? 'no endpoint';
      const how = second.ok
        ? `answered over ${second.protocol ?? '?'}`
        : `failed: ${second.reason ?? ''}`;
      const by = second.route === undefined ? '' : ` by route ${second.route}`;
      const text = `waypoint ${name} opened a connection to ${to}${by}; it ${how} (trace ${this.#trace})`;
      this.#note('probe', text, this.#trace);
      return second;
    } catch (error) {
      const text = error instanceof Error ? error.message : 'failed';
      this.#note('probe', `waypoint ${name} could not be asked for its leg: ${text}`);
      return undefined;
    }
  }

  async #dumpOf(z: ZtunnelPod): Promise<Dump> {
    return readDump(await callPodJson(this.#kube, z, adminPort, 'GET', '/config_dump'));
  }

  /** The record of the same connection where it arrived. */
  async #otherEnd(
    z: ZtunnelPod,
    answer: Answer,
    second: SecondAnswer | undefined,
  ): Promise<Inbound | undefined> {
    const viaWaypoint = this.#waypointOf(answer) !== undefined;
    const protocol = viaWaypoint ? second?.protocol : answer.protocol;
    if (protocol !== 'HBONE') return undefined;
    const path = `/ambient/connections?trace=${this.#trace}`;
    const records = await callPodJson(this.#kube, z, adminPort, 'GET', path);
    const inbound = inboundOf(records);
    if (!inbound) {
      const text = `${z.name} has no record of the connection (trace ${this.#trace})`;
      this.#note('record', text, this.#trace);
      return undefined;
    }
    const who = inbound.peer?.id ?? 'nobody';
    const text = `${z.name} recorded the other end: it saw ${who}, ${inbound.state}`;
    this.#note('record', text, this.#trace);
    return inbound;
  }

  #legs(
    base: Base,
    a: Answer,
    second: SecondAnswer | undefined,
    inbound: Inbound | undefined,
  ): Leg[] {
    if (!a.served || a.protocol === undefined) return [];
    const to = a.plan?.destination
      ? `${a.plan.destination.name}.${a.plan.destination.namespace}`
      : base.to;
    const first = legOf(base.from, to, a);
    const waypoint = this.#waypointOf(a);
    if (!waypoint) return [this.#seen(first, inbound)];
    if (!second?.protocol) return [first];
    const end = second.endpoint ? `${second.endpoint.name}.${second.endpoint.namespace}` : base.to;
    return [first, this.#seen(legOf(to, end, second), inbound)];
  }

  /** A leg whose far end has seen somebody else proves nothing about its source. */
  #seen(leg: Leg, inbound: Inbound | undefined): Leg {
    const seen = inbound?.peer?.id;
    if (seen === undefined || !leg.local || seen === leg.local.identity) return leg;
    const text = `the other end saw ${seen}, not ${leg.local.identity}: the path is not what it seems`;
    this.#note('record', text);
    const { local: _, ...rest } = leg;
    return rest;
  }

  async #policies(
    dump: Dump,
    endpoint: Endpoint | undefined,
    target: Target,
    decision: { readonly policy?: string },
  ): Promise<PolicyNote[]> {
    const w = endpoint?.workload;
    if (!w) return [];
    const found = policiesOf(dump.policies, w.namespace ?? '', w.authorizationPolicies ?? []);
    const l4 = found.policies.map((p) => noteOf(p, decision.policy));
    const l7 = target.service ? await waypointPolicies(this.#kube, dump, target.service) : [];
    return [...l4, ...l7];
  }

  async #plaintext(
    dump: Dump,
    endpoint: Endpoint | undefined,
    z: ZtunnelPod,
  ): Promise<Report['plaintext']> {
    if (!endpoint) return { accepted: true, decidedBy: 'the destination is not in the mesh' };
    const { workload: w, port } = endpoint;
    const ip = w.workloadIps?.[0] ?? '';
    const sent =
      this.#o.sendPlaintext && ip !== ''
        ? await probeFromOutside(this.#kube, this.#o.namespace, this.#trace.slice(0, 8), {
            ip,
            port,
          })
        : undefined;
    if (!sent) {
      const found = policiesOf(dump.policies, w.namespace ?? '', w.authorizationPolicies ?? []);
      const text = `plaintext to ${w.name ?? ''}: judged on the policies its proxy holds`;
      this.#note('evaluation', text);
      return judgePlaintext(found, w.protocol === 'HBONE', ip, port);
    }
    const record = await this.#recordOf(z, sent.local, `${ip}:${port}`);
    const outcome = judgeRecord(record, sent);
    const seen = record ? `; ${z.name} recorded it as ${record.state}` : '';
    const how = sent.open ? 'stayed open' : `ended (${sent.error ?? 'closed'})`;
    const text = `${sent.source} sent plaintext to ${ip}:${port} from outside the mesh; it ${how}${seen}`;
    this.#note('probe', text);
    return outcome;
  }

  /** The plaintext connection as the destination's proxy has it. */
  async #recordOf(z: ZtunnelPod, local: string, to: string): Promise<Inbound | undefined> {
    for (const which of ['live', 'recent']) {
      const path = `/ambient/connections?${which}`;
      const all = await callPodJson(this.#kube, z, adminPort, 'GET', path);
      const hit = (all as Inbound[]).find(
        (r) => r.direction === 'inbound' && r.source?.addr === local && r.destination?.addr === to,
      );
      if (hit) return hit;
    }
    return undefined;
  }

  async #farEnd(w: DumpWorkload, z: ZtunnelPod | undefined): Promise<EndFacts> {
    const name = `${w.name ?? ''}.${w.namespace ?? ''}`;
    const pod = await this.#kube.get(resources.pods, w.namespace, w.name ?? '');
    if (!pod) return { name, annotated: false, served: false, why: 'it is no pod of this cluster' };
    const uid = pod.metadata.uid ?? '';
    const served = z !== undefined && uid in (await this.#dumpOf(z)).workloadState;
    const why = served ? undefined : await whyNotServed(this.#kube, pod);
    if (why !== undefined) this.#note('capture', `no ztunnel serves pod ${name}: ${why}`);
    return endOf(pod, served, why);
  }

  /** A waypoint was asked for and the connection does not go through one. */
  #bypass(dump: Dump, a: Answer, target: Target): string | undefined {
    if (this.#waypointOf(a) || !a.served) return undefined;
    const ip = parseIpPort(target.destination)?.ip ?? '';
    const name = a.plan?.service;
    const asked = target.service?.metadata.labels?.['istio.io/use-waypoint'];
    if (asked !== undefined && asked !== 'none')
      return `the service asks for waypoint ${asked} and has none: it is missing or not ready`;
    if (name !== undefined || target.service) return undefined;
    const w = dump.workloads.find((x) => x.workloadIps?.includes(ip));
    const around = dump.services.find(
      (s) =>
        s.waypoint !== undefined &&
        Object.values(s.endpoints ?? {}).some((e) => e.workloadUid === w?.uid),
    );
    return (
      around &&
      `addressed by its pod IP, it goes around the waypoint of service ${around.name ?? ''}`
    );
  }
}

const endOf = (pod: KubeObject, served: boolean, why: string | undefined): EndFacts => ({
  name: podLabel(pod),
  annotated: pod.metadata.annotations?.[redirectionKey] === 'enabled',
  served,
  ...(why !== undefined && { why }),
});

function endpointOf(
  dump: Dump,
  a: Answer,
  second: SecondAnswer | undefined,
  target: Target,
): Endpoint | undefined {
  const viaWaypoint = a.plan?.via === 'waypoint';
  const uid = viaWaypoint ? second?.endpoint?.uid : a.plan?.destination?.uid;
  const ip = parseIpPort(target.destination)?.ip ?? '';
  const workload = dump.workloads.find((w) =>
    uid === undefined ? w.workloadIps?.includes(ip) : w.uid === uid,
  );
  if (!workload) return undefined;
  const where = viaWaypoint
    ? second?.dial
    : a.protocol === 'HBONE'
      ? a.plan?.authority
      : a.plan?.dial;
  const port = parseIpPort(where ?? '')?.port ?? target.port;
  return { workload, port };
}

function reasonOf(
  a: Answer,
  second: SecondAnswer | undefined,
  inbound: Inbound | undefined,
): Report['reason'] {
  const failed = a.reason !== undefined ? a : second?.reason !== undefined ? second : undefined;
  if (failed?.reason === undefined) return undefined;
  const policy = inbound?.policy ?? failed.policy;
  return {
    code: inbound?.reason ?? failed.reason,
    ...(policy !== undefined && { policy }),
    ...(failed.detail !== undefined && { detail: failed.detail }),
  };
}

export async function verifyMtls(kube: KubeClient, o: VerifyOptions): Promise<Report> {
  const source = await resolvePod(kube, parseReference(o.from, o.namespace));
  const target = await findTarget(kube, o.to, o.namespace);
  const ztunnels = await ztunnelPods(kube, o.istioNamespace);
  return new Collector(kube, o, ztunnels).run(source, target);
}
