// Runs reconcile functions: an event marks keys, a key is looked at once however many events
// marked it, and a failed look is repeated with back-off. Level-triggered: nobody sees events.
import {
  backoffDelay,
  type Clock,
  type Log,
  type Random,
  type Timer,
} from '../../core/base/index.ts';
import type { KubeObject, ResourceKey, Store } from '../contract.ts';

export interface Controller {
  readonly name: string;
  /** Which keys an object of a watched resource concerns. */
  readonly watches: Readonly<Record<ResourceKey, (object: KubeObject) => readonly string[]>>;
  /** Brings the world one step nearer; returns milliseconds after which to look again, if any. */
  reconcile(key: string): number | undefined;
}

export interface LoopOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const retryPlan = { firstMs: 50, capMs: 10_000, jitter: 0.2 };

export interface Running {
  stop(): void;
}

/** Looks at everything there is, then at whatever changes. */
export function runController(controller: Controller, options: LoopOptions): Running {
  const { store, clock, random, log } = options;
  const marked = new Set<string>();
  const failures = new Map<string, number>();
  const timers = new Map<string, Timer>();
  let scheduled: NodeJS.Immediate | undefined;
  let stopped = false;

  const mark = (key: string): void => {
    if (stopped) return;
    marked.add(key);
    scheduled ??= setImmediate(work);
  };
  const later = (key: string, ms: number): void => {
    timers.get(key)?.cancel();
    timers.set(
      key,
      clock.after(ms, () => {
        timers.delete(key);
        mark(key);
      }),
    );
  };
  const look = (key: string): void => {
    try {
      const again = controller.reconcile(key);
      failures.delete(key);
      if (again !== undefined) later(key, again);
    } catch (error) {
      const count = failures.get(key) ?? 0;
      failures.set(key, count + 1);
      log.warn('will try again', { controller: controller.name, key, error: String(error) });
      later(key, backoffDelay(retryPlan, count, random));
    }
  };
  function work(): void {
    scheduled = undefined;
    const round = [...marked];
    marked.clear();
    for (const key of round) if (!stopped) look(key);
  }

  const unwatch = Object.entries(controller.watches).map(([resource, concerns]) => {
    const off = store.watch(resource, (event) => {
      for (const key of concerns(event.object)) mark(key);
    });
    for (const object of store.list(resource).items) {
      for (const key of concerns(object)) mark(key);
    }
    return off;
  });
  return {
    stop() {
      stopped = true;
      for (const off of unwatch) off();
      for (const timer of timers.values()) timer.cancel();
      if (scheduled) clearImmediate(scheduled);
    },
  };
}

/** `namespace/name` of an object, and back. */
export const keyOf = (object: KubeObject): string =>
  `${object.metadata.namespace ?? ''}/${object.metadata.name}`;

export function splitKey(key: string): { namespace: string; name: string } {
  const slash = key.indexOf('/');
  return { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}
