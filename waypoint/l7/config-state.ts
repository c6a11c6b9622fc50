// The services this waypoint stands before, by name; changed as a whole in one tick. A service that cannot be
// read keeps its last good form and is refused by name (sandbox.md D15).
import { decode } from '../../core/rpc/index.ts';
import { type CompiledService, compileService } from './compile.ts';

export class ServiceConfigs {
  readonly #byName = new Map<string, CompiledService>();
  #services: ReadonlyMap<string, CompiledService> = new Map();
  readonly #listeners = new Set<() => void>();

  get(key: string): CompiledService | undefined {
    return this.#services.get(key);
  }

  /** What holds for calls to addresses of workloads. */
  forWorkloads(): CompiledService | undefined {
    for (const s of this.#services.values()) if (s.workloads) return s;
    return undefined;
  }

  all(): IterableIterator<CompiledService> {
    return this.#services.values();
  }

  /** Called after each change; returns how to stop. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  apply(
    resources: readonly { readonly name: string; readonly bytes: Uint8Array }[],
    removed: readonly string[],
  ): { name: string; reason: string }[] {
    const rejected: { name: string; reason: string }[] = [];
    for (const { name, bytes } of resources) {
      const made = read(bytes, this.#services.get(name));
      if (typeof made === 'string') rejected.push({ name, reason: made });
      else this.#byName.set(name, made);
    }
    for (const name of removed) this.#byName.delete(name);
    // A service may come under two names while this waypoint turns from its canary into its only one.
    this.#services = new Map([...this.#byName.values()].map((s) => [s.key, s]));
    for (const listener of this.#listeners) listener();
    return rejected;
  }
}

function read(bytes: Uint8Array, before?: CompiledService): CompiledService | string {
  try {
    const made = compileService(decode('ambientlite.waypoint.v1.ServiceConfig', bytes), before);
    return 'service' in made ? made.service : made.faults.join('; ');
  } catch (error) {
    return error instanceof Error ? error.message : 'malformed';
  }
}
