// One loop per stream around DeltaServerState: nothing is queued but "look again", so a slow proxy skips
// revisions and never delays another (style-models.md 6.3; control-plane.md 4.3, 4.4).
import { type Clock, type Log, printable, type Timer } from '../../core/base/index.ts';
import {
  type Caller,
  type RequestOf,
  RpcError,
  rpcStatus,
  type ServerStream,
  type StreamHandlers,
} from '../../core/rpc/index.ts';
import {
  addressType,
  authorizationType,
  DeltaServerState,
  type Entry,
  serviceConfigType,
  nodeGroup,
  type Snapshots,
} from '../../core/xds/index.ts';
import type { CallerIdentity, TokenReviewer } from '../kube/token-review.ts';
import type { IstiodMetrics } from '../metrics.ts';
import { bearerOf } from './bearer.ts';

type Request = RequestOf<'deltaAggregatedResources'>;
type Stream = ServerStream<'deltaAggregatedResources'>;

export interface XdsDeps {
  readonly snapshots: Snapshots;
  readonly tokens: TokenReviewer;
  /** `namespace/name` of the Gateway whose pod calls, for what only its pods may see. */
  readonly gatewayOf: (who: CallerIdentity) => string | undefined;
  /** The node of the calling pod; `undefined` = the pod is not known. */
  readonly nodeOf: (who: CallerIdentity) => string | undefined;
  /** `namespace/account` of node proxies: beside the pods of Gateways, nobody else is told of the mesh (K7). */
  readonly nodeAccounts: readonly string[];
  readonly clock: Clock;
  readonly metrics: IstiodMetrics;
  readonly log: Log;
}

/** Requests kept while the caller is being authenticated; more is hostile. */
const maxEarly = 16;
/** How long addresses wait for a client that has not asked for policies yet. */
const policiesFirstMs = 500;

export interface ClientStatus {
  readonly node: string;
  readonly peer: string;
  readonly account: string;
  readonly connectedAt: string;
  /** Everything of the current revision has been sent and acknowledged. */
  readonly synced: boolean;
  readonly types: readonly { typeUrl: string; told: number; waiting: boolean }[];
}

const shortType = (url: string): string => url.slice(url.lastIndexOf('.') + 1);

class Client implements StreamHandlers<'deltaAggregatedResources'> {
  readonly #d: XdsDeps;
  readonly #stream: Stream;
  readonly #caller: Caller;
  readonly #state: DeltaServerState;
  readonly #done: () => void;
  readonly #since: number;
  #early: Request[] | undefined = [];
  #who: CallerIdentity | undefined;
  #node = '';
  #writable = true;
  #open = true;
  #patience: Timer | undefined;
  #alone = false;

  constructor(d: XdsDeps, stream: Stream, caller: Caller, id: string, done: () => void) {
    this.#d = d;
    this.#stream = stream;
    this.#caller = caller;
    this.#state = new DeltaServerState(id);
    this.#done = done;
    this.#since = d.clock.now();
    this.#authenticate().catch((error: unknown) => {
      d.log.error('cannot review a token', { error });
      this.#fail(rpcStatus.unavailable, 'cannot authenticate now');
    });
  }

  async #authenticate(): Promise<void> {
    const who = await this.#d.tokens.review(bearerOf(this.#caller) ?? '');
    if (!this.#open) return;
    if (!who) {
      this.#d.metrics.denied.add({ service: 'xds', reason: 'unauthenticated' });
      this.#d.log.warn('xDS stream refused', {
        peer: this.#caller.peer,
        reason: 'unauthenticated',
      });
      return this.#fail(rpcStatus.unauthenticated, 'authentication failure');
    }
    this.#who = who;
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const m of early) this.message(m);
  }

  #fail(code: number, text: string): void {
    this.#stream.end(new RpcError(code, text));
    this.closed();
  }

  message(m: Request): void {
    if (!this.#open) return;
    if (this.#early) {
      if (this.#early.push(m) > maxEarly)
        this.#fail(rpcStatus.resourceExhausted, 'too many requests');
      return;
    }
    if (this.#node === '' && !this.#greet(m)) return;
    const heard = this.#state.hear(m, this.#d.snapshots);
    if (heard.kind === 'nack') {
      this.#d.metrics.xdsRejects.add({ type: shortType(m.typeUrl) });
      this.#d.log.warn('xDS response refused by a client', {
        node: this.#node,
        typeUrl: m.typeUrl,
        error: printable(heard.message, 1000),
      });
    }
    if (heard.kind === 'unknown-type') {
      this.#d.log.debug('unknown xDS type', { typeUrl: printable(m.typeUrl) });
      return;
    }
    this.look();
  }

  /** First request: the node must be who its token says. */
  #greet(m: Request): boolean {
    const id = m.node?.id ?? '';
    const parts = id.split('~');
    if (parts.length !== 4 || id.length > 1024) {
      this.#fail(rpcStatus.invalidArgument, 'node id must have four parts joined by ~');
      return false;
    }
    const namespace =
      m.node?.metadata?.fields['NAMESPACE']?.stringValue || (parts[3] ?? '').split('.')[0];
    const who = this.#who;
    if (!who || namespace !== who.namespace) {
      this.#d.metrics.denied.add({ service: 'xds', reason: 'wrong-namespace' });
      this.#fail(rpcStatus.permissionDenied, 'the node’s namespace is not the token’s');
      return false;
    }
    const node = this.#d.nodeOf(who);
    if (!this.#isProxy(who)) {
      // Its pod may be a moment old: such a caller comes again.
      if (node === undefined) this.#fail(rpcStatus.unavailable, 'the token’s pod is not known yet');
      else {
        this.#d.metrics.denied.add({ service: 'xds', reason: 'no-proxy' });
        this.#fail(
          rpcStatus.permissionDenied,
          'neither a node proxy (CA_TRUSTED_NODE_ACCOUNTS) nor a pod of a Gateway',
        );
      }
      return false;
    }
    const own = m.node?.metadata?.fields['NODE_NAME']?.stringValue;
    if (own && node !== undefined && own !== node) {
      this.#d.metrics.denied.add({ service: 'xds', reason: 'wrong-node' });
      this.#fail(rpcStatus.permissionDenied, 'the node is not the one of the token’s pod');
      return false;
    }
    if (own) this.#state.include(nodeGroup(own));
    this.#node = printable(id, 300);
    this.#d.log.info('xDS client connected', { node: this.#node, peer: this.#caller.peer });
    return true;
  }

  #isProxy(who: CallerIdentity): boolean {
    const account = `${who.namespace}/${who.serviceAccount}`;
    return this.#d.nodeAccounts.includes(account) || this.#d.gatewayOf(who) !== undefined;
  }

  drained(): void {
    this.#writable = true;
    this.look();
  }

  closed(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#patience?.cancel();
    if (this.#node !== '') this.#d.log.info('xDS client gone', { node: this.#node });
    this.#done();
  }

  /** Sends whatever may be sent now. */
  look(): void {
    if (!this.#open || this.#early || !this.#mayStart()) return;
    while (this.#writable) {
      const next = this.#state.next(this.#d.snapshots, (e) => this.#sees(e));
      if (next === undefined) return;
      if (next === 'resync') return this.#fail(rpcStatus.unavailable, 'too far behind; reconnect');
      this.#d.metrics.xdsPushes.add({ type: shortType(next.typeUrl ?? '') });
      this.#writable = this.#stream.send(next);
    }
  }

  /** A waypoint's configuration is for the pods of its Gateway alone. */
  #sees(entry: Entry): boolean {
    const gateway = this.#who && this.#d.gatewayOf(this.#who);
    return gateway !== undefined && entry.aliases.includes(gateway);
  }

  /** Addresses are not told before policies; a client that never asks for policies waits half a second. */
  #mayStart(): boolean {
    if (this.#alone || !this.#state.has(addressType)) return true;
    if (this.#state.has(authorizationType) || this.#state.has(serviceConfigType)) return true;
    this.#patience ??= this.#d.clock.after(policiesFirstMs, () => {
      this.#alone = true;
      this.look();
    });
    return false;
  }

  status(): ClientStatus {
    const types = this.#state.status();
    const { revision } = this.#d.snapshots;
    return {
      node: this.#node,
      peer: this.#caller.peer,
      account: this.#who ? `${this.#who.namespace}/${this.#who.serviceAccount}` : '',
      connectedAt: new Date(this.#since).toISOString(),
      synced: types.length > 0 && types.every((t) => t.told >= revision && !t.waiting),
      types,
    };
  }
}

export class XdsServer {
  readonly #d: XdsDeps;
  readonly #clients = new Set<Client>();
  #serial = 0;

  constructor(deps: XdsDeps) {
    this.#d = deps;
  }

  readonly open = (stream: Stream, caller: Caller): StreamHandlers<'deltaAggregatedResources'> => {
    const done = (): void => {
      this.#clients.delete(client);
      this.#d.metrics.xdsClients.set({}, this.#clients.size);
    };
    const id = `${this.#d.clock.now().toString(36)}-${++this.#serial}`;
    const client = new Client(this.#d, stream, caller, id, done);
    this.#clients.add(client);
    this.#d.metrics.xdsClients.set({}, this.#clients.size);
    return client;
  };

  /** The snapshots have grown: every stream looks again. */
  changed(): void {
    for (const c of this.#clients) c.look();
  }

  status(): ClientStatus[] {
    return [...this.#clients].map((c) => c.status());
  }
}
