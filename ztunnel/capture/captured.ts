// A captured connection: the value that every outbound and plaintext inbound path starts from.
import type { IpPort } from '../../core/base/index.ts';

export interface Captured {
  /** The application's own socket. */
  readonly source: IpPort;
  /** Where it wanted to go. */
  readonly target: IpPort;
}
