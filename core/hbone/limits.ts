// Numbers of an HBONE connection: Istio's windows (ztunnel-protocol.md 2.5) and what a peer may cost us
// (reliability-checklist.md 2.3).

export interface HboneLimits {
  readonly streamWindow: number;
  /** Four times the stream window: equal sizes can deadlock an app that leaves one stream unread. */
  readonly connectionWindow: number;
  readonly maxFrameSize: number;
  /** Streams a peer may have open towards us. */
  readonly maxStreams: number;
  readonly maxHeaderBytes: number;
  /** RST_STREAM frames a peer may send: burst, then per second (H1; sized for C16's 500 a second). */
  readonly resetBurst: number;
  readonly resetRate: number;
  /** Frames that carry nothing (PING, SETTINGS, empty DATA, unknown ones) a peer may send (H5–H7). */
  readonly controlBurst: number;
  readonly controlRate: number;
  readonly pingEveryMs: number;
  readonly pingLimitMs: number;
  /** From the accepted handshake to the peer's SETTINGS (H15). */
  readonly prefaceMs: number;
}

export const defaultLimits: HboneLimits = {
  streamWindow: 4 << 20,
  connectionWindow: 16 << 20,
  maxFrameSize: 1 << 20,
  maxStreams: 200,
  maxHeaderBytes: 64 * 1024,
  resetBurst: 1500,
  resetRate: 600,
  controlBurst: 1000,
  controlRate: 200,
  pingEveryMs: 10_000,
  pingLimitMs: 20_000,
  prefaceMs: 10_000,
};
