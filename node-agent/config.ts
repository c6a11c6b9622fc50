// Environment → configuration of the node agent, all mistakes reported together.
import type { Result } from '../core/base/index.ts';
import { EnvReader, type EnvVariable } from '../core/runtime/index.ts';
import { defaultProbeIp, defaultProbeIp6 } from './rules-plan.ts';

export interface NodeAgentConfig {
  readonly nodeName: string;
  readonly kubeconfig: string | undefined;
  readonly zdsPath: string;
  /** Folder of links to namespaces, named by pod uid; empty = look through `procPath`. */
  readonly netnsRecords: string;
  readonly procPath: string;
  /** istiod's `/debug/syncz`; empty = wait the whole limit. */
  readonly syncUrl: string;
  readonly excludedNamespaces: ReadonlySet<string>;
  readonly probeIp: string;
  readonly probeIp6: string;
  readonly kubeletUid: number;
  /** Where the pod does not say. */
  readonly dnsCapture: boolean;
  readonly readiness: { readonly host: string; readonly port: number };
  readonly logLevel: string;
  readonly logFormat: 'plain' | 'json';
  /** Wait for a slow reader of the log instead of dropping lines. */
  readonly logLossless: boolean;
}

type Env = Readonly<Record<string, string | undefined>>;

export function readConfig(env: Env): {
  config: Result<NodeAgentConfig>;
  asked: readonly EnvVariable[];
} {
  const r = new EnvReader(env);
  const config: NodeAgentConfig = {
    nodeName: r.text('NODE_NAME', '', 'own node; its pods are looked after'),
    kubeconfig: r.optional('KUBECONFIG', 'kubeconfig; absent = the pod’s own account'),
    zdsPath: r.text('ZDS_SOCKET', '/var/run/ztunnel/ztunnel.sock', 'unix socket for ztunnel'),
    netnsRecords: r.text(
      'NETNS_RECORDS',
      '',
      'folder of links to pods’ network namespaces, named by pod uid; empty = found in PROC_PATH',
    ),
    procPath: r.text('PROC_PATH', '/proc', 'the node’s /proc'),
    syncUrl: r.text('SYNC_URL', '', 'the control plane’s /debug/syncz, asked when a pod leaves'),
    excludedNamespaces: new Set(
      r.list('EXCLUDED_NAMESPACES', ['kube-system'], 'namespaces that are never captured'),
    ),
    probeIp: r.text('HOST_PROBE_SNAT_IP', defaultProbeIp, 'source address of the node’s probes'),
    probeIp6: r.text('HOST_PROBE_SNAT_IPV6', defaultProbeIp6, 'the same for IPv6'),
    kubeletUid: r.integer('KUBELET_UID', 0, 'user of the kubelet, whose probes pass', {
      min: 0,
      max: 0xfffffffe,
    }),
    dnsCapture: r.flag('AMBIENT_DNS_CAPTURE', true, 'DNS of pods goes through ztunnel'),
    readiness: {
      host: r.text('READINESS_ADDRESS', '0.0.0.0', 'address the readiness port binds to'),
      port: r.integer('READINESS_PORT', 8000, 'readiness port', { min: 0, max: 65_535 }),
    },
    logLevel: r.text('LOG_LEVEL', 'info', 'log level, also scope=level'),
    logFormat: r.choice('LOG_FORMAT', ['plain', 'json'], 'plain', 'log lines'),
    logLossless: r.flag(
      'LOG_LOSSLESS',
      false,
      'wait for a slow reader of the log instead of dropping lines',
    ),
  };
  if (config.nodeName === '') r.fault('NODE_NAME', 'is needed');
  return { config: r.result(Object.freeze(config)), asked: r.asked };
}
