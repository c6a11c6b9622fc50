// Collects the evidence for `verify mtls`: a real probe through FROM's ztunnel, the record of the same
// connection at the other end, the policies in force there. Reads only what proxies recorded.
import { newTraceparent, parsePort, traceIdOf } from '../../core/base/index.ts';
import type { KubeClient, KubeObject } from '../../core/kube/index.ts';
import { resources } from '../../core/kube/index.ts';
import { systemRandom } from '../../core/runtime/index.ts';
import { callPodJson } from '../admin-client.ts';
import { CliError } from '../errors.ts';
import {
  adminPort,
  parseReference,
  podSpec,
  podStatus,
  type Reference,
  resolvePod,
  type ZtunnelPod,
  ztunnelPods,
} from '../refs.ts';
import { type Dump, readDump } from '../ztunnel/dump.ts';
import { judgePlaintext, noteOf, policiesOf } from './plaintext.ts';
import { type Evidence, judge, type Leg, type Peer, type Report } from './verdict.ts';

export interface VerifyOptions {
  readonly from: string;
  readonly to: string;
  readonly namespace: string;
  readonly istioNamespace: string;
  readonly timeoutMs: number;
  /** A connection of its own instead of the pool's. */
  readonly fresh: boolean;
}

interface RawPeer {
  readonly id: string;
  readonly serial: string;
  readonly notAfter: string;
  readonly chain: readonly {
    readonly serial: string;
    readonly notAfter: string;
    readonly id?: string;
  }[];
}

interface Answer {
  readonly served: boolean;
  readonly ok: boolean;
  readonly trace: string;
  readonly protocol?: 'HBONE' | 'TCP';
  readonly plan?: {
    readonly dial?: string;
    readonly destination?: {
      readonly uid: string;
      readonly name: string;
      readonly namespace: string;
    };
  };
  readonly tls?: Leg['tls'];
  readonly peer?: RawPeer;
  readonly local?: { readonly id: string; readonly serial: string };
  readonly reason?: string;
  readonly policy?: string;
  readonly detail?: string;
}

interface Inbound {
  readonly direction: string;
  readonly peer?: RawPeer;
  readonly policy?: string;
  readonly reason?: string;
  readonly state: string;
}

interface Target {
  readonly label: string;
  /** What the probe asks for. */
  readonly destination: string;
  readonly port: number;
}

const podLabel = (p: KubeObject): string => `${p.metadata.name}.${p.metadata.namespace ?? ''}`;

function splitPort(text: string): { ref: string; port: number | undefined } {
  const colon = text.lastIndexOf(':');
  if (colon < 0) return { ref: text, port: undefined };
  const port = parsePort(text.slice(colon + 1));
  if (port === undefined) throw new CliError(`"${text}": "${text.slice(colon + 1)}" is no port`);
  return { ref: text.slice(0, colon), port };
}

async function serviceTarget(
  kube: KubeClient,
  r: Reference,
  port: number | undefined,
): Promise<Target> {
  const service = await kube.get(resources.services, r.namespace, r.name);
  if (!service) throw new CliError(`service "${r.name}" not found in namespace "${r.namespace}"`);
  const spec = service['spec'] as { clusterIP?: string; ports?: { port: number }[] };
  const chosen = port ?? spec.ports?.[0]?.port;
  if (chosen === undefined)
    throw new CliError(`service "${r.name}" has no port; write svc/${r.name}:PORT`);
  if (!spec.ports?.some((p) => p.port === chosen)) {
    const known = (spec.ports ?? []).map((p) => p.port).join(', ');
    throw new CliError(`service "${r.name}" has no port ${chosen}; it has ${known}`);
  }
  const label = `${r.name}.${r.namespace}`;
  if (spec.clusterIP && spec.clusterIP !== 'None') {
    return { label, destination: `${spec.clusterIP}:${chosen}`, port: chosen };
  }
  const pod = await resolvePod(kube, { ...r, kind: 'service' });
  return { label, destination: `${podStatus(pod).podIP ?? ''}:${chosen}`, port: chosen };
}

async function podTarget(
  kube: KubeClient,
  r: Reference,
  port: number | undefined,
): Promise<Target> {
  const pod = await resolvePod(kube, r);
  const containers = (pod['spec'] as { containers?: { ports?: { containerPort: number }[] }[] })
    .containers;
  const chosen = port ?? containers?.flatMap((c) => c.ports ?? [])[0]?.containerPort;
  if (chosen === undefined)
    throw new CliError(`pod "${pod.metadata.name}" exposes no port; write ${r.name}:PORT`);
  const ip = podStatus(pod).podIP;
  if (!ip) throw new CliError(`pod "${pod.metadata.name}" has no address yet`);
  return { label: podLabel(pod), destination: `${ip}:${chosen}`, port: chosen };
}

/** Why a pod is not captured, in plain words, from its labels. */
async function whyNotServed(kube: KubeClient, pod: KubeObject): Promise<string> {
  const namespace = await kube.get(resources.namespaces, undefined, pod.metadata.namespace ?? '');
  const own = pod.metadata.labels?.['istio.io/dataplane-mode'];
  const its = namespace?.metadata.labels?.['istio.io/dataplane-mode'];
  if (own === 'none') return 'its label istio.io/dataplane-mode=none keeps it out';
  if ((pod['spec'] as { hostNetwork?: boolean }).hostNetwork === true)
    return 'it uses the host network';
  if (own !== 'ambient' && its !== 'ambient') {
    return `neither it nor its namespace is labelled istio.io/dataplane-mode=ambient; try: kubectl label namespace ${pod.metadata.namespace ?? ''} istio.io/dataplane-mode=ambient`;
  }
  return 'it is labelled ambient but not enrolled yet';
}

const peerOf = (p: RawPeer): Peer => ({
  identity: p.id,
  serial: p.serial,
  notAfter: p.notAfter,
  chain: p.chain,
});

class Collector {
  readonly #kube: KubeClient;
  readonly #o: VerifyOptions;
  readonly #ztunnels: readonly ZtunnelPod[];
  readonly #evidence: Evidence[] = [];

  constructor(kube: KubeClient, o: VerifyOptions, ztunnels: readonly ZtunnelPod[]) {
    this.#kube = kube;
    this.#o = o;
    this.#ztunnels = ztunnels;
  }

  async run(pod: KubeObject, target: Target): Promise<Report> {
    const from = podLabel(pod);
    const base = { from, to: target.label, destination: target.destination };
    const z = this.#ztunnels.find((x) => x.node === podSpec(pod).nodeName);
    if (!z) {
      const text = `no ztunnel can be reached on node "${podSpec(pod).nodeName ?? ''}" of ${from}`;
      return this.#unknown(base, text);
    }
    const answer = await this.#probe(z, pod, target);
    if (!answer.served) {
      const why = await whyNotServed(this.#kube, pod);
      this.#note('capture', `ztunnel ${z.name} does not serve pod ${from}: ${why}`);
    }
    const dump = await this.#dumpOf(this.#destinationZtunnel(answer) ?? z);
    const inbound = answer.served ? await this.#otherEnd(answer) : undefined;
    const legs = this.#legs(from, target, answer, inbound);
    const { policies, plaintext } = this.#policies(dump, answer, target, inbound);
    const verdict = judge({
      served: answer.served,
      ok: answer.ok,
      protocol: answer.protocol,
      legs,
    });
    return {
      verdict,
      ...base,
      legs,
      policies,
      plaintext,
      ...(answer.reason !== undefined && {
        reason: {
          code: inbound?.reason ?? answer.reason,
          ...((inbound?.policy ?? answer.policy) !== undefined && {
            policy: inbound?.policy ?? answer.policy ?? '',
          }),
          ...(answer.detail !== undefined && { detail: answer.detail }),
        },
      }),
      evidence: this.#evidence,
    };
  }

  #note(kind: Evidence['kind'], text: string, trace?: string): void {
    this.#evidence.push({ kind, text, ...(trace !== undefined && { trace }) });
  }

  #unknown(base: { from: string; to: string; destination: string }, text: string): Report {
    this.#note('probe', text);
    const plaintext = { accepted: null, decidedBy: 'not asked' };
    return {
      verdict: 'unknown',
      ...base,
      legs: [],
      policies: [],
      plaintext,
      evidence: this.#evidence,
    };
  }

  async #probe(z: ZtunnelPod, pod: KubeObject, target: Target): Promise<Answer> {
    const traceparent = newTraceparent(systemRandom);
    const { fresh, timeoutMs } = this.#o;
    const body = {
      source: pod.metadata.uid,
      destination: target.destination,
      traceparent,
      fresh,
      timeoutMs,
    };
    const answer = (await callPodJson(
      this.#kube,
      z,
      adminPort,
      'POST',
      '/ambient/probe',
      body,
    )) as Answer;
    const trace = traceIdOf(traceparent) ?? '';
    if (answer.served) {
      const how = answer.ok
        ? `answered over ${answer.protocol ?? '?'}`
        : `failed: ${answer.reason ?? ''}`;
      this.#note(
        'probe',
        `${z.name} opened a connection as this pod; it ${how} (trace ${trace})`,
        trace,
      );
    }
    return { ...answer, trace };
  }

  #destinationZtunnel(answer: Answer): ZtunnelPod | undefined {
    const uid = answer.plan?.destination?.uid;
    const node = uid === undefined ? undefined : this.#nodeOf.get(uid);
    return node === undefined ? undefined : this.#ztunnels.find((z) => z.node === node);
  }

  readonly #nodeOf = new Map<string, string>();

  async #dumpOf(z: ZtunnelPod): Promise<Dump> {
    const dump = readDump(await callPodJson(this.#kube, z, adminPort, 'GET', '/config_dump'));
    for (const w of dump.workloads)
      if (w.uid !== undefined && w.node) this.#nodeOf.set(w.uid, w.node);
    return dump;
  }

  /** The record of the same connection where it arrived. */
  async #otherEnd(answer: Answer): Promise<Inbound | undefined> {
    const z = this.#destinationZtunnel(answer) ?? this.#ztunnels[0];
    if (!z || answer.protocol !== 'HBONE') return undefined;
    const path = `/ambient/connections?trace=${answer.trace}`;
    const records = (await callPodJson(this.#kube, z, adminPort, 'GET', path)) as Inbound[];
    const inbound = records.find((r) => r.direction === 'inbound');
    if (!inbound) {
      this.#note(
        'record',
        `${z.name} has no record of the connection (trace ${answer.trace})`,
        answer.trace,
      );
      return undefined;
    }
    const who = inbound.peer?.id ?? 'nobody';
    this.#note(
      'record',
      `${z.name} recorded the other end: it saw ${who}, ${inbound.state}`,
      answer.trace,
    );
    return inbound;
  }

  #legs(from: string, target: Target, a: Answer, inbound: Inbound | undefined): Leg[] {
    if (!a.served || a.protocol === undefined) return [];
    const to = a.plan?.destination
      ? `${a.plan.destination.name}.${a.plan.destination.namespace}`
      : target.label;
    const seen = inbound?.peer?.id;
    const local = a.local && { identity: a.local.id, serial: a.local.serial };
    if (seen !== undefined && local && seen !== local.identity) {
      this.#note(
        'record',
        `the other end saw ${seen}, not ${local.identity}: the path is not what it seems`,
      );
      return [{ from, to, protocol: a.protocol, tls: a.tls, peer: a.peer && peerOf(a.peer) }];
    }
    return [{ from, to, protocol: a.protocol, tls: a.tls, peer: a.peer && peerOf(a.peer), local }];
  }

  #policies(
    dump: Dump,
    a: Answer,
    target: Target,
    inbound: Inbound | undefined,
  ): Pick<Report, 'policies' | 'plaintext'> {
    const uid = a.plan?.destination?.uid;
    const workload = dump.workloads.find((w) =>
      uid === undefined
        ? w.workloadIps?.includes(target.destination.split(':')[0] ?? '')
        : w.uid === uid,
    ) as (Dump['workloads'][number] & { authorizationPolicies?: string[] }) | undefined;
    if (!workload) {
      return {
        policies: [],
        plaintext: { accepted: true, decidedBy: 'the destination is not in the mesh' },
      };
    }
    const found = policiesOf(
      dump.policies,
      workload.namespace ?? '',
      workload.authorizationPolicies ?? [],
    );
    const enrolled = workload.protocol === 'HBONE';
    const port = Number(a.plan?.dial?.split(':').at(-1));
    const targetPort = a.protocol === 'TCP' && port > 0 ? port : target.port;
    const plaintext = judgePlaintext(found, enrolled, workload.workloadIps?.[0] ?? '', targetPort);
    this.#note(
      'evaluation',
      `plaintext to ${workload.name ?? ''}: judged on the policies its proxy holds`,
    );
    const decided = inbound?.policy ?? a.policy;
    return { policies: found.policies.map((p) => noteOf(p, decided)), plaintext };
  }
}

export async function verifyMtls(kube: KubeClient, o: VerifyOptions): Promise<Report> {
  const source = await resolvePod(kube, parseReference(o.from, o.namespace));
  const { ref, port } = splitPort(o.to);
  const r = parseReference(ref, o.namespace);
  const isService = r.kind === 'service' || (r.kind === 'any' && (await isServiceName(kube, r)));
  const target = isService ? await serviceTarget(kube, r, port) : await podTarget(kube, r, port);
  const ztunnels = await ztunnelPods(kube, o.istioNamespace);
  return new Collector(kube, o, ztunnels).run(source, target);
}

/** A bare name means the service of that name, if there is one and no pod. */
async function isServiceName(kube: KubeClient, r: Reference): Promise<boolean> {
  if (await kube.get(resources.pods, r.namespace, r.name)) return false;
  return (await kube.get(resources.services, r.namespace, r.name)) !== undefined;
}
