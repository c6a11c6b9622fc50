// The stream to a control plane that comes and goes: how often it is asked, and what is written of it.
import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { test } from 'node:test';
import { FakeClock, type Log, seededRandom, silentLog } from '../base/index.ts';
import { type RpcChannel, RpcError } from '../rpc/index.ts';
import { addressType, MeshFeed, XdsSource } from './index.ts';

type Handlers = Parameters<RpcChannel['bidi']>[1];

/** A proxy's stream against a control plane of ours, and the times at which it was called. */
function stage() {
  const clock = new FakeClock();
  const calls: number[] = [];
  const lines: string[] = [];
  const log: Log = { ...silentLog, warn: (line) => void lines.push(line), child: () => log };
  let handlers: Handlers | undefined;
  const source = new XdsSource({
    open: () => ({
      unary: () => Promise.reject(new Error('not asked here')),
      bidi(_method, given) {
        calls.push(clock.monotonic());
        handlers = given as Handlers;
        return { send() {}, cancel() {} };
      },
      close() {},
    }),
    node: { id: 'n' },
    feed: new MeshFeed(log),
    clock,
    random: seededRandom(3),
    log,
  });
  const end = (code: number): void => {
    const now = handlers;
    handlers = undefined;
    now?.end(new RpcError(code, 'transport is closing'));
  };
  return {
    clock,
    calls,
    lines,
    source,
    /** Whether a call waits for the control plane. */
    called: () => handlers !== undefined,
    async answer() {
      const empty = { typeUrl: addressType, nonce: '1', resources: [], removedResources: [] };
      handlers?.message(empty as unknown as Parameters<Handlers['message']>[0]);
      for (let i = 0; i < 50 && !source.connected; i++) await nextTurn();
      assert.ok(source.connected);
    },
    end,
  };
}

test('F3 a control plane that answers and dies each second is asked ever more rarely, with a line each', async () => {
  const s = stage();
  s.source.start();
  // An hour of it.
  while (s.clock.monotonic() < 3_600_000) {
    if (s.called()) {
      await s.answer();
      s.clock.advance(1_000);
      s.end(14);
    } else s.clock.advance(100);
  }
  s.source.stop();
  const gaps = s.calls.slice(1).map((t, i) => t - (s.calls[i] ?? 0) - 1_000);
  assert.ok((gaps[0] ?? 0) < 200, 'the first retry is quick');
  assert.ok(
    gaps.slice(12).every((g) => g >= 12_000 && g <= 18_100),
    gaps.join(),
  );
  assert.ok(s.calls.length < 300, `${s.calls.length} calls in an hour`);
  assert.equal(s.lines.length, s.calls.length);
});

test('F3 one that was steady for ten seconds is asked again at once', async () => {
  const s = stage();
  s.source.start();
  for (let i = 0; i < 12; i++) {
    await s.answer();
    s.clock.advance(500);
    s.end(14);
    s.clock.advance(20_000);
  }
  await s.answer();
  s.clock.advance(10_000);
  s.end(14);
  const before = s.calls.length;
  s.clock.advance(25);
  assert.equal(s.calls.length, before + 1);
  s.source.stop();
});

test('F3 a dead one is asked at most every 12 s in the end', () => {
  const s = stage();
  s.source.start();
  for (let i = 0; i < 3_600; i++) {
    s.end(14);
    s.clock.advance(1_000);
  }
  assert.ok(s.calls.length < 3_600 / 12 + 15, `${s.calls.length} calls in an hour`);
  s.source.stop();
});
