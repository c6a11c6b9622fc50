// The xDS types of the mesh (ztunnel-protocol.md 6.1).
export const addressType = 'type.googleapis.com/istio.workload.Address';
export const authorizationType = 'type.googleapis.com/istio.security.Authorization';
