// The bearer token of a call.
import type { Caller } from '../../core/rpc/index.ts';

export function bearerOf(caller: Caller): string | undefined {
  const header = caller.header('authorization');
  return header?.startsWith('Bearer ') ? header.slice('Bearer '.length) : undefined;
}
