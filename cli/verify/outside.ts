// The negative proof: plaintext sent to the destination by a pod outside the mesh, and what became of it. Only
// in the sandbox, where such a pod is a process that is there at once and gone again: on a real cluster nobody
// has been asked whether it may run.
import { setTimeout as pause } from 'node:timers/promises';
import { type KubeClient, KubeError, resources } from '../../core/kube/index.ts';
import { podStatus } from '../refs.ts';

export interface OutsideProbe {
  /** `name.namespace` of the pod that sent it. */
  readonly source: string;
  /** Its own `ip:port`, under which the destination's proxy has recorded it. */
  readonly local: string;
  /** The connection was still open when the look was over. */
  readonly open: boolean;
  readonly error?: string;
}

/** How long a refusal may take to arrive. */
const lookMs = 400;
const limitMs = 3_000;
const startLimitMs = 10_000;
const lookEveryMs = 50;

/** Prints one line of JSON. Runs in the pod: no part of this program is there on a cluster. */
const script = `
const [host, port] = process.argv.slice(1);
const out = { local: '', open: false };
const socket = require('net').connect({ host, port: Number(port) });
const end = () => { console.log(JSON.stringify(out)); process.exit(0); };
socket.on('connect', () => {
  out.local = socket.localAddress + ':' + socket.localPort;
  out.open = true;
  setTimeout(end, ${lookMs});
});
socket.on('error', (e) => { out.error = e.code; out.open = false; });
socket.on('close', () => { out.open = false; end(); });
setTimeout(end, ${limitMs});
`;

async function text(stream: NodeJS.ReadableStream): Promise<string> {
  let all = '';
  for await (const part of stream) all += String(part);
  return all;
}

async function isSandbox(kube: KubeClient): Promise<boolean> {
  const { gitVersion } = (await kube.raw('GET', '/version')) as { gitVersion?: string };
  return gitVersion?.endsWith('-ambient-lite') === true;
}

/** It is no part of the mesh by its label, whatever its namespace says. */
const outsider = (namespace: string, name: string, args: readonly string[]) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace, labels: { 'istio.io/dataplane-mode': 'none' } },
  spec: {
    restartPolicy: 'Never',
    containers: [{ name: 'probe', image: 'node', command: ['node', '-e', script, ...args] }],
  },
});

async function ended(kube: KubeClient, namespace: string, name: string): Promise<boolean> {
  for (let n = 0; n < startLimitMs / lookEveryMs; n++) {
    const pod = await kube.get(resources.pods, namespace, name);
    if (!pod) return false;
    const { phase } = podStatus(pod);
    if (phase === 'Succeeded' || phase === 'Failed') return phase === 'Succeeded';
    await pause(lookEveryMs);
  }
  return false;
}

/** `undefined` = it could not be sent. `id` makes its name its own. Leaves nothing behind. */
export async function probeFromOutside(
  kube: KubeClient,
  namespace: string,
  id: string,
  to: { readonly ip: string; readonly port: number },
): Promise<OutsideProbe | undefined> {
  if (!(await isSandbox(kube))) return undefined;
  const name = `plaintext-probe-${id}`;
  try {
    await kube.create(resources.pods, outsider(namespace, name, [to.ip, String(to.port)]));
    if (!(await ended(kube, namespace, name))) return undefined;
    const out = await text(await kube.logs(namespace, name, {}));
    return { ...(JSON.parse(out) as Omit<OutsideProbe, 'source'>), source: `${name}.${namespace}` };
  } catch (error) {
    // It proves nothing then; the policies are judged instead.
    if (error instanceof KubeError || error instanceof SyntaxError) return undefined;
    throw error;
  } finally {
    await kube.remove(resources.pods, namespace, name).catch(() => {});
  }
}
