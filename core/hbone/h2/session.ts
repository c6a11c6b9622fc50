// One HTTP/2 connection (RFC 9113) that carries CONNECT streams over a stream that is already secured; either
// end. What it costs is bytes moved, not objects: payload goes from the socket to the reader as it came, and out
// with nine bytes before it. Every peer is hostile: what it may make us keep or do is bounded here.
import type { Duplex } from 'node:stream';
import { fromUnknown } from '../../base/index.ts';
import { type HeaderBlock, HeaderBlocks } from './blocks.ts';
import { Budget } from './budget.ts';
import { DataFrames } from './data-frames.ts';
import { FlowControl } from './flow.ts';
import { code, flag, FrameReader, type FrameSink, frameType, H2Error } from './frames.ts';
import { type HeaderField, HpackError } from './hpack.ts';
import { checkRequest, checkResponse, toHeaderList } from './messages.ts';
import type { ResponseHandler, SessionOptions } from './options.ts';
import { PeerSettings } from './settings.ts';
import { H2Stream, type StreamWire } from './stream.ts';
import { StreamTable } from './table.ts';
import { Wire } from './wire.ts';

/** GOAWAY with it refuses nothing yet. */
const largestId = 2 ** 31 - 1;

export class H2Session implements FrameSink, StreamWire {
  readonly #wire: Wire;
  readonly #options: SessionOptions;
  readonly #reader: FrameReader;
  readonly #blocks: HeaderBlocks;
  readonly #flow: FlowControl;
  readonly #data: DataFrames;
  readonly #peer = new PeerSettings();
  readonly #resets: Budget;
  readonly #control: Budget;
  readonly #streams: StreamTable;
  readonly #answers = new Map<number, ResponseHandler>();
  /** Requests that wait for the peer's stream limit. */
  #pending: { readonly start: () => void; readonly stream: H2Stream }[] = [];
  readonly #pings = new Map<number, () => void>();
  #lastPing = 0;
  #settled = false;
  #closing = false;
  #peerLeft = false;
  #over = false;

  constructor(stream: Duplex, options: SessionOptions) {
    const { role, limits, clock } = options;
    this.#wire = new Wire(stream);
    this.#options = options;
    this.#reader = new FrameReader(this, limits.maxFrameSize, role === 'server');
    this.#blocks = new HeaderBlocks(limits.maxHeaderBytes);
    this.#streams = new StreamTable(role === 'client');
    const monotonic = (): number => clock.monotonic();
    this.#resets = new Budget(limits.resetBurst, limits.resetRate, monotonic);
    this.#control = new Budget(limits.controlBurst, limits.controlRate, monotonic);
    this.#flow = new FlowControl(limits, this.#peer, this.#wire);
    this.#data = new DataFrames(this.#streams, this.#flow, {
      emptyData: () => this.#charge(this.#control),
      late: (id, s) => this.#late(id, s),
      refuse: (s, errorCode) => this.#refuse(s, errorCode),
      remoteEnded: (s) => this.#remoteEnded(s),
    });
    stream.on('data', (chunk: Buffer) => this.#read(chunk));
    stream.on('drain', () => this.#flow.drained());
    stream.on('end', () => this.destroy());
    stream.on('close', () => this.#finish(undefined));
    stream.on('error', (error: Error) => this.#finish(error));
    this.#wire.greet(role, limits);
    this.#flow.openConnection();
    stream.resume();
  }

  get usable(): boolean {
    return !this.#closing && !this.#peerLeft && !this.#over && !this.#streams.usedUp;
  }

  get over(): boolean {
    return this.#over;
  }

  /** Client: a request; `undefined` = this connection takes none. */
  request(fields: Iterable<HeaderField>, answer: ResponseHandler): H2Stream | undefined {
    if (!this.usable) return undefined;
    const id = this.#streams.nextId();
    const stream = this.#open(id, false);
    this.#answers.set(id, answer);
    const start = (): void => {
      this.#sendHeaders(stream, fields, false);
      if (stream.writableFinished) this.endStream(stream);
      else if (stream.queue.length > 0) this.flush(stream);
    };
    if (this.#pending.length > 0 || this.#streams.size > this.#peer.maxStreams)
      this.#pending.push({ start, stream });
    else start();
    return stream;
  }

  /** Server: the answer's headers. With `end` nothing follows, and what the peer still sends is unwanted. */
  respond(stream: H2Stream, fields: Iterable<HeaderField>, end: boolean): void {
    if (stream.destroyed || stream.wasReset || this.#over) return;
    this.#sendHeaders(stream, fields, end);
    if (end) stream.destroy();
  }

  /** False = cannot be sent any more. */
  ping(answered: () => void): boolean {
    if (this.#over) return false;
    const number = ++this.#lastPing;
    this.#pings.set(number, answered);
    this.#wire.ping(number);
    return true;
  }

  /** Server, first step of a drain: a GOAWAY that refuses nothing yet. */
  announceLeave(): void {
    if (!this.#over) this.#wire.goaway(largestId, code.noError);
  }

  /** Takes nothing new; ends with the last stream. */
  close(): void {
    if (this.#closing || this.#over) return;
    this.#closing = true;
    this.#wire.goaway(this.#streams.lastOfPeer, code.noError);
    this.#options.onGoaway?.();
    this.#endIfIdle();
  }

  /** Ends everything now; streams look reset. */
  destroy(): void {
    for (const stream of this.#streams.all()) stream.reset(code.cancel);
    this.#finish(undefined);
  }

  // What came in.

  #read(chunk: Buffer): void {
    if (this.#over) return;
    try {
      this.#reader.feed(chunk);
    } catch (error) {
      if (error instanceof H2Error) this.#fail(error);
      else if (error instanceof HpackError)
        this.#fail(new H2Error(code.compressionError, error.message));
      else this.#fail(new H2Error(code.internalError, fromUnknown(error).message));
    }
  }

  dataStart(id: number, flags: number, length: number): void {
    this.#expectNoBlock();
    this.#expectSettings();
    this.#data.start(id, flags, length);
  }

  data(chunk: Buffer): void {
    this.#data.chunk(chunk);
  }

  dataEnd(): void {
    this.#data.end();
  }

  frame(type: number, flags: number, id: number, payload: Buffer): void {
    if (this.#over) return;
    if (type !== frameType.continuation) this.#expectNoBlock();
    if (type !== frameType.settings) this.#expectSettings();
    switch (type) {
      case frameType.headers:
        return this.#headersCame(this.#blocks.headers(flags, id, payload));
      case frameType.continuation:
        return this.#headersCame(this.#blocks.continuation(flags, id, payload));
      case frameType.rstStream:
        return this.#rstStream(id, payload);
      case frameType.settings:
        return this.#settings(flags, id, payload);
      case frameType.ping:
        return this.#ping(flags, id, payload);
      case frameType.goaway:
        return this.#goaway(id, payload);
      case frameType.windowUpdate:
        return this.#windowUpdate(id, payload);
      case frameType.pushPromise:
        throw new H2Error(code.protocolError, 'PUSH_PROMISE was never allowed');
      default:
        // PRIORITY and what nobody knows: ignored, but not for free (H7, H12).
        if (type === frameType.priority && id === 0)
          throw new H2Error(code.protocolError, 'PRIORITY on stream 0');
        this.#charge(this.#control);
    }
  }

  #headersCame(block: HeaderBlock | undefined): void {
    if (!block) return;
    if (this.#options.role === 'server') this.#requestCame(block);
    else this.#answerCame(block);
  }

  #requestCame({ id, endStream, fields, tooLarge }: HeaderBlock): void {
    const known = this.#streams.get(id);
    if (known) {
      // Trailers: nothing of a CONNECT is told by them.
      if (known.remoteEnd || !endStream) this.#refuse(known, code.protocolError);
      else this.#remoteEnded(known);
      return;
    }
    if (!this.#streams.begins(id)) {
      this.#late(id, undefined);
      return;
    }
    const { maxStreams } = this.#options.limits;
    if (this.#closing || this.#streams.size >= maxStreams) {
      this.#rejectId(id, code.refusedStream);
      return;
    }
    if (tooLarge || !checkRequest(fields)) {
      this.#rejectId(id, tooLarge ? code.enhanceYourCalm : code.protocolError);
      return;
    }
    const stream = this.#open(id, true);
    if (endStream) this.#remoteEnded(stream);
    this.#options.onRequest?.(stream, toHeaderList(fields));
  }

  #answerCame({ id, endStream, fields, tooLarge }: HeaderBlock): void {
    const stream = this.#streams.known(id);
    if (!stream) {
      this.#late(id, undefined);
      return;
    }
    const answer = this.#answers.get(id);
    if (answer) {
      const status = tooLarge ? undefined : checkResponse(fields);
      if (status === undefined || (status < 200 && endStream)) {
        this.#refuse(stream, code.protocolError);
        return;
      }
      if (status < 200) {
        this.#charge(this.#control);
        return;
      }
      this.#answers.delete(id);
      answer.headers(toHeaderList(fields));
    } else if (!endStream) {
      this.#refuse(stream, code.protocolError);
      return;
    }
    if (endStream) this.#remoteEnded(stream);
  }

  #rstStream(id: number, payload: Buffer): void {
    if (payload.length !== 4)
      throw new H2Error(code.frameSizeError, 'RST_STREAM of another length');
    const stream = this.#streams.known(id);
    this.#charge(this.#resets);
    if (!stream) return;
    const errorCode = payload.readUInt32BE(0);
    this.#forget(stream);
    stream.receivedReset(errorCode);
  }

  #settings(flags: number, id: number, payload: Buffer): void {
    if (id !== 0) throw new H2Error(code.protocolError, 'SETTINGS on a stream');
    this.#charge(this.#control, 1 + Math.floor(payload.length / 60));
    if ((flags & flag.ack) !== 0) {
      if (payload.length > 0) throw new H2Error(code.frameSizeError, 'SETTINGS ack with content');
      return;
    }
    const before = this.#peer.initialWindow;
    this.#peer.apply(payload, this.#options.role);
    this.#wire.answerSettings();
    this.#flow.shiftWindows(this.#streams.all(), this.#peer.initialWindow - before);
    this.#startPending();
    if (this.#settled) return;
    this.#settled = true;
    this.#options.onSettings?.();
  }

  #ping(flags: number, id: number, payload: Buffer): void {
    if (id !== 0) throw new H2Error(code.protocolError, 'PING on a stream');
    if (payload.length !== 8) throw new H2Error(code.frameSizeError, 'PING of another length');
    if ((flags & flag.ack) !== 0) {
      const number = payload.readUInt32BE(4);
      const answered = this.#pings.get(number);
      this.#pings.delete(number);
      answered?.();
      return;
    }
    this.#charge(this.#control);
    this.#wire.answerPing(payload);
  }

  #goaway(id: number, payload: Buffer): void {
    if (id !== 0) throw new H2Error(code.protocolError, 'GOAWAY on a stream');
    if (payload.length < 8) throw new H2Error(code.frameSizeError, 'GOAWAY cut off');
    this.#charge(this.#control);
    const last = payload.readUInt32BE(0) & 0x7fff_ffff;
    this.#peerLeft = true;
    this.#options.onGoaway?.();
    if (this.#options.role === 'client') {
      for (const stream of this.#streams.all()) {
        if (stream.id <= last) continue;
        this.#forget(stream);
        stream.receivedReset(code.refusedStream);
      }
    }
    this.#endIfIdle();
  }

  #windowUpdate(id: number, payload: Buffer): void {
    if (payload.length !== 4)
      throw new H2Error(code.frameSizeError, 'WINDOW_UPDATE of another length');
    const more = payload.readUInt32BE(0) & 0x7fff_ffff;
    if (id === 0) {
      this.#flow.connectionCredit(more);
      return;
    }
    const stream = this.#streams.known(id);
    // Late ones are ordinary: the peer read what we had sent before the end.
    if (!stream) return;
    const wrong = this.#flow.streamCredit(stream, more);
    if (wrong !== undefined) this.#refuse(stream, wrong);
  }

  // What goes out.

  flush(stream: H2Stream): void {
    if (stream.started) this.#flow.flush(stream);
  }

  endStream(stream: H2Stream): void {
    if (this.#over || stream.localEnd || !stream.started) return;
    stream.localEnd = true;
    this.#wire.endStream(stream.id);
    if (stream.remoteEnd) this.#forget(stream);
  }

  resetStream(stream: H2Stream, errorCode: number): void {
    stream.wasReset = true;
    this.#forget(stream);
    this.#streams.remember(stream.id);
    if (!this.#over && stream.started) this.#wire.resetStream(stream.id, errorCode);
  }

  consumed(stream: H2Stream, count: number): void {
    if (!this.#over) this.#flow.consumed(stream, count);
  }

  #sendHeaders(stream: H2Stream, fields: Iterable<HeaderField>, end: boolean): void {
    stream.started = true;
    this.#wire.headers(stream.id, fields, end, this.#peer.maxFrame);
    if (!end) return;
    stream.localEnd = true;
    if (stream.remoteEnd) this.#forget(stream);
  }

  // Streams come and go.

  #open(id: number, started: boolean): H2Stream {
    const { streamWindow } = this.#options.limits;
    const stream = new H2Stream(this, id, this.#peer.initialWindow, streamWindow);
    stream.started = started;
    this.#streams.add(stream);
    return stream;
  }

  #remoteEnded(stream: H2Stream): void {
    if (stream.localEnd) this.#forget(stream);
    stream.receivedEnd();
  }

  /** A frame for a stream that is over: free for a while after we ended it, charged otherwise (H2). */
  #late(id: number, stream: H2Stream | undefined): void {
    if (!stream && this.#streams.freeLate(id)) return;
    this.#charge(this.#resets);
    if (stream) this.#refuse(stream, code.streamClosed);
  }

  /** We reset a stream because of what the peer did: as costly to it as its own resets (H2). */
  #refuse(stream: H2Stream, errorCode: number): void {
    this.#charge(this.#resets);
    stream.reset(errorCode);
  }

  #rejectId(id: number, errorCode: number): void {
    this.#charge(this.#resets);
    this.#wire.resetStream(id, errorCode);
    this.#streams.remember(id);
  }

  #forget(stream: H2Stream): void {
    if (!this.#streams.delete(stream)) return;
    this.#answers.delete(stream.id);
    if (!stream.started) this.#pending = this.#pending.filter((p) => p.stream !== stream);
    this.#flow.forget(stream);
    this.#startPending();
    this.#endIfIdle();
  }

  #startPending(): void {
    const waiting = this.#pending;
    while (waiting.length > 0 && this.#streams.size - waiting.length < this.#peer.maxStreams) {
      waiting.shift()?.start();
    }
  }

  #endIfIdle(): void {
    if ((this.#closing || this.#peerLeft) && this.#streams.size === 0 && !this.#over) {
      this.#finish(undefined);
    }
  }

  // Mistakes and ends.

  #expectNoBlock(): void {
    if (this.#blocks.open) throw new H2Error(code.protocolError, 'a frame inside a header block');
  }

  #expectSettings(): void {
    if (!this.#settled) throw new H2Error(code.protocolError, 'no SETTINGS first');
  }

  #charge(budget: Budget, count = 1): void {
    if (!budget.take(count)) throw new H2Error(code.enhanceYourCalm, 'too much for nothing');
  }

  #fail(error: H2Error): void {
    this.#wire.goaway(this.#streams.lastOfPeer, error.code);
    for (const stream of this.#streams.all()) stream.lost(error.code);
    this.#streams.clear();
    this.#finish(error);
  }

  #finish(error: Error | undefined): void {
    if (this.#over) return;
    this.#over = true;
    for (const stream of this.#streams.all()) stream.lost(code.cancel);
    this.#streams.clear();
    this.#wire.end(this.#options.clock);
    this.#options.onClose(error);
  }
}
