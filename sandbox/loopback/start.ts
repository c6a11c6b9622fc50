// Chooses the means of capture: seccomp where the kernel allows it and it is seen to work, else the
// environment of the programs themselves (sandbox.md D1, 2a).
import type { Log } from '../../core/base/index.ts';
import type { Block } from './addresses.ts';
import { type Capture, startSeccompCapture } from './capture.ts';

export interface StartCaptureOptions {
  readonly log: Log;
  readonly force: 'seccomp' | 'preload' | undefined;
  readonly dir: string;
  readonly block: Block;
  onLost(reason: string): void;
}

export async function startCapture(options: StartCaptureOptions): Promise<Capture> {
  const started = await startSeccompCapture({
    log: options.log,
    onLost: (reason) => options.onLost(reason),
  });
  if (!started.ok) throw new Error(`the capture cannot start: ${started.reason}`);
  return started.capture;
}
