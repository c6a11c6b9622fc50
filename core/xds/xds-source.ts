// The gRPC stream around DeltaClientState: connect, decode in slices, apply in one tick, ACK or NACK,
// reconnect with back-off (ztunnel-protocol.md 7.3, 7.5). Traffic goes on with the last known mesh.
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  type BackoffPlan,
  backoffDelay,
  type Clock,
  type Log,
  printFaults,
  type Random,
} from '../base/index.ts';
import type { PolicyKey, Service, Stage } from '../model/index.ts';
import { type BidiCall, decode, type ReceivedOf, type RpcChannel, RpcError } from '../rpc/index.ts';
import { decodeAddress, decodeAuthorization } from './decode.ts';
import { type DeltaRequest, DeltaClientState } from './delta-client-state.ts';
import type { MeshFeed } from './mesh-feed.ts';
import { addressType, authorizationType } from './type-urls.ts';

type Response = ReceivedOf<'deltaAggregatedResources'>;
const readResource = (bytes: Uint8Array) => decode('envoy.service.discovery.v3.Resource', bytes);

export interface XdsHooks {
  /** A stream ended: `ConnectionError`, `Error`, `Reconnect` or `Complete` (11.2). */
  terminated?(reason: 'ConnectionError' | 'Error' | 'Reconnect' | 'Complete'): void;
  message?(typeUrl: string, bytes: number): void;
}

/** A type beside those of the mesh, read by its owner. */
export interface ExtraType {
  readonly typeUrl: string;
  /** Takes what can be read, in one tick; answers with what was refused, which keeps its last good form. */
  apply(
    resources: readonly { readonly name: string; readonly bytes: Uint8Array }[],
    removed: readonly string[],
  ): { readonly name: string; readonly reason: string }[];
}

export interface XdsSourceOptions {
  /** Opens a channel anew for each stream, so that roots and addresses are read again. */
  readonly open: () => RpcChannel;
  readonly node: NonNullable<DeltaRequest['node']>;
  readonly feed: MeshFeed;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly hooks?: XdsHooks;
  /** Subscribed to instead of policies, which such a proxy gets in a form of its own. */
  readonly extra?: ExtraType;
}

const backoff: BackoffPlan = { firstMs: 20, capMs: 15_000, jitter: 0.2 };
/** A stream that answered and lived as long starts the back-off anew; a control plane that flaps does not (F3). */
const steadyMs = 10_000;
// Resources and policy rules decoded before other work gets a turn: about 2 ms.
const slice = 100;

const isReconnect = (e: RpcError): boolean =>
  [1, 2, 4].includes(e.code) ||
  (e.code === 14 && /transport is closing|received prior goaway|GOAWAY/i.test(e.message));

export class XdsSource {
  readonly #o: XdsSourceOptions;
  readonly #state: DeltaClientState;
  #channel: RpcChannel | undefined;
  #call: BidiCall<'deltaAggregatedResources'> | undefined;
  #stopped = false;
  #attempt = 0;
  /** Streams in a row that answered and ended soon after. */
  #flaps = 0;
  #openedAt = 0;
  #connected = false;

  constructor(options: XdsSourceOptions) {
    this.#o = options;
    const second = options.extra?.typeUrl ?? authorizationType;
    this.#state = new DeltaClientState([addressType, second]);
  }

  /** Whether a stream is up and has answered. */
  get connected(): boolean {
    return this.#connected;
  }

  start(): void {
    if (this.#stopped) return;
    const { open, log, node } = this.#o;
    try {
      this.#channel = open();
    } catch (error) {
      log.warn('cannot open the xDS channel', { error });
      return this.#again('Error');
    }
    this.#openedAt = this.#o.clock.monotonic();
    let queue = Promise.resolve();
    const call = this.#channel.bidi('deltaAggregatedResources', {
      message: (m) => {
        queue = queue
          .then(() => this.#receive(m, call))
          .catch((error: unknown) => {
            log.error('xDS response could not be handled', { error });
            call.cancel();
          });
      },
      end: (error) => this.#ended(error),
    });
    this.#call = call;
    for (const request of this.#state.open(node)) call.send(request);
  }

  stop(): void {
    this.#stopped = true;
    this.#call?.cancel();
    this.#channel?.close();
  }

  #ended(error: RpcError | undefined): void {
    this.#channel?.close();
    const was = this.#connected;
    this.#connected = false;
    if (this.#stopped) return;
    if (was) {
      const steady = this.#o.clock.monotonic() - this.#openedAt >= steadyMs;
      this.#attempt = steady ? 0 : this.#flaps;
      this.#flaps = steady ? 0 : this.#flaps + 1;
    }
    if (!error) return this.#again('Complete');
    const reason = was && isReconnect(error) ? 'Reconnect' : was ? 'Error' : 'ConnectionError';
    this.#o.log.warn('xDS stream ended', { code: error.code, error: error.message, reason });
    this.#again(reason);
  }

  #again(reason: 'ConnectionError' | 'Error' | 'Reconnect' | 'Complete'): void {
    this.#o.hooks?.terminated?.(reason);
    const delay = backoffDelay(backoff, this.#attempt++, this.#o.random);
    this.#o.clock.after(delay, () => this.start());
  }

  async #receive(m: Response, call: BidiCall<'deltaAggregatedResources'>): Promise<void> {
    this.#connected = true;
    const { feed, log, hooks } = this.#o;
    hooks?.message?.(
      m.typeUrl,
      m.resources.reduce((n, r) => n + r.length, 0),
    );
    if (!this.#state.knows(m.typeUrl)) {
      log.warn('xDS response of an unknown type', { typeUrl: m.typeUrl });
      return call.send({ typeUrl: m.typeUrl, responseNonce: m.nonce });
    }
    const { extra } = this.#o;
    const verdicts =
      m.typeUrl === extra?.typeUrl ? applyExtra(m, extra) : await this.#applyMesh(m, call);
    if (!verdicts) return;
    const { accepted, rejected } = verdicts;
    const removed = m.removedResources;
    call.send(
      this.#state.settle({ typeUrl: m.typeUrl, nonce: m.nonce, accepted, removed, rejected }),
    );
    if (rejected.length > 0) log.warn('xDS resources refused', { rejected });
    if (this.#state.synced && !feed.isSynced) {
      log.info('first configuration received', { ...feed.view.counts });
      feed.markSynced();
    }
  }

  /** `undefined` = the stream has ended meanwhile. */
  async #applyMesh(
    m: Response,
    call: BidiCall<'deltaAggregatedResources'>,
  ): Promise<Verdicts | undefined> {
    const { feed } = this.#o;
    const live = (): boolean => call === this.#call && !this.#stopped;
    const read = await readResources(m, feed, live);
    if (!live()) {
      feed.discard(read.batch.staged);
      return undefined;
    }
    const removed = m.removedResources;
    feed.apply({
      ...read.batch,
      removed:
        m.typeUrl === addressType ? { addresses: removed } : { policies: removed as PolicyKey[] },
    });
    return read;
  }
}

interface Verdicts {
  readonly accepted: readonly { readonly name: string; readonly version: string }[];
  readonly rejected: readonly { readonly name: string; readonly reason: string }[];
}

interface Read {
  readonly batch: { readonly staged: Stage; readonly services: Service[] };
  readonly accepted: { name: string; version: string }[];
  readonly rejected: { name: string; reason: string }[];
}

function applyExtra(m: Response, extra: ExtraType): Verdicts {
  const resources = m.resources.map(readResource);
  const all = resources.map((r) => ({
    name: r.name,
    bytes: r.resource?.value ?? new Uint8Array(),
  }));
  const rejected = extra.apply(all, m.removedResources);
  const bad = new Set(rejected.map((r) => r.name));
  return { accepted: resources.filter((r) => !bad.has(r.name)), rejected };
}

/** Decodes a response, giving way to other work between slices; stops early when it is not wanted any more. */
async function readResources(m: Response, feed: MeshFeed, live: () => boolean): Promise<Read> {
  const read: Read = {
    batch: { staged: feed.stage(), services: [] },
    accepted: [],
    rejected: [],
  };
  let left = slice;
  try {
    for (const bytes of m.resources) {
      if (left <= 0) {
        left = slice;
        await nextTurn();
        if (!live()) return read;
      }
      left -= 1 + readOne(read, feed, m.typeUrl, bytes);
    }
  } catch (error) {
    feed.discard(read.batch.staged);
    throw error;
  }
  return read;
}

/** Answers with the number of rules in it: what it cost. Throws on bytes that are no resource. */
function readOne(read: Read, feed: MeshFeed, typeUrl: string, given: Uint8Array): number {
  const { name, version, resource } = readResource(given);
  const bytes = resource?.value ?? new Uint8Array();
  const isPolicy = typeUrl === authorizationType;
  const one = isPolicy ? readPolicy(read, feed, name, bytes) : readAddress(read, feed, bytes);
  if (one.faults === undefined) read.accepted.push({ name, version });
  else read.rejected.push({ name, reason: one.faults });
  return one.rules ?? 0;
}

interface One {
  readonly faults?: string;
  readonly rules?: number;
}

function readPolicy({ batch }: Read, feed: MeshFeed, name: string, bytes: Uint8Array): One {
  const policy = decodeAuthorization(name, bytes);
  if (!policy.ok) return { faults: printFaults(policy.faults) };
  feed.prepare(batch.staged, { policy: policy.value });
  return { rules: policy.value.rules.length };
}

function readAddress({ batch }: Read, feed: MeshFeed, bytes: Uint8Array): One {
  const address = decodeAddress(bytes);
  if (!address.ok) return { faults: printFaults(address.faults) };
  if (address.value.kind === 'service') batch.services.push(address.value.service);
  else feed.prepare(batch.staged, address.value);
  return {};
}
