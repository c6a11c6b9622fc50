// Branded keys of the stores and how they are built (ztunnel-protocol.md 6.7).
import type { Brand, IpAddress } from '../base/index.ts';

/** `Kubernetes//Pod/shop/web-0`. */
export type WorkloadUid = Brand<string, 'WorkloadUid'>;
/** `namespace/hostname`. */
export type NamespacedHost = Brand<string, 'NamespacedHost'>;
/** `network/ip`; the default network is empty, so `/10.0.0.1`. */
export type NetworkAddress = Brand<string, 'NetworkAddress'>;
/** `namespace/name` of an Authorization. */
export type PolicyKey = Brand<string, 'PolicyKey'>;

export const workloadUid = (text: string): WorkloadUid => text as WorkloadUid;

export const podUid = (cluster: string, namespace: string, name: string): WorkloadUid =>
  `${cluster}//Pod/${namespace}/${name}` as WorkloadUid;

export const namespacedHost = (namespace: string, hostname: string): NamespacedHost =>
  `${namespace}/${hostname}` as NamespacedHost;

/** Reads `namespace/hostname`: exactly one slash, both parts non-empty. */
export function parseNamespacedHost(text: string): NamespacedHost | undefined {
  const [namespace, hostname, more] = text.split('/');
  return namespace && hostname && more === undefined ? (text as NamespacedHost) : undefined;
}

export const networkAddress = (network: string, ip: IpAddress): NetworkAddress =>
  `${network}/${ip}` as NetworkAddress;

export const policyKey = (namespace: string, name: string): PolicyKey =>
  `${namespace}/${name}` as PolicyKey;
