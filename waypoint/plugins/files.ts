// Plugins given as files of this machine: for every service, in the order of the variable, failing closed. A file is looked
// at again when it changes; one that cannot be read keeps what it had, and one that never could refuses.
import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import type { Log } from '../../core/base/index.ts';
import { type PluginSpec, pluginSpec } from './plugins.ts';

const lookMs = 1_000;

export class PluginFiles {
  readonly #log: Log;
  readonly #paths: readonly string[];
  readonly #onChange: () => void;
  #all: readonly PluginSpec[] = [];

  constructor(paths: readonly string[], log: Log, onChange: () => void) {
    this.#paths = paths;
    this.#log = log;
    this.#onChange = onChange;
    this.#read();
    // Looks at the name, not at what it once named: a mounted ConfigMap is replaced by a link.
    for (const path of paths) {
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
    for (const path of this.#paths) unwatchFile(path);
  }

  #read(): void {
    const before = new Map(this.#all.map((s) => [s.name, s]));
    this.#all = this.#paths.map((path) => {
      try {
        return pluginSpec({ name: path, source: readFileSync(path, 'utf8'), failOpen: false });
      } catch (error) {
        this.#log.warn('plugin file cannot be read', { path, error });
        return before.get(path) ?? pluginSpec({ name: path, source: '', failOpen: false });
      }
    });
  }
}
