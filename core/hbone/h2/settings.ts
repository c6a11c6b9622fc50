// The peer's SETTINGS (RFC 9113 6.5.2), as far as they bind us.
import { code, H2Error, setting } from './frames.ts';

export class PeerSettings {
  /** Streams it lets us open. */
  maxStreams = Number.POSITIVE_INFINITY;
  initialWindow = 65_535;
  maxFrame = 16_384;

  /** Throws H2Error; unknown ids are ignored. */
  apply(payload: Buffer, role: 'client' | 'server'): void {
    if (payload.length % 6 !== 0) throw new H2Error(code.frameSizeError, 'SETTINGS cut off');
    for (let at = 0; at < payload.length; at += 6) {
      this.#one(payload.readUInt16BE(at), payload.readUInt32BE(at + 2), role);
    }
  }

  #one(id: number, value: number, role: 'client' | 'server'): void {
    switch (id) {
      case setting.enablePush:
        if (value > 1 || (role === 'client' && value === 1))
          throw new H2Error(code.protocolError, 'ENABLE_PUSH out of range');
        break;
      case setting.maxConcurrentStreams:
        this.maxStreams = value;
        break;
      case setting.initialWindowSize:
        if (value > 2 ** 31 - 1)
          throw new H2Error(code.flowControlError, 'INITIAL_WINDOW_SIZE out of range');
        this.initialWindow = value;
        break;
      case setting.maxFrameSize:
        if (value < 16_384 || value > 2 ** 24 - 1)
          throw new H2Error(code.protocolError, 'MAX_FRAME_SIZE out of range');
        this.maxFrame = value;
        break;
      default:
    }
  }
}
