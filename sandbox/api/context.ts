// What every request handler is given.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Log } from '../../core/base/index.ts';
import type { PodRuntime } from '../contract.ts';
import type { ResourceInfo, SandboxStore } from '../store/index.ts';
import type { SandboxTokens } from './tokens.ts';
import type { User } from './users.ts';

export interface ApiContext {
  readonly store: SandboxStore;
  readonly tokens: SandboxTokens;
  readonly runtime: PodRuntime;
  readonly log: Log;
  /** Wall time, milliseconds. */
  now(): number;
}

/** One request for a resource. */
export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  readonly user: User;
  readonly info: ResourceInfo;
  /** Key of the version asked for, e.g. `security.istio.io/v1beta1/authorizationpolicies`. */
  readonly key: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly sub: string | undefined;
}
