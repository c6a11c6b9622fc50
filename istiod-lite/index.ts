// Door of istiod-lite, the control plane.
export { type Istiod, type IstiodDeps, startIstiodLite } from './app.ts';
export { configVariables, type IstiodConfig, readConfig } from './config.ts';
export { istiodMetrics } from './metrics.ts';
// For tools that judge objects as the control plane does.
export {
  type AuthorizationPolicyFacts,
  ClusterState,
  dict,
  type Dict,
  field,
  list,
  nothingTouched,
  readAuthorizationPolicy,
  text,
  texts,
} from './cluster/index.ts';
export {
  accessPolicy,
  bindLabels,
  type Binding,
  failOpenAnnotation,
  GatewayState,
  isClassRef,
  isGatewayRef,
  isServiceRef,
  pluginsConfigName,
  readBackendTlsPolicy,
  readPluginSet,
  ownKinds,
} from './gateway/index.ts';
export {
  HostOwners,
  type MeshSettings,
  peerAuthenticationKeys,
  peerAuthenticationPolicies,
  selects,
  translatePolicy,
} from './translate/index.ts';
