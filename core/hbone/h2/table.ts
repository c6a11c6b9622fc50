// The streams of a connection by id: which are open, which were, which never began (RFC 9113 5.1).
import { code, H2Error } from './frames.ts';
import type { H2Stream } from './stream.ts';

const largestId = 2 ** 31 - 1;
/** Streams known that we ended: frames on their way to them cost the peer nothing, */
const remembered = 1_000;
/** as many as fill a window of 4 MiB by the shortest frames that anybody sends in earnest. */
const lateFrames = 300;

export class StreamTable {
  readonly #open = new Map<number, H2Stream>();
  /** Late frames still free, by id. */
  readonly #endedByUs = new Map<number, number>();
  readonly #weBegin: boolean;
  #newest: number;

  /** `weBegin`: we are the client. Streams are always the client's: nothing is pushed. */
  constructor(weBegin: boolean) {
    this.#weBegin = weBegin;
    this.#newest = weBegin ? -1 : 0;
  }

  get size(): number {
    return this.#open.size;
  }

  get usedUp(): boolean {
    return this.#newest >= largestId - 2;
  }

  /** The newest stream of the peer, for GOAWAY. */
  get lastOfPeer(): number {
    return this.#weBegin ? 0 : this.#newest;
  }

  all(): Iterable<H2Stream> {
    return this.#open.values();
  }

  nextId(): number {
    this.#newest += 2;
    return this.#newest;
  }

  /** A request's id: true = new, false = one that was. Throws H2Error for an id no client may use. */
  begins(id: number): boolean {
    if (id % 2 === 0) throw new H2Error(code.protocolError, 'a client has odd streams');
    if (id <= this.#newest) return false;
    this.#newest = id;
    return true;
  }

  add(stream: H2Stream): void {
    this.#open.set(stream.id, stream);
  }

  get(id: number): H2Stream | undefined {
    return this.#open.get(id);
  }

  /** The stream of a frame; `undefined` = it was, and is over. Throws H2Error for an idle one. */
  known(id: number): H2Stream | undefined {
    const stream = this.#open.get(id);
    if (stream) return stream;
    if (id === 0 || id % 2 === 0 || id > this.#newest)
      throw new H2Error(code.protocolError, `a frame of idle stream ${id}`);
    return undefined;
  }

  delete(stream: H2Stream): boolean {
    return this.#open.delete(stream.id);
  }

  clear(): void {
    this.#open.clear();
  }

  /** We ended this one. */
  remember(id: number): void {
    this.#endedByUs.set(id, lateFrames);
    if (this.#endedByUs.size <= remembered) return;
    const [oldest] = this.#endedByUs.keys();
    if (oldest !== undefined) this.#endedByUs.delete(oldest);
  }

  /** Whether a late frame of this stream is free. */
  freeLate(id: number): boolean {
    const left = this.#endedByUs.get(id) ?? 0;
    if (left > 0) this.#endedByUs.set(id, left - 1);
    return left > 0;
  }
}
