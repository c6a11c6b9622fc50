// What a plugin is written against: types alone, so that a plugin has nothing to load. A plugin is one file of TypeScript
// (types that can be stripped) whose default export is a Plugin; every hook may be left out and costs nothing then.
// Values are copies: what a hook changes in them goes nowhere, what it returns is checked and carried out.

/** Names in lower case, in the order they came; a name may come again. */
export type PluginHeaders = readonly (readonly [string, string])[];

export interface PluginRequest {
  readonly method: string;
  /** Normalised, without query. */
  readonly path: string;
  /** With its `?`, or empty. */
  readonly query: string;
  readonly authority: string;
  readonly headers: PluginHeaders;
}

export interface PluginResponse {
  readonly status: number;
  readonly headers: PluginHeaders;
}

export interface PluginContext {
  /** `namespace/name` of the plugin itself. */
  readonly plugin: string;
  /** Proven by the certificate of the tunnel; empty texts = nobody has proven anything (outside callers). */
  readonly source: {
    /** `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT`. */
    readonly identity: string;
    readonly namespace: string;
    readonly serviceAccount: string;
    readonly workload: string;
    readonly address: string;
  };
  /** Of a checked token. */
  readonly user?: {
    readonly issuer: string;
    readonly subject: string;
    readonly claims: Readonly<Record<string, unknown>>;
  };
  readonly service: {
    readonly namespace: string;
    readonly hostname: string;
    readonly port: number;
  };
  /** Name of the matched route rule, `default` without one. */
  readonly route: string;
  readonly requestId: string;
  /** What external authorizers said, by key. */
  readonly authorizer: Readonly<Record<string, unknown>>;
}

/** Changes of headers: `remove` first, then `set`, which replaces every line of that name. */
export interface HeaderEdits {
  readonly set?: Readonly<Record<string, string>>;
  readonly remove?: readonly string[];
}

/** The waypoint answers by itself; the request goes no further. */
export interface PluginReply {
  /** 200 to 599. */
  readonly status: number;
  /** At most 64 KiB. */
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export type RequestAnswer = HeaderEdits | { readonly reply: PluginReply } | undefined;
export type ResponseAnswer = HeaderEdits | undefined;
export type AuthorizeAnswer =
  | { readonly allow: true }
  | { readonly allow: false; readonly status?: number; readonly body?: string };

/** One endpoint that is ready for this request. */
export interface PluginEndpoint {
  readonly id: string;
  readonly workload: string;
  readonly address: string;
  readonly zone: string;
  readonly node: string;
}

export interface PluginLogEntry {
  readonly request: PluginRequest;
  readonly status: number;
  /** Istio's response flags, `-` for none. */
  readonly flags: string;
  readonly durationMs: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly endpoint: string;
}

type Answer<T> = T | Promise<T>;

/** Hooks in the order in which a request meets them. */
export interface Plugin {
  /** After AuthorizationPolicy has allowed: may refuse, can allow nothing that was refused. */
  authorize?(request: PluginRequest, context: PluginContext): Answer<AuthorizeAnswer>;
  /** Before route filters; changes what goes upstream. */
  onRequest?(request: PluginRequest, context: PluginContext): Answer<RequestAnswer>;
  /** The `id` of an endpoint for the first try; `undefined` = the balancer's choice. */
  pick?(
    endpoints: readonly PluginEndpoint[],
    request: PluginRequest,
    context: PluginContext,
  ): Answer<string | undefined>;
  /** Answers of upstreams, before their head goes to the caller. */
  onResponse?(
    response: PluginResponse,
    request: PluginRequest,
    context: PluginContext,
  ): Answer<ResponseAnswer>;
  /** After the end; a text becomes one line of the waypoint's log. Nothing waits for it. */
  onLog?(entry: PluginLogEntry, context: PluginContext): Answer<string | undefined>;
}

export type Hook = keyof Plugin;
