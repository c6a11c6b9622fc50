// TCPRoute and TLSRoute, prepared: where an opaque connection goes, by server name where there are names.
import { bestHost } from '../../core/model/index.ts';
import type * as wire from '../../core/proto/index.ts';
import { type Backend, compileBackend } from './backend.ts';
import type { CompileContext } from './faults.ts';

/** Where opaque connections go. */
export interface CompiledTcp {
  readonly name: string;
  readonly backends: readonly Backend[];
}

/** For one pattern of server names; empty = any, also none. */
export interface NamedTcp {
  readonly hostname: string;
  readonly tcp: CompiledTcp;
}

export function compileTcp(t: wire.L7TcpRoute, c: CompileContext): CompiledTcp {
  return { name: t.name, backends: t.backends.map((b) => compileBackend(b, c)) };
}

export function compileNamed(all: readonly wire.L7TcpRoute[], c: CompileContext): NamedTcp[] {
  return all.flatMap((t) => {
    const tcp = compileTcp(t, c);
    return (t.hostnames.length === 0 ? [''] : t.hostnames).map((hostname) => ({ hostname, tcp }));
  });
}

/** Where a connection goes that asks for this server name; `none` = nowhere. */
export const tcpByName = (all: readonly NamedTcp[], serverName: string): CompiledTcp | 'none' =>
  bestHost(all, serverName, (r) => r.hostname)?.tcp ?? 'none';
