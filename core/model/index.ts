// Door of core/model: what the mesh is made of, and the pure decisions over it.
export { Admission, type Admitted, type Denial } from './admission.ts';
export {
  type Applicable,
  authorize,
  isEmptyMatch,
  matchPolicy,
  type RbacConnection,
  type Verdict,
} from './authorize.ts';
export {
  type Listed,
  localityRank,
  type Picked,
  type PickOptions,
  pickAddress,
  pickEndpoint,
  serviceEndpoints,
  targetPort,
} from './balance.ts';
export { dumpMesh, dumpPolicy, dumpService, dumpWorkload } from './dump.ts';
export {
  type EnrolmentFacts,
  excludedNamespaces,
  modeLabel,
  redirectionKey,
  wantsMesh,
} from './enrolment.ts';
export {
  type Identity,
  isTrustDomain,
  parseIdentity,
  parseSpiffeId,
  printIdentity,
  type SpiffeId,
  trustDomainOf,
} from './identity.ts';
export {
  type NamespacedHost,
  type NetworkAddress,
  namespacedHost,
  networkAddress,
  type PolicyKey,
  parseNamespacedHost,
  podUid,
  policyKey,
  type WorkloadUid,
  workloadUid,
} from './keys.ts';
export { bestHost, hostMatches, hostOf, intersectHosts } from './hostnames.ts';
export { findGateway, waypointOf } from './gateway.ts';
export { type TcpLabelFacts, type TcpLabels, tcpLabelNames, tcpLabels } from './labels.ts';
export {
  type Batch,
  type ChangeSet,
  type Found,
  MeshState,
  type MeshView,
} from './mesh-state.ts';
export {
  type Clause,
  emptyMatch,
  type Match,
  type Pair,
  type Policy,
  type PolicyScope,
  type Rule,
  type ServiceAccountMatch,
  type StringMatch,
} from './policy.ts';
export type {
  AppProtocol,
  BalanceMode,
  BalanceScope,
  CidrVip,
  HealthPolicy,
  LoadBalancing,
  Service,
  ServicePort,
  Vip,
  WeightedWaypoint,
} from './service.ts';
export { type Endpoint, serviceKey } from './service-store.ts';
export {
  type ApplicationTunnel,
  type GatewayAddress,
  type Locality,
  type NetworkMode,
  type PortMap,
  type TunnelProtocol,
  type Workload,
  type WorkloadStatus,
  workloadIdentity,
  workloadSpiffeId,
} from './workload.ts';
export { type PolicyTrace, traceVerdict, type VerdictTrace } from './trace.ts';
export { readPolicyDump } from './undump.ts';
export { readMeshDump } from './undump-mesh.ts';
export type { LocalName } from './workload-store.ts';
export type { Stage } from './stage.ts';
