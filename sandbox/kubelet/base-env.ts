// What every pod's process finds in its environment, and the kubeconfig it may use.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { AddressPlan } from '../addresses.ts';
import { nodeName, type Pod } from '../objects.ts';
import type { VolumeWriter } from './volume-writer.ts';

export interface PodPaths {
  /** DIR/pods/UID. */
  readonly dir: string;
  readonly sandboxDir: string;
}

export interface BaseFacts {
  readonly addresses: AddressPlan;
  /** How ztunnel is to capture pods. */
  readonly proxyMode: 'addressed' | 'shared';
  /** Folder of links to pods' namespaces; empty = there are none. */
  readonly netnsRecords: string;
  readonly apiUrl: string;
  readonly caPem: string;
}

const compileCache = path.join(import.meta.dirname, '../../node_modules/.cache/pods');
/** istiod's fixed host number. */
const istiodHost = 2;
/** The account token of the kubeconfig; it dies with its pod anyway. */
const apiTokenSeconds = 24 * 3_600;

export function baseVariables(pod: Pod, paths: PodPaths, facts: BaseFacts): Map<string, string> {
  const own = process.env;
  const home = path.join(paths.dir, 'home');
  fs.mkdirSync(home, { recursive: true, mode: 0o700 });
  const variables: [string, string | undefined][] = [
    ['PATH', [path.dirname(process.execPath), own['PATH'] ?? '/usr/bin:/bin'].join(':')],
    ['HOME', home],
    ['HOSTNAME', pod.spec.hostname ?? pod.metadata.name],
    ['LANG', own['LANG']],
    ['TZ', own['TZ']],
    ['TMPDIR', os.tmpdir()],
    // Pods of one program compile it once; half of a start is that.
    ['NODE_COMPILE_CACHE', own['NODE_COMPILE_CACHE'] ?? compileCache],
    ['SANDBOX_API', facts.apiUrl],
    ['SANDBOX_KUBECONFIG', kubeconfigPath(paths)],
    ['SANDBOX_ISTIOD_ADDRESS', facts.addresses.podIp(nodeName, istiodHost)],
    ['SANDBOX_ZDS_SOCKET', zdsSocket(paths.sandboxDir, facts.addresses, pod.spec.nodeName)],
    ['SANDBOX_PROXY_MODE', facts.proxyMode],
    ['SANDBOX_NETNS_RECORDS', facts.netnsRecords],
    // Without a namespace of its own, a pod's localhost is everybody's.
    ['SANDBOX_LOCAL_ADDRESS', facts.netnsRecords === '' ? pod.status?.podIP : '127.0.0.1'],
  ];
  const out = new Map<string, string>();
  for (const [name, value] of variables) if (value !== undefined) out.set(name, value);
  return out;
}

/** One for each node. */
export const zdsSocket = (sandboxDir: string, addresses: AddressPlan, node?: string): string => {
  const first = addresses.nodes[0]?.name;
  return path.join(
    sandboxDir,
    node === undefined || node === first ? 'ztunnel.sock' : `ztunnel-${node}.sock`,
  );
};

const kubeconfigPath = (paths: PodPaths): string => path.join(paths.dir, 'kubeconfig');

/** The kubeconfig of the pod's account, with a token file bound to the pod. */
export async function writeKubeconfig(
  paths: PodPaths,
  facts: BaseFacts,
  writer: VolumeWriter,
  renewing: boolean,
): Promise<void> {
  const tokenFile = path.join(paths.dir, 'api-token');
  await writer.token(tokenFile, undefined, apiTokenSeconds);
  // client-node reads a token file again only where an auth provider names it, and kubectl knows no
  // such provider: mesh programs get the one, all others the other.
  const user = renewing
    ? { 'auth-provider': { name: 'tokenFile', config: { tokenFile } } }
    : { tokenFile };
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'sandbox',
        cluster: {
          server: facts.apiUrl,
          'certificate-authority-data': Buffer.from(facts.caPem).toString('base64'),
        },
      },
    ],
    users: [{ name: 'pod', user }],
    contexts: [{ name: 'pod', context: { cluster: 'sandbox', user: 'pod' } }],
    'current-context': 'pod',
  };
  fs.writeFileSync(kubeconfigPath(paths), JSON.stringify(config, undefined, 2), { mode: 0o600 });
}
