// The xDS types of the mesh (ztunnel-protocol.md 6.1).
export const addressType = 'type.googleapis.com/istio.workload.Address';
export const authorizationType = 'type.googleapis.com/istio.security.Authorization';
/** Ours: what a waypoint is told about a service bound to it (sandbox.md D15). */
export const serviceConfigType = 'type.googleapis.com/ambientlite.waypoint.v1.ServiceConfig';
