// Writes a pod's volumes under its directory and keeps them: each file is replaced by rename, so a
// reader sees the old or the new one; tokens are renewed at 80 % of their life.
import fs from 'node:fs';
import path from 'node:path';
import type { Clock, Log, Timer } from '../../core/base/index.ts';
import type { Tokens } from '../contract.ts';
import { accountOf, nodeName, type Pod } from '../objects.ts';
import type { VolumePlan } from './volumes.ts';

export interface VolumeWriterOptions {
  readonly dir: string;
  readonly pod: Pod;
  /** uid of the pod's account, and of the node: for the tokens' claims. */
  accountUid(): string | undefined;
  readonly nodeUid: string;
  readonly defaultAudience: string;
  readonly tokens: Tokens;
  readonly clock: Clock;
  readonly log: Log;
}

const renewAt = 0.8;
const retryMs = 5_000;

export class VolumeWriter {
  readonly #options: VolumeWriterOptions;
  readonly #timers = new Map<string, Timer>();
  readonly #written = new Map<string, string>();
  /** Tokens in force by file: what they were issued for. */
  readonly #tokens = new Map<string, string>();
  #closed = false;

  constructor(options: VolumeWriterOptions) {
    this.#options = options;
  }

  folder(volume: string): string {
    return path.join(this.#options.dir, 'volumes', volume);
  }

  /** Brings every volume to its plan. */
  async write(plans: readonly VolumePlan[]): Promise<void> {
    for (const plan of plans) {
      const folder = this.folder(plan.name);
      fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
      if (!plan.managed) continue;
      const wanted = new Set(plan.files.map((f) => path.join(folder, f.path)));
      for (const file of this.#written.keys()) {
        if (file.startsWith(`${folder}/`) && !wanted.has(file)) this.#drop(file);
      }
      for (const file of plan.files) {
        const target = path.join(folder, file.path);
        if ('text' in file) this.#put(target, file.text);
        else await this.token(target, file.token.audience, file.token.seconds);
      }
    }
  }

  /** A token file that renews itself; does nothing if it is in force for the same purpose. */
  async token(file: string, audience: string | undefined, seconds: number): Promise<void> {
    const purpose = `${audience ?? ''}\0${seconds}`;
    if (this.#tokens.get(file) === purpose) return;
    await this.#issue(file, audience, seconds);
    this.#tokens.set(file, purpose);
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }

  async #issue(file: string, audience: string | undefined, seconds: number): Promise<void> {
    const { pod, tokens, nodeUid, defaultAudience } = this.#options;
    const { name, namespace = 'default', uid = '' } = pod.metadata;
    const { token } = await tokens.issue({
      namespace,
      serviceAccount: accountOf(pod.spec),
      serviceAccountUid: this.#options.accountUid() ?? '',
      audiences: [audience ?? defaultAudience],
      expirationSeconds: seconds,
      pod: { name, uid },
      node: { name: pod.spec.nodeName ?? nodeName, uid: nodeUid },
    });
    if (this.#closed) return;
    this.#put(file, token);
    this.#renewIn(file, audience, seconds, Math.min(seconds * 1_000 * renewAt, 2 ** 31 - 1));
  }

  #renewIn(file: string, audience: string | undefined, seconds: number, ms: number): void {
    this.#timers.get(file)?.cancel();
    const timer = this.#options.clock.after(ms, () => {
      this.#issue(file, audience, seconds).catch((error: unknown) => {
        this.#options.log.warn('a token was not renewed', { file, error: String(error) });
        if (!this.#closed) this.#renewIn(file, audience, seconds, retryMs);
      });
    });
    this.#timers.set(file, timer);
  }

  #put(file: string, text: string): void {
    if (this.#written.get(file) === text) return;
    fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    const temporary = `${file}.new`;
    fs.writeFileSync(temporary, text, { mode: 0o600 });
    fs.renameSync(temporary, file);
    this.#written.set(file, text);
  }

  #drop(file: string): void {
    this.#written.delete(file);
    this.#tokens.delete(file);
    this.#timers.get(file)?.cancel();
    this.#timers.delete(file);
    fs.rmSync(file, { force: true });
  }
}
