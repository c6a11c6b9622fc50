// Door of core/rpc: protobuf messages and typed gRPC, without anyone seeing protobufjs or grpc-js.
export {
  type BidiCall,
  type BidiHandlers,
  type ChannelOptions,
  openChannel,
  type RpcChannel,
  RpcError,
} from './channel.ts';
export { type ControlPlaneAddress, openControlPlane } from './control-plane.ts';
export { type Draft, decode, encode, type MessageName } from './codecs.ts';
export type { ReceivedOf, RequestOf, ResponseOf } from './methods.ts';
export {
  type Caller,
  type RpcHandlers,
  type RpcServer,
  rpcStatus,
  type ServerMaterial,
  type ServerStream,
  type StreamHandlers,
  serveRpc,
} from './serve.ts';
