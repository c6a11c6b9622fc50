// Chooses the means of capture: seccomp where the kernel allows it and it is seen to work, else the
// environment of the programs themselves (sandbox.md D1, 2a).
import fs from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import type { Log } from '../../core/base/index.ts';
import { type Block, hostAddress } from './addresses.ts';
import { type Capture, startSeccompCapture } from './capture.ts';
import { PreloadCapture } from './preload-capture.ts';

export interface StartCaptureOptions {
  readonly log: Log;
  /** Do not choose. `seccomp` rejects where it does not work. */
  readonly force: 'seccomp' | 'preload' | undefined;
  /** The sandbox's directory, for the trial's file. */
  readonly dir: string;
  readonly block: Block;
  onLost(reason: string): void;
}

export async function startCapture(options: StartCaptureOptions): Promise<Capture> {
  if (options.force === 'preload') return new PreloadCapture('as asked for');
  let reason = '';
  for (const sockets of [undefined, 'copies'] as const) {
    const started = await startSeccompCapture({
      log: options.log,
      sockets,
      onLost: (why) => options.onLost(why),
    });
    if (!started.ok) {
      reason = started.reason;
      break; // another way to the sockets would not help
    }
    const failure = await tryOut(started.capture, options);
    if (failure === undefined) return started.capture;
    await started.capture.stop();
    reason = failure;
  }
  if (options.force === 'seccomp') throw new Error(`seccomp capture does not work: ${reason}`);
  options.log.warn('seccomp capture is not possible here', { reason });
  return new PreloadCapture(reason);
}

/** Host number of the trial's pod: beyond those that are given out first. */
const trialHost = 0x7efe;
const trialMs = 10_000;
const trialProgram =
  `const fs=require('fs'),net=require('net');` +
  `const h=fs.readFileSync('/etc/hosts','utf8').trim();` +
  `const s=net.createServer(c=>c.end()).listen(0,()=>{const a=s.address();` +
  `const c=net.connect(a.port,process.argv[1],()=>{` +
  `console.log(h,a.address.replace('::ffff:',''),c.localAddress);c.destroy();s.close()})})`;

/** Runs a program that reads names, listens and connects; what went wrong, or `undefined`. */
async function tryOut(capture: Capture, options: StartCaptureOptions): Promise<string | undefined> {
  const ip = hostAddress(options.block, trialHost);
  const hosts = path.join(options.dir, 'trial-hosts');
  const marker = `trial-of-${options.block}`;
  fs.writeFileSync(hosts, marker);
  const pod = { uid: 'trial', ip, outbound: false, inbound: false, hosts };
  try {
    await capture.setView({
      block: options.block,
      pods: new Map([[ip, pod]]),
      services: new Map(),
      outside: new Set(),
    });
    const launched = await capture.launch({
      ip,
      captured: true,
      stdin: false,
      file: process.execPath,
      args: ['-e', trialProgram, ip],
      env: {},
      cwd: options.dir,
    });
    const timer = setTimeout(() => process.kill(launched.pid, 'SIGKILL'), trialMs);
    const [out, err] = await Promise.all([text(launched.stdout), text(launched.stderr)]);
    await launched.exit;
    clearTimeout(timer);
    capture.forget(launched.pid);
    if (out.trim() === `${marker} ${ip} ${ip}`) return undefined;
    return `a trial program saw "${(out || err).trim().slice(0, 200)}"`;
  } catch (error) {
    return `a trial program did not run: ${String(error)}`;
  } finally {
    fs.rmSync(hosts, { force: true });
  }
}
