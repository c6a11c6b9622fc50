// Door of core/rpc: protobuf messages and typed gRPC, without anyone seeing protobufjs or grpc-js.
export { type Draft, decode, encode, type MessageName } from './codecs.ts';
