// A workload as the proxies see it (istio.workload.Workload, ztunnel-protocol.md 6.2).
import type { IpAddress } from '../base/index.ts';
import { type Identity, printIdentity, type SpiffeId } from './identity.ts';
import type { NamespacedHost, PolicyKey, WorkloadUid } from './keys.ts';

export type TunnelProtocol = 'TCP' | 'HBONE';
export type WorkloadStatus = 'Healthy' | 'Unhealthy';
export type NetworkMode = 'Standard' | 'HostNetwork';

/** Where a waypoint or network gateway is found. */
export type GatewayAddress =
  | {
      readonly kind: 'host';
      readonly namespace: string;
      readonly hostname: string;
      readonly hboneMtlsPort: number;
    }
  | {
      readonly kind: 'address';
      readonly network: string;
      readonly ip: IpAddress;
      readonly hboneMtlsPort: number;
    };

export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subzone: string;
}

export interface ApplicationTunnel {
  readonly protocol: 'NONE' | 'PROXY';
  /** 0 = keep the resolved target port. */
  readonly port: number;
}

/** service port → target port on this workload. */
export type PortMap = ReadonlyMap<number, number>;

export interface Workload {
  readonly uid: WorkloadUid;
  readonly name: string;
  readonly namespace: string;
  readonly addresses: readonly IpAddress[];
  readonly hostname: string;
  readonly network: string;
  readonly protocol: TunnelProtocol;
  /** Never empty here: the wire's empty default is `cluster.local`. */
  readonly trustDomain: string;
  /** Never empty here: the wire's empty default is `default`. */
  readonly serviceAccount: string;
  readonly waypoint?: GatewayAddress;
  readonly networkGateway?: GatewayAddress;
  readonly node: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly workloadType: 'deployment' | 'cronjob' | 'pod' | 'job';
  readonly workloadName: string;
  readonly nativeTunnel: boolean;
  readonly authorizationPolicies: readonly PolicyKey[];
  readonly status: WorkloadStatus;
  readonly clusterId: string;
  readonly services: ReadonlyMap<NamespacedHost, PortMap>;
  readonly applicationTunnel?: ApplicationTunnel;
  readonly locality: Locality;
  readonly networkMode: NetworkMode;
  /** Load-balancing weight; absent on the wire = 1. */
  readonly capacity: number;
}

export function workloadIdentity(w: Workload): Identity {
  return { trustDomain: w.trustDomain, namespace: w.namespace, serviceAccount: w.serviceAccount };
}

export function workloadSpiffeId(w: Workload): SpiffeId {
  return printIdentity(workloadIdentity(w));
}
