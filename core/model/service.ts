// A service as the proxies see it (istio.workload.Service, ztunnel-protocol.md 6.2).
import type { Cidr, IpAddress } from '../base/index.ts';
import type { GatewayAddress } from './workload.ts';

export type BalanceScope = 'Region' | 'Zone' | 'Subzone' | 'Node' | 'Cluster' | 'Network';
export type BalanceMode = 'Standard' | 'Strict' | 'Failover' | 'Passthrough';
export type HealthPolicy = 'OnlyHealthy' | 'AllowAll';
export type AppProtocol = 'UNKNOWN' | 'HTTP11' | 'HTTP2' | 'GRPC' | 'TCP' | 'TLS';

export interface ServicePort {
  readonly servicePort: number;
  /** 0 = each endpoint maps it. */
  readonly targetPort: number;
  readonly appProtocol: AppProtocol;
}

export interface LoadBalancing {
  readonly preferences: readonly BalanceScope[];
  readonly mode: BalanceMode;
  readonly healthPolicy: HealthPolicy;
}

export interface Vip {
  readonly network: string;
  readonly ip: IpAddress;
}

export interface CidrVip {
  readonly network: string;
  readonly cidr: Cidr;
}

export interface WeightedWaypoint {
  readonly destination: GatewayAddress;
  readonly weight: number;
}

export interface Service {
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  readonly vips: readonly Vip[];
  readonly cidrVips: readonly CidrVip[];
  readonly ports: readonly ServicePort[];
  readonly subjectAltNames: readonly string[];
  readonly waypoint?: GatewayAddress;
  readonly weightedWaypoints: readonly WeightedWaypoint[];
  /** Ingress gateways go through the waypoint too; by default they go straight to the endpoints. */
  readonly ingressUseWaypoint?: boolean;
  /** Absent = Standard, any healthy endpoint. */
  readonly loadBalancing?: LoadBalancing;
  readonly ipFamilies: 'Automatic' | 'IPv4' | 'IPv6' | 'Dual';
  readonly canonical: boolean;
  readonly visibility: 'Public' | 'Namespace';
}
