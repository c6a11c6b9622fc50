// Door of istiod-lite/cluster: what Kubernetes says, as facts.
export {
  ClusterState,
  type EventType,
  type Kind,
  nothingTouched,
  type ObjectKey,
  type Touched,
} from './cluster-state.ts';
export {
  type Dict,
  type NamespaceFacts,
  type NodeFacts,
  type PodFacts,
  readPod,
  type ServiceFacts,
  type ServicePortFacts,
  type SliceFacts,
} from './objects.ts';
export type {
  AuthorizationPolicyFacts,
  Condition,
  MtlsMode,
  OperationFacts,
  PeerAuthenticationFacts,
  RuleFacts,
  SourceFacts,
  Texts,
} from './policies.ts';
