// What the runner's main thread, the spawner and the supervisor say to each other. Plain data.
import type { CaptureView } from './decide.ts';

export interface ProcessSpec {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
}

export interface SpawnOrder extends ProcessSpec {
  readonly kind: 'spawn';
  readonly id: number;
  /** Descriptors of this process for stdin (`undefined` = nothing to read), stdout and stderr. */
  readonly stdin: number | undefined;
  readonly stdout: number;
  readonly stderr: number;
}

export type SpawnerReport =
  | { readonly kind: 'ready'; readonly listener: number }
  | { readonly kind: 'forbidden'; readonly reason: string }
  | { readonly kind: 'spawned'; readonly id: number; readonly pid: number }
  | {
      readonly kind: 'failed';
      readonly id: number;
      readonly code: string;
      readonly message: string;
    }
  | { readonly kind: 'exit'; readonly id: number; readonly code: number; readonly signal: string };

/** How the supervisor gets at a pod's socket: see descriptors.ts. */
export type SocketMeans = 'take' | 'copies';

export interface SupervisorData {
  readonly listener: number;
  readonly waker: number;
  readonly sockets: SocketMeans;
  readonly seed: number;
}

export type SupervisorOrder =
  | { readonly kind: 'view'; readonly view: CaptureView; readonly id: number }
  | { readonly kind: 'session'; readonly session: number; readonly ip: string }
  | { readonly kind: 'end'; readonly session: number }
  | { readonly kind: 'stop' };

export type SupervisorReport =
  | { readonly kind: 'view-applied'; readonly id: number }
  | { readonly kind: 'lost'; readonly reason: string };
