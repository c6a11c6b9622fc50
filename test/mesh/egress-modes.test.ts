// What becomes of traffic to addresses that nothing in the mesh claims, in each mode, on real sockets: at the caller, at
// the far end, in the record, the metric and the log (M20; docs/policy.md).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { EgressMode } from '../../ztunnel/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { callFrom, startEcho } from '../kit/apps.ts';
import { backs, startMesh, type TestMesh, testService, testWorkload } from '../kit/mesh.ts';

const at = await claimBlock();
const client = at(2);
const outside = at(77);

interface Seen {
  readonly end: string;
  /** Bytes that came out. */
  readonly bytes: number;
  readonly reason: string | undefined;
  readonly counted: number;
  /** Warnings of the log that name the address. */
  readonly said: number;
}

async function call(mesh: TestMesh, mode: EgressMode, to: string): Promise<Seen> {
  const echo = await startEcho(outside);
  const called = await callFrom(client, to);
  called.socket.end('hello');
  const end = await called.ended;
  const bytes = echo.received();
  await echo.stop();
  const record = (await mesh.records()).find((r) => r.direction === 'outbound');
  return {
    end,
    bytes,
    reason: record?.reason,
    counted: await mesh.metrics.value('ambient_egress_unregistered_total', { mode }),
    said: mesh.lines.filter((l) => l.includes('egress to an address') && l.includes(outside))
      .length,
  };
}

async function inMode(mode: EgressMode, story: (mesh: TestMesh) => Promise<void>): Promise<void> {
  const mesh = await startMesh({ env: { OUTBOUND_TRAFFIC_POLICY: mode } });
  try {
    await mesh.enrol(testWorkload('client', client));
    await story(mesh);
  } finally {
    await mesh.stop();
  }
}

/** As a ServiceEntry with one endpoint becomes. */
const register = (mesh: TestMesh): void =>
  mesh.apply({
    services: [testService('outside', at(100), 8080, 8080)],
    workloads: [testWorkload('outside', outside, { protocol: 'TCP', services: backs('outside') })],
  });

describe('M20 an address that nothing in the mesh claims', () => {
  const passed = { end: 'end', bytes: 5, reason: undefined };
  const rows: readonly (readonly [EgressMode, Seen])[] = [
    ['ALLOW_ANY', { ...passed, counted: 1, said: 0 }],
    ['LOG_ONLY', { ...passed, counted: 1, said: 1 }],
    [
      'REGISTRY_ONLY',
      { end: 'ECONNRESET', bytes: 0, reason: 'EGRESS_NOT_REGISTERED', counted: 0, said: 0 },
    ],
  ];
  for (const [mode, want] of rows) {
    test(`${mode}: ${want.bytes > 0 ? 'passed on' : 'refused'}${want.said ? ', counted and said' : ''}`, () =>
      inMode(mode, async (mesh) => assert.deepEqual(await call(mesh, mode, outside), want)));

    test(`${mode}: registered, it is passed on, by its address and by its service's`, () =>
      inMode(mode, async (mesh) => {
        register(mesh);
        const quiet = { ...passed, counted: 0, said: 0 };
        assert.deepEqual(await call(mesh, mode, outside), quiet);
        assert.deepEqual(await call(mesh, mode, at(100)), quiet);
      }));
  }
});
