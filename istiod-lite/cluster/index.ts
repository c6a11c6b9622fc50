// Door of istiod-lite/cluster: what Kubernetes says, as facts.
export { nodesToOpen, notReadyTaint, type OpenNode } from './taint-plan.ts';
export { Discovery } from './discovery.ts';
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
  dict,
  field,
  list,
  type Meta,
  type NamespaceFacts,
  type NodeFacts,
  type PodFacts,
  readMeta,
  readPod,
  type ServiceFacts,
  type ServicePortFacts,
  type SliceFacts,
  text,
  texts,
} from './objects.ts';
export {
  type AuthorizationPolicyFacts,
  type Condition,
  type MtlsMode,
  type OperationFacts,
  type PeerAuthenticationFacts,
  readConditions,
  type RuleFacts,
  type SourceFacts,
  type Texts,
} from './policies.ts';
export { readAuthorizationPolicy, readTargets } from './policies.ts';
export type {
  EndpointFacts,
  EntryPortFacts,
  ServiceEntryFacts,
  WorkloadEntryFacts,
} from './entries.ts';
