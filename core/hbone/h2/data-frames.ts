// DATA on its way in (RFC 9113 6.1): charged to the windows when a frame begins, handed to its stream as it comes.
import type { FlowControl } from './flow.ts';
import { code, flag } from './frames.ts';
import type { H2Stream } from './stream.ts';
import type { StreamTable } from './table.ts';

export interface DataOwner {
  /** DATA without bytes and without an end. Throws H2Error when it is too much. */
  emptyData(): void;
  /** A frame for a stream that is over, or whose peer had ended it. */
  late(id: number, stream: H2Stream | undefined): void;
  refuse(stream: H2Stream, errorCode: number): void;
  remoteEnded(stream: H2Stream): void;
}

export class DataFrames {
  readonly #streams: StreamTable;
  readonly #flow: FlowControl;
  readonly #owner: DataOwner;
  /** The stream of the frame being read; none = its bytes are thrown away. */
  #stream: H2Stream | undefined;
  #ends = false;
  /** Bytes of the frame that no reader has been given: in the end its padding. */
  #left = 0;

  constructor(streams: StreamTable, flow: FlowControl, owner: DataOwner) {
    this.#streams = streams;
    this.#flow = flow;
    this.#owner = owner;
  }

  start(id: number, flags: number, length: number): void {
    const stream = this.#streams.known(id);
    this.#ends = (flags & flag.endStream) !== 0;
    this.#stream = undefined;
    if (length === 0 && !this.#ends) this.#owner.emptyData();
    this.#flow.arrived(length);
    if (!stream || stream.remoteEnd) {
      this.#flow.discard(length);
      this.#owner.late(id, stream);
      return;
    }
    stream.receiveWindow -= length;
    if (stream.receiveWindow < 0) {
      this.#flow.discard(length);
      this.#owner.refuse(stream, code.flowControlError);
      return;
    }
    this.#stream = stream;
    this.#left = length;
  }

  chunk(bytes: Buffer): void {
    if (!this.#stream) return;
    this.#left -= bytes.length;
    this.#stream.received(bytes);
  }

  end(): void {
    const stream = this.#stream;
    if (!stream) return;
    if (this.#left > 0) this.#flow.consumed(stream, this.#left);
    if (this.#ends) this.#owner.remoteEnded(stream);
  }
}
