// Names that users and Istio's tools know (control-plane.md 6.1).
export const meshController = 'istio.io/mesh-controller';
export const gatewayController = 'istio.io/gateway-controller';
export const fieldManager = 'istio.io/gateway-controller';
export const managedLabel = 'gateway.istio.io/managed';
export const gatewayNameLabel = 'gateway.networking.k8s.io/gateway-name';
export const gatewayClassLabel = 'gateway.networking.k8s.io/gateway-class-name';

export interface ClassSpec {
  readonly name: string;
  readonly controller: string;
  readonly description: string;
  readonly serviceType: 'ClusterIP' | 'LoadBalancer';
  /** Put behind the Gateway's name in the names of what is made for it. */
  readonly suffix: string;
}

/** The classes made at the start where they are missing. */
export const classes: readonly ClassSpec[] = [
  {
    name: 'istio',
    controller: gatewayController,
    description: 'The default Istio GatewayClass',
    serviceType: 'LoadBalancer',
    suffix: '-istio',
  },
  {
    name: 'istio-waypoint',
    controller: meshController,
    description: 'The default Istio waypoint GatewayClass',
    serviceType: 'ClusterIP',
    suffix: '',
  },
];

export const specOfController = (controller: string): ClassSpec | undefined =>
  classes.find((c) => c.controller === controller);
