// Bearer token → caller, by the API server's TokenReview (control-plane.md 4.3, 5.2). Answers are kept for
// a short while by the token's hash, never the token itself. The text of a refusal tells nothing (K1).
import { createHash } from 'node:crypto';
import type { Clock, Log } from '../../core/base/index.ts';
import type { KubeClient } from '../../core/kube/index.ts';

/** Who calls, as the API server vouches. */
export interface CallerIdentity {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly podName: string;
  readonly podUid: string;
}

const keepMs = 10_000;
const maxKept = 10_000;
/** Reviews that are asked for at once, and those that wait for their turn: what comes beyond is told to come again (F6). */
const maxAsking = 32;
const maxWaiting = 4_096;

interface Review {
  status?: {
    authenticated?: boolean;
    audiences?: string[];
    user?: { username?: string; extra?: Record<string, string[]> };
  };
}

export class TokenReviewer {
  readonly #kube: KubeClient;
  readonly #audiences: readonly string[];
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #kept = new Map<string, { caller: CallerIdentity; until: number }>();
  /** By hash, too: who asks about the same token at the same time shares the answer. */
  readonly #asking = new Map<string, Promise<CallerIdentity | undefined>>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(kube: KubeClient, audiences: readonly string[], clock: Clock, log: Log) {
    this.#kube = kube;
    this.#audiences = audiences;
    this.#clock = clock;
    this.#log = log;
  }

  /** `undefined` = not authenticated, for whatever reason; throws if the API server cannot be asked. */
  async review(token: string): Promise<CallerIdentity | undefined> {
    if (token.length === 0 || token.length > 16_384) return undefined;
    const key = createHash('sha256').update(token).digest('base64');
    const known = this.#kept.get(key);
    if (known && known.until > this.#clock.monotonic()) return known.caller;
    this.#kept.delete(key);
    const asked = this.#asking.get(key);
    if (asked) return asked;
    const asking = this.#inTurn(() => this.#ask(key, token)).finally(() =>
      this.#asking.delete(key),
    );
    this.#asking.set(key, asking);
    return asking;
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= maxAsking) {
      if (this.#waiting.length >= maxWaiting) throw new Error('too many tokens wait for a review');
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running++;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running--;
    }
  }

  async #ask(key: string, token: string): Promise<CallerIdentity | undefined> {
    const answer = (await this.#kube.raw('POST', '/apis/authentication.k8s.io/v1/tokenreviews', {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenReview',
      metadata: {},
      spec: { token, audiences: this.#audiences },
    })) as Review;
    const caller = this.#read(answer);
    if (caller) this.#keep(key, caller);
    return caller;
  }

  #read({ status }: Review): CallerIdentity | undefined {
    if (status?.authenticated !== true) return undefined;
    // A server that ignores audiences answers without them: the token then proves nothing to us.
    if (!status.audiences?.some((a) => this.#audiences.includes(a))) return undefined;
    const [system, kind, namespace, serviceAccount] = (status.user?.username ?? '').split(':');
    if (system !== 'system' || kind !== 'serviceaccount' || !namespace || !serviceAccount) {
      this.#log.warn('a token of no service account was refused');
      return undefined;
    }
    const extra = (name: string): string =>
      status.user?.extra?.[`authentication.kubernetes.io/${name}`]?.[0] ?? '';
    return { namespace, serviceAccount, podName: extra('pod-name'), podUid: extra('pod-uid') };
  }

  #keep(key: string, caller: CallerIdentity): void {
    if (this.#kept.size >= maxKept) this.#kept.clear();
    this.#kept.set(key, { caller, until: this.#clock.monotonic() + keepMs });
  }
}
