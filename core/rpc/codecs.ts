// protobufjs over the generated descriptor: bytes ↔ messages by full type name. The only user of
// protobufjs at run time. 64-bit integers become numbers (lifetimes and sizes stay far below 2^53).
import protobuf from 'protobufjs';
import { descriptor, type Messages } from '../proto/index.ts';

// `null` tells protobufjs to read 64-bit integers as numbers; its typings do not know that.
(protobuf.util as { Long: unknown }).Long = null;
protobuf.configure();

const root = protobuf.Root.fromJSON(descriptor as protobuf.INamespace).resolveAll();
const types = new Map<string, protobuf.Type>();

export type MessageName = keyof Messages;

/** A message to be written: every field may be left out. */
export type Draft<T> = {
  readonly [K in keyof T]?: T[K] extends (infer E)[]
    ? readonly Draft<E>[]
    : T[K] extends Uint8Array | string | number | boolean
      ? T[K]
      : Draft<T[K]> | undefined;
};

function typeOf(name: MessageName): protobuf.Type {
  let type = types.get(name);
  if (!type) {
    type = root.lookupType(name);
    types.set(name, type);
  }
  return type;
}

/** Encodes; unset and `undefined` fields are left out. Throws on values of the wrong kind. */
export function encode<N extends MessageName>(name: N, value: Draft<Messages[N]>): Buffer {
  const type = typeOf(name);
  return Buffer.from(type.encode(type.fromObject(value as Record<string, unknown>)).finish());
}

/** Decodes; absent scalars read as their defaults. Throws on malformed bytes. */
export function decode<N extends MessageName>(name: N, bytes: Uint8Array): Messages[N] {
  return typeOf(name).decode(bytes) as unknown as Messages[N];
}
