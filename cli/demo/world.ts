// What the demo does to a sandbox: apply, exec, wait, look at processes, send requests in a loop.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type KubeClient, type KubeObject, resources } from '../../core/kube/index.ts';
import { readStatus, type SandboxStatus } from '../../sandbox/index.ts';
import { callPodJson } from '../admin-client.ts';
import { Applier, readManifests } from '../apply.ts';
import { adminPort, parseReference, resolvePod, ztunnelPods } from '../refs.ts';
import { verifyMtls } from '../verify/verify.ts';
import type { Report } from '../verify/verdict.ts';

const packageRoot = join(import.meta.dirname, '../..');

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** One end's record of a connection, as a proxy keeps it. */
export interface ConnectionEnd {
  readonly trace: string;
  readonly direction: 'inbound' | 'outbound';
  readonly state: string;
  readonly reason?: string;
  readonly policy?: string;
  readonly source: { readonly identity?: string; readonly workload?: string };
  readonly destination: { readonly identity?: string; readonly workload?: string };
}

async function text(stream: NodeJS.ReadableStream): Promise<string> {
  let all = '';
  for await (const part of stream) all += String(part);
  return all;
}

export class World {
  readonly kube: KubeClient;
  readonly #dir: string;
  readonly #applier: Applier;

  constructor(kube: KubeClient, dir: string) {
    this.kube = kube;
    this.#dir = dir;
    this.#applier = new Applier(kube);
  }

  status(): Promise<SandboxStatus> {
    return readStatus(this.#dir);
  }

  /** Throws with `what` if it does not come about in time. */
  async until<T>(
    what: string,
    limitMs: number,
    look: () => Promise<T | undefined | false>,
  ): Promise<T> {
    const end = performance.now() + limitMs;
    for (;;) {
      const value = await look();
      if (value !== undefined && value !== false) return value;
      if (performance.now() > end) throw new Error(`${what}: not within ${limitMs / 1000} s`);
      await pause(50);
    }
  }

  async applyFile(file: string, namespace = 'default'): Promise<KubeObject[]> {
    return this.applyText(readFileSync(join(packageRoot, file), 'utf8'), file, namespace);
  }

  async applyText(yaml: string, name: string, namespace = 'default'): Promise<KubeObject[]> {
    const objects = readManifests(yaml, name);
    for (const o of objects) await this.#applier.apply(o, namespace);
    return objects;
  }

  async available(namespace: string, limitMs: number): Promise<number> {
    return this.until(`deployments of ${namespace} available`, limitMs, async () => {
      const { items } = await this.kube.list(resources.deployments, namespace);
      const ready = items.every((d) => {
        const status = (d['status'] ?? {}) as {
          readyReplicas?: number;
          observedGeneration?: number;
        };
        const spec = d['spec'] as { replicas?: number };
        return (status.readyReplicas ?? 0) >= (spec.replicas ?? 1);
      });
      return ready && items.length > 0 ? items.length : undefined;
    });
  }

  /** `namespace/pod` → process id and restarts, as the API tells them. */
  async processes(namespace: string): Promise<Map<string, string>> {
    const { items } = await this.kube.list(resources.pods, namespace);
    return new Map(
      items.map((p) => {
        const status = (p['status'] ?? {}) as {
          containerStatuses?: { containerID?: string; restartCount?: number }[];
        };
        const ids = (status.containerStatuses ?? []).map(
          (c) => `${c.containerID ?? '?'} restarts ${c.restartCount ?? 0}`,
        );
        return [p.metadata.name, ids.join(', ')];
      }),
    );
  }

  async exec(reference: string, command: readonly string[], namespace = 'default'): Promise<Ran> {
    const pod = await resolvePod(this.kube, parseReference(reference, namespace));
    const where = pod.metadata.namespace ?? namespace;
    const run = await this.kube.exec(where, pod.metadata.name, undefined, command, false);
    const [code, out, err] = await Promise.all([run.exit, text(run.stdout), text(run.stderr)]);
    return { code, out, err };
  }

  label(name: string, labels: Record<string, string | null>): Promise<KubeObject> {
    return this.kube.patch(
      resources.namespaces,
      undefined,
      name,
      { metadata: { labels } },
      { kind: 'merge' },
    );
  }

  /** Judges plaintext by policy: it is asked in loops, where sending some would take its time. */
  verify(from: string, to: string, namespace = 'default'): Promise<Report> {
    return verifyMtls(this.kube, {
      from,
      to,
      namespace,
      istioNamespace: 'istio-system',
      timeoutMs: 5_000,
      fresh: false,
      sendPlaintext: false,
    });
  }

  /** The newest refused connection to a workload, both ends joined by trace id. */
  async refusal(
    source: string,
    destination: string,
  ): Promise<{ near?: ConnectionEnd; far?: ConnectionEnd }> {
    const path = '/ambient/connections?recent';
    const records: ConnectionEnd[] = [];
    // The two ends may be on different nodes.
    for (const z of await ztunnelPods(this.kube, 'istio-system')) {
      const own = await callPodJson(this.kube, z, adminPort, 'GET', path);
      records.push(...(own as ConnectionEnd[]));
    }
    const about = (r: ConnectionEnd): boolean =>
      (r.source.workload ?? r.source.identity ?? '').includes(source) &&
      (r.destination.workload ?? r.destination.identity ?? '').includes(destination);
    const far = records.find(
      (r) => r.direction === 'inbound' && r.reason !== undefined && about(r),
    );
    const near = far && records.find((r) => r.direction === 'outbound' && r.trace === far.trace);
    return { ...(near && { near }), ...(far && { far }) };
  }

  /** A request every 50 ms from inside a pod, each on a connection of its own, until stopped. */
  async loop(reference: string, url: string): Promise<RequestLoop> {
    const pod = await resolvePod(this.kube, parseReference(reference, 'default'));
    const format = '%{http_code} %{exitcode}\\n';
    const script = `while :; do curl -s -o /dev/null --max-time 5 -w '${format}' ${url}; sleep 0.05; done`;
    const run = await this.kube.exec(
      'default',
      pod.metadata.name,
      undefined,
      ['sh', '-c', script],
      true,
    );
    return new RequestLoop(run.stdout, () => run.stdin.destroy());
  }
}

/** Counts the answers of a loop as they come. */
export class RequestLoop {
  ok = 0;
  readonly failed: string[] = [];
  readonly #end: () => void;

  constructor(lines: NodeJS.ReadableStream, end: () => void) {
    this.#end = end;
    let rest = '';
    lines.on('data', (part: Buffer) => {
      rest += part.toString('utf8');
      const whole = rest.split('\n');
      rest = whole.pop() ?? '';
      for (const line of whole) {
        if (line === '200 0') this.ok++;
        else if (line !== '') this.failed.push(line);
      }
    });
    lines.on('error', () => {});
  }

  stop(): void {
    this.#end();
  }
}
