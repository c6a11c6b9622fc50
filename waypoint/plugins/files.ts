// Plugins given as files of this machine: for every service, in the order of the variable, failing closed. A file is looked
// at again when it changes; one that cannot be read keeps what it had, and one that never could refuses.
import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import type { Log } from '../../core/base/index.ts';
import { type PluginSpec, pluginSpec } from './plugins.ts';

const lookMs = 1_000;

export interface PluginFilesOptions {
  readonly paths: readonly string[];
  /** Of one call. */
  readonly timeoutMs: number;
}

export class PluginFiles {
  readonly #log: Log;
  readonly #o: PluginFilesOptions;
  readonly #onChange: () => void;
  #all: readonly PluginSpec[] = [];

  constructor(o: PluginFilesOptions, log: Log, onChange: () => void) {
    this.#o = o;
    this.#log = log;
    this.#onChange = onChange;
    this.#read();
    // Looks at the name, not at what it once named: a mounted ConfigMap is replaced by a link.
    for (const path of o.paths) {
      watchFile(path, { interval: lookMs, persistent: false }, () => {
        this.#read();
        this.#onChange();
      });
    }
  }

  get all(): readonly PluginSpec[] {
    return this.#all;
  }

  stop(): void {
    for (const path of this.#o.paths) unwatchFile(path);
  }

  #read(): void {
    const before = new Map(this.#all.map((s) => [s.name, s]));
    const { paths, timeoutMs } = this.#o;
    this.#all = paths.map((path) => {
      const spec = (source: string): PluginSpec =>
        pluginSpec({ name: path, source, failOpen: false, timeoutMs });
      try {
        return spec(readFileSync(path, 'utf8'));
      } catch (error) {
        this.#log.warn('plugin file cannot be read', { path, error });
        return before.get(path) ?? spec('');
      }
    });
  }
}
