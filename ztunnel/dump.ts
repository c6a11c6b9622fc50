// /config_dump in Istio's shape (ztunnel-protocol.md 13.2) with our evidence under a key of its own.
import type { CertSnapshot, CertStatus } from '../certs/index.ts';
import { derToPem, pemToDer, readCertificate } from '../certs/index.ts';
import { printIpPort } from '../core/base/index.ts';
import { dumpMesh, type MeshView } from '../core/model/index.ts';
import type { ZtunnelConfig } from './config.ts';
import type { Connections } from './connections.ts';
import type { PodProxy } from './pods/pod-proxy.ts';
import type { PodInfo, PodPhase } from './pods/pod-state.ts';
import type { ConnectionRecord } from './records.ts';

export interface DumpSources {
  readonly mesh: MeshView;
  readonly config: ZtunnelConfig;
  readonly certs: readonly CertSnapshot[];
  readonly pods: readonly { readonly info: PodInfo; readonly phase: PodPhase }[];
  readonly proxy: (uid: string) => PodProxy | undefined;
  readonly connections: Connections;
  readonly recent: readonly ConnectionRecord[];
}

export function configDump(s: DumpSources): Record<string, unknown> {
  const { workloads, services, policies } = dumpMesh(s.mesh);
  return {
    certificates: s.certs.map(dumpCert),
    config: dumpConfig(s.config),
    policies,
    recentConnections: s.recent,
    services,
    stagedServices: Object.fromEntries(
      [...s.mesh.stagedEndpoints()].map(([key, endpoints]) => [key, [...endpoints.keys()]]),
    ),
    staticConfig: { policies: [], services: [], workloads: [] },
    version: {
      buildProfile: 'release',
      buildStatus: 'Clean',
      cryptoProvider: `openssl-${process.versions.openssl}`,
      gitRevision: 'unknown',
      istioVersion: s.config.version,
      nodeVersion: process.versions.node,
      version: s.config.version,
    },
    workloadState: Object.fromEntries(s.pods.map((p) => [p.info.uid, dumpPod(s, p.info, p.phase)])),
    workloads,
  };
}

/** The fields Istio names, without anything that says where secrets lie. */
function dumpConfig(c: ZtunnelConfig): Record<string, unknown> {
  return {
    clusterId: c.clusterId,
    dnsProxy: false,
    localNode: c.nodeName,
    outboundTrafficPolicy: c.egress,
    network: c.network,
    poolMaxStreamsPerConn: c.poolStreams,
    proxy: true,
    proxyMode: c.proxyMode,
    selfTerminationDeadline: `${c.drainMs}ms`,
    trustDomain: c.trustDomain,
    trustDomainAliases: c.trustDomainAliases,
  };
}

const stateText = (status: CertStatus): string => {
  switch (status.state) {
    case 'available':
      return 'Available';
    case 'initializing':
      return 'Initializing';
    case 'unavailable':
      return `Unavailable: ${status.reason}`;
  }
};

function dumpCert(c: CertSnapshot): Record<string, unknown> {
  return {
    certChain: (c.cert?.chain ?? []).map(dumpOne),
    identity: c.id,
    rootCerts: (c.cert?.roots ?? []).map(dumpOne),
    state: stateText(c.status),
  };
}

const seconds = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;

function dumpOne(pem: string): Record<string, unknown> {
  const der = pemToDer(pem);
  const facts = readCertificate(der);
  return {
    expirationTime: facts ? seconds(facts.notAfterMs) : '',
    pem: Buffer.from(derToPem(der, 60)).toString('base64'),
    serialNumber: facts ? BigInt(`0x${facts.serial}`).toString(10) : '',
    validFrom: facts ? seconds(facts.notBeforeMs) : '',
  };
}

function dumpPod(s: DumpSources, info: PodInfo, phase: PodPhase): Record<string, unknown> {
  const { name, namespace, serviceAccount } = info;
  const proxy = s.proxy(info.uid);
  const workload = proxy?.current();
  const inbound = workload ? s.connections.of(workload.uid) : [];
  const outbound = (proxy?.live() ?? []).filter((l) => l.direction === 'outbound');
  return {
    ...(proxy && {
      connections: {
        inbound: inbound.map((i) => ({
          actualDst: printIpPort(i.target),
          originalDst: i.forwardedHost ?? null,
          protocol: i.principal === undefined ? 'TCP' : 'HBONE',
          src: printIpPort(i.source),
        })),
        outbound: outbound.map((o) => ({
          actualDst: printIpPort(o.dialled),
          originalDst: printIpPort(o.target),
          protocol: o.protocol,
          src: printIpPort(o.source),
        })),
      },
    }),
    info: { name, namespace, serviceAccount },
    state: phase === 'pending' ? 'Pending' : 'Up',
  };
}
