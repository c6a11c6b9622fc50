// Door of core/xds: the mesh over the wire, both ends, without IO where it matters.
export { type AddressResource, decodeAddress, decodeAuthorization } from './decode.ts';
export { DeltaClientState, type DeltaRequest, type Settled } from './delta-client-state.ts';
export { type DeltaResponse, DeltaServerState, type Heard } from './delta-server-state.ts';
export { encodePolicy, encodeService, encodeWorkload } from './encode.ts';
export { readLocalConfig } from './local-source.ts';
export { MeshFeed } from './mesh-feed.ts';
export { type ProxyNode, xdsNode } from './node.ts';
export { type Changes, type Entry, nodeGroup, Snapshot, Snapshots } from './snapshot.ts';
export { addressType, authorizationType, serviceConfigType } from './type-urls.ts';
export { type ExtraType, type XdsHooks, XdsSource, type XdsSourceOptions } from './xds-source.ts';
