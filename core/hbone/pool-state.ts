// Which tunnel takes the next stream, when another is dialled, when one is let go (ztunnel-protocol.md
// 2.7). A step function over keys, tunnels and tickets; pool.ts dials and closes. Differs from Istio on
// purpose: waiters are woken when a dial fails, and a full tunnel comes back when its streams end.

export type TunnelId = number;
export type TicketId = number;

export type PoolEvent =
  | { readonly kind: 'take'; readonly key: string; readonly ticket: TicketId }
  | { readonly kind: 'cancel'; readonly key: string; readonly ticket: TicketId }
  | { readonly kind: 'dialled'; readonly key: string; readonly tunnel: TunnelId }
  | { readonly kind: 'dial-failed'; readonly key: string }
  /** A stream on the tunnel ended, or could not be opened. */
  | { readonly kind: 'released'; readonly tunnel: TunnelId }
  /** GOAWAY or closed: takes no new streams. */
  | { readonly kind: 'gone'; readonly tunnel: TunnelId }
  /** The peer behind these keys is no more. */
  | { readonly kind: 'evict'; readonly keys: readonly string[] }
  | { readonly kind: 'tick' };

export type PoolAction =
  | { readonly do: 'dial'; readonly key: string }
  | {
      readonly do: 'give';
      readonly ticket: TicketId;
      readonly tunnel: TunnelId;
      readonly reused: boolean;
    }
  /** The dial these tickets waited for failed. */
  | { readonly do: 'fail'; readonly tickets: readonly TicketId[] }
  /** Too many wait for this key. */
  | { readonly do: 'shed'; readonly ticket: TicketId }
  | { readonly do: 'close'; readonly tunnel: TunnelId }
  | { readonly do: 'wake'; readonly atMs: number };

export interface PoolLimits {
  readonly streamsPerTunnel: number;
  readonly unusedMs: number;
  /** Tickets that may wait for one key. */
  readonly waiters: number;
}

export const defaultPoolLimits: PoolLimits = {
  streamsPerTunnel: 100,
  unusedMs: 300_000,
  waiters: 1024,
};

interface Tunnel {
  readonly id: TunnelId;
  readonly key: string;
  active: number;
  usable: boolean;
  /** Last time a stream was given. */
  usedMs: number;
}

interface Slot {
  readonly tunnels: Set<Tunnel>;
  readonly waiting: Set<TicketId>;
  dialling: boolean;
}

export class PoolState {
  readonly #limits: PoolLimits;
  readonly #slots = new Map<string, Slot>();
  readonly #tunnels = new Map<TunnelId, Tunnel>();

  constructor(limits: PoolLimits = defaultPoolLimits) {
    this.#limits = limits;
  }

  get tunnels(): number {
    return this.#tunnels.size;
  }

  /** Keys with a tunnel, a dial or somebody waiting. */
  get keys(): number {
    return this.#slots.size;
  }

  has(key: string): boolean {
    return this.#slots.has(key);
  }

  step(event: PoolEvent, nowMs: number): PoolAction[] {
    const actions: PoolAction[] = [];
    switch (event.kind) {
      case 'take':
        this.#take(event.key, event.ticket, nowMs, actions);
        break;
      case 'cancel':
        this.#slots.get(event.key)?.waiting.delete(event.ticket);
        this.#tidy(event.key);
        break;
      case 'dialled':
        this.#dialled(event.key, event.tunnel, nowMs, actions);
        break;
      case 'dial-failed':
        this.#dialFailed(event.key, actions);
        break;
      case 'released':
        this.#released(event.tunnel, nowMs, actions);
        break;
      case 'gone':
        this.#gone(event.tunnel, nowMs, actions);
        break;
      case 'evict':
        for (const key of event.keys) {
          for (const t of this.#slots.get(key)?.tunnels ?? []) this.#retire(t, actions);
          this.#tidy(key);
        }
        break;
      case 'tick':
        this.#sweep(nowMs, actions);
        break;
    }
    return actions;
  }

  #slot(key: string): Slot {
    let slot = this.#slots.get(key);
    if (!slot) {
      slot = { tunnels: new Set(), waiting: new Set(), dialling: false };
      this.#slots.set(key, slot);
    }
    return slot;
  }

  #take(key: string, ticket: TicketId, nowMs: number, actions: PoolAction[]): void {
    const slot = this.#slot(key);
    const tunnel = this.#room(slot);
    if (tunnel) {
      this.#give(tunnel, ticket, true, nowMs, actions);
      return;
    }
    if (slot.waiting.size >= this.#limits.waiters) {
      actions.push({ do: 'shed', ticket });
      return;
    }
    slot.waiting.add(ticket);
    this.#dial(key, slot, actions);
  }

  #room(slot: Slot): Tunnel | undefined {
    for (const t of slot.tunnels) {
      if (t.usable && t.active < this.#limits.streamsPerTunnel) return t;
    }
    return undefined;
  }

  #give(t: Tunnel, ticket: TicketId, reused: boolean, nowMs: number, actions: PoolAction[]): void {
    t.active++;
    t.usedMs = nowMs;
    actions.push({ do: 'give', ticket, tunnel: t.id, reused });
  }

  /** One dial per key at a time. */
  #dial(key: string, slot: Slot, actions: PoolAction[]): void {
    if (slot.dialling) return;
    slot.dialling = true;
    actions.push({ do: 'dial', key });
  }

  #dialled(key: string, id: TunnelId, nowMs: number, actions: PoolAction[]): void {
    const slot = this.#slot(key);
    slot.dialling = false;
    const tunnel: Tunnel = { id, key, active: 0, usable: true, usedMs: nowMs };
    slot.tunnels.add(tunnel);
    this.#tunnels.set(id, tunnel);
    this.#serve(slot, key, nowMs, actions, false);
    actions.push({ do: 'wake', atMs: nowMs + this.#limits.unusedMs });
  }

  /** Gives what there is to those who wait; dials again if some are left. */
  #serve(slot: Slot, key: string, nowMs: number, actions: PoolAction[], reused: boolean): void {
    for (const ticket of slot.waiting) {
      const tunnel = this.#room(slot);
      if (!tunnel) {
        this.#dial(key, slot, actions);
        return;
      }
      slot.waiting.delete(ticket);
      this.#give(tunnel, ticket, reused, nowMs, actions);
    }
  }

  #dialFailed(key: string, actions: PoolAction[]): void {
    const slot = this.#slots.get(key);
    if (!slot) return;
    slot.dialling = false;
    const tickets = [...slot.waiting];
    slot.waiting.clear();
    if (tickets.length > 0) actions.push({ do: 'fail', tickets });
    this.#tidy(key);
  }

  #released(id: TunnelId, nowMs: number, actions: PoolAction[]): void {
    const tunnel = this.#tunnels.get(id);
    if (!tunnel) return;
    tunnel.active = Math.max(0, tunnel.active - 1);
    if (!tunnel.usable && tunnel.active === 0) this.#forget(tunnel, actions);
    const slot = this.#slots.get(tunnel.key);
    if (slot) this.#serve(slot, tunnel.key, nowMs, actions, true);
  }

  #gone(id: TunnelId, nowMs: number, actions: PoolAction[]): void {
    const tunnel = this.#tunnels.get(id);
    if (!tunnel) return;
    this.#retire(tunnel, actions);
    const slot = this.#slots.get(tunnel.key);
    if (slot) this.#serve(slot, tunnel.key, nowMs, actions, true);
  }

  /** No new streams; closed once the running ones have ended. */
  #retire(tunnel: Tunnel, actions: PoolAction[]): void {
    tunnel.usable = false;
    if (tunnel.active === 0) this.#forget(tunnel, actions);
  }

  #forget(tunnel: Tunnel, actions: PoolAction[]): void {
    this.#tunnels.delete(tunnel.id);
    this.#slots.get(tunnel.key)?.tunnels.delete(tunnel);
    actions.push({ do: 'close', tunnel: tunnel.id });
    this.#tidy(tunnel.key);
  }

  #sweep(nowMs: number, actions: PoolAction[]): void {
    let next = Number.POSITIVE_INFINITY;
    for (const t of this.#tunnels.values()) {
      const due = t.usedMs + this.#limits.unusedMs;
      if (t.active > 0) next = Math.min(next, Math.max(due, nowMs + this.#limits.unusedMs / 10));
      else if (due <= nowMs) this.#retire(t, actions);
      else next = Math.min(next, due);
    }
    if (next < Number.POSITIVE_INFINITY) actions.push({ do: 'wake', atMs: next });
  }

  #tidy(key: string): void {
    const slot = this.#slots.get(key);
    if (slot && slot.tunnels.size === 0 && slot.waiting.size === 0 && !slot.dialling) {
      this.#slots.delete(key);
    }
  }
}
