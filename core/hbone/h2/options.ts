// What the owner of a connection gives it and hears from it.
import type { Clock } from '../../base/index.ts';
import type { HboneLimits } from '../limits.ts';
import type { HeaderList } from './messages.ts';
import type { H2Stream } from './stream.ts';

export interface SessionOptions {
  readonly role: 'client' | 'server';
  readonly clock: Clock;
  readonly limits: HboneLimits;
  /** Server: a request's headers have come. */
  readonly onRequest?: (stream: H2Stream, headers: HeaderList) => void;
  /** The first SETTINGS of the peer. */
  readonly onSettings?: () => void;
  /** The peer's GOAWAY, or our own decision to take nothing new. */
  readonly onGoaway?: () => void;
  /** Once, when nothing more will happen; `error` = why, if not in order. */
  readonly onClose: (error: Error | undefined) => void;
}

/** How a request began or failed to. */
export interface ResponseHandler {
  /** Final headers of the answer. */
  headers(fields: HeaderList): void;
}
