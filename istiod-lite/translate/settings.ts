// What translation is told besides the cluster.
export interface MeshSettings {
  readonly clusterId: string;
  readonly trustDomain: string;
  /** `cluster.local`: the DNS domain of services. */
  readonly clusterDomain: string;
  readonly rootNamespace: string;
  readonly network: string;
  /** TLS of wildcard hosts is served, by the server name that callers send. Default: not. */
  readonly wildcardTls?: boolean;
}
