// Flow control (RFC 9113 5.2): who may send how much, and whose turn it is when there is not enough for all.
import type { HboneLimits } from '../limits.ts';
import { code, frameHead, frameType, H2Error, numbersFrame } from './frames.ts';
import type { PeerSettings } from './settings.ts';
import type { H2Stream } from './stream.ts';

const largestWindow = 2 ** 31 - 1;
const defaultWindow = 65_535;
/** Payload of one DATA frame: with its head one TLS record, and what a tick writes stays small enough to copy. */
const maxPayload = 16_375;

export interface FlowWire {
  write(bytes: Buffer): void;
  /** The connection below takes no more for now; `drained` will be called. */
  readonly blocked: boolean;
}

export class FlowControl {
  readonly #limits: HboneLimits;
  readonly #peer: PeerSettings;
  readonly #wire: FlowWire;
  /** Bytes the peer lets us send over the connection. */
  #sendWindow = defaultWindow;
  /** Bytes we let the peer send; what it sent and nobody has read yet is missing. */
  #receiveWindow = defaultWindow;
  #owed = 0;
  /** Streams with something to send that wait for the connection, in turn. */
  #waiting = new Set<H2Stream>();

  constructor(limits: HboneLimits, peer: PeerSettings, wire: FlowWire) {
    this.#limits = limits;
    this.#peer = peer;
    this.#wire = wire;
  }

  /** Raises the connection's window to what we allow. */
  openConnection(): void {
    const more = this.#limits.connectionWindow - this.#receiveWindow;
    if (more <= 0) return;
    this.#receiveWindow += more;
    this.#wire.write(numbersFrame(frameType.windowUpdate, 0, more));
  }

  /** DATA has come, padding counted. Throws H2Error over the connection's window. */
  arrived(length: number): void {
    this.#receiveWindow -= length;
    if (this.#receiveWindow < 0)
      throw new H2Error(code.flowControlError, 'more than the connection’s window');
  }

  /** Bytes that nobody will read. */
  discard(length: number): void {
    this.#owed += length;
    if (this.#owed < this.#limits.connectionWindow / 2) return;
    this.#receiveWindow += this.#owed;
    this.#wire.write(numbersFrame(frameType.windowUpdate, 0, this.#owed));
    this.#owed = 0;
  }

  /** Bytes that were read; the peer is told when half a window has been. */
  consumed(stream: H2Stream, length: number): void {
    this.discard(length);
    if (stream.remoteEnd || stream.wasReset) return;
    stream.owed += length;
    if (stream.owed < this.#limits.streamWindow / 2) return;
    stream.receiveWindow += stream.owed;
    this.#wire.write(numbersFrame(frameType.windowUpdate, stream.id, stream.owed));
    stream.owed = 0;
  }

  /** Sends what is queued, as far as the windows and the connection below let it. */
  flush(stream: H2Stream): void {
    const { queue } = stream;
    while (queue.length > 0) {
      if (this.#sendWindow <= 0 || this.#wire.blocked) {
        this.#waiting.add(stream);
        return;
      }
      if (stream.sendWindow <= 0) return;
      const [chunk] = queue;
      if (!chunk) return;
      const room = Math.min(stream.sendWindow, this.#sendWindow, this.#peer.maxFrame, maxPayload);
      const count = Math.min(chunk.length, room);
      stream.sendWindow -= count;
      this.#sendWindow -= count;
      this.#wire.write(frameHead(count, frameType.data, 0, stream.id));
      this.#wire.write(count === chunk.length ? chunk : chunk.subarray(0, count));
      if (count === chunk.length) queue.shift();
      else queue[0] = chunk.subarray(count);
    }
    stream.sent();
  }

  /** WINDOW_UPDATE of the connection. Throws H2Error. */
  connectionCredit(more: number): void {
    if (more === 0) throw new H2Error(code.protocolError, 'WINDOW_UPDATE of 0');
    this.#sendWindow += more;
    if (this.#sendWindow > largestWindow)
      throw new H2Error(code.flowControlError, 'window overflow');
    this.drained();
  }

  /** WINDOW_UPDATE of a stream; the code of what is wrong with it. */
  streamCredit(stream: H2Stream, more: number): number | undefined {
    if (more === 0) return code.protocolError;
    stream.sendWindow += more;
    if (stream.sendWindow > largestWindow) return code.flowControlError;
    if (stream.queue.length > 0) this.flush(stream);
    return undefined;
  }

  /** The peer's SETTINGS changed what each stream may send. Throws H2Error. */
  shiftWindows(streams: Iterable<H2Stream>, by: number): void {
    if (by === 0) return;
    for (const stream of streams) {
      stream.sendWindow += by;
      if (stream.sendWindow > largestWindow)
        throw new H2Error(code.flowControlError, 'window overflow');
      if (by > 0 && stream.queue.length > 0) this.flush(stream);
    }
  }

  /** Those who wait, one after the other. */
  drained(): void {
    const turn = [...this.#waiting];
    this.#waiting.clear();
    for (const stream of turn) if (stream.queue.length > 0) this.flush(stream);
  }

  forget(stream: H2Stream): void {
    this.#waiting.delete(stream);
  }
}
