// Door of istiod-lite/gateway: Gateway API objects → waypoints deployed, services bound to them, status.
export { ownKinds } from './rate-limit-schema.ts';
export {
  type Binding,
  bindLabels,
  bindService,
  type World,
} from './binding.ts';
export { GatewayController, watchedGatewayKinds } from './controller.ts';
export { mergeJson, type Template } from './deploy-plan.ts';
export { type GatewayKind, GatewayState } from './gateway-state.ts';
export { gatewayNameLabel } from './names.ts';
export { readGateway, readRoute } from './objects.ts';
export { pluginsConfigName, readPluginSet } from './plugins.ts';
export { failOpenAnnotation } from './references.ts';
export { type NamedConfig, serviceConfig, serviceConfigs } from './service-config.ts';
export { readBackendTlsPolicy } from './backend-tls.ts';
export { accessPolicy } from './access.ts';
export { isClassRef, isGatewayRef, isServiceRef } from './targets.ts';
