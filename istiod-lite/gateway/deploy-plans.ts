// What a Gateway is served by, with what ConfigMaps make of it. Pure.
import type { MeshSettings } from '../translate/index.ts';
import { type Desired, planDeployment, type Template } from './deploy-plan.ts';
import type { GatewayState } from './gateway-state.ts';
import type { GatewayFacts } from './objects.ts';
import { customise, parametersOf } from './parameters.ts';

export type GatewayPlan =
  | { readonly desired: Desired; readonly fault?: undefined }
  /** Everything stays as it is. */
  | { readonly fault: string };

/** `pending` = a ConfigMap is not known yet; `undefined` = nothing is made for it. */
export function planGateway(
  gateways: GatewayState,
  g: GatewayFacts,
  template: Template,
  m: MeshSettings,
): GatewayPlan | 'pending' | undefined {
  const plain = planDeployment(g, gateways.controllerOf(g), template, m);
  if (!plain) return undefined;
  const found = parametersOf(gateways, g, m.rootNamespace);
  if (found.state === 'pending') return 'pending';
  return found.state === 'bad' ? { fault: found.message } : customise(plain, found.all);
}
