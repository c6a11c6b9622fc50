// kubectl 1.32 and newer sends `create ns|sa|cm …` as protobuf: `k8s\0`, then runtime.Unknown.
import { statusError } from '../store/index.ts';

const magic = Buffer.from('k8s\0', 'latin1');

export function decodeProtobuf(body: Buffer): unknown {
  if (!body.subarray(0, 4).equals(magic)) {
    throw statusError(400, 'BadRequest', 'the protobuf body does not start as Kubernetes says');
  }
  throw statusError(
    415,
    'UnsupportedMediaType',
    'protobuf bodies of this kind are not read here: use kubectl create -f',
  );
}
