// What a proxy does when it runs short: of descriptors, of memory, of time.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { L7PortProtocol } from '../../core/proto/index.ts';
import type { Usage } from '../../core/runtime/index.ts';
import { claimBlock } from '../kit/addresses.ts';
import { type AppConnection, callFrom, type EchoApp, startEcho } from '../kit/apps.ts';
import { eventually } from '../kit/eventually.ts';
import { startMesh, type TestMesh, testWorkload } from '../kit/mesh.ts';
import { startTestWaypoint } from '../kit/waypoint.ts';

const at = await claimBlock();
const client = at(2);
const server = at(3);
const kit = pathToFileURL(join(import.meta.dirname, '../kit/mesh.ts')).href;

/** What became of a new connection: an echo or the code of its end. */
async function attempt(from: string, held: AppConnection[]): Promise<string> {
  try {
    const call = await callFrom(from, server);
    const echoed = once(call.socket, 'data').then(() => 'echo', String);
    call.socket.write('x');
    const end = await Promise.race([call.ended, echoed]);
    if (end === 'echo') held.push(call);
    return end;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

async function stillThere(call: AppConnection, word: string): Promise<void> {
  const before = call.text();
  call.socket.write(word);
  await eventually(() => call.text() === `${before}${word}`, `the echo of ${word}`);
}

describe('with little left', () => {
  const plenty: Usage = {
    descriptors: { used: 10, limit: 1000 },
    memory: { used: 10, limit: 1000 },
    heap: { used: 10, limit: 1000 },
  };
  let usage = plenty;
  let mesh: TestMesh;
  let echo: EchoApp;
  before(async () => {
    mesh = await startMesh({ usage: () => usage });
    echo = await startEcho(server);
    await mesh.enrol(testWorkload('client', client), testWorkload('server', server));
  });
  after(async () => {
    await mesh.stop();
    await echo.stop();
  });
  const overloaded = async (resource: string): Promise<boolean> =>
    (await mesh.get('/config_dump')).status === 200 &&
    (await mesh.scrape()).includes(`ambient_overloaded{resource="${resource}"} 1`);

  for (const resource of ['memory', 'heap', 'descriptors'] as const) {
    test(`F27 short of ${resource}: new ones are refused and counted, live ones go on, and it ends`, async () => {
      const held: AppConnection[] = [];
      assert.equal(await attempt(client, held), 'echo');
      const [live] = held;
      assert.ok(live);
      const reason = { reporter: 'source', reason: 'OVERLOADED' };
      const before = await mesh.metrics.value('ambient_refusals_total', reason);
      usage = { ...plenty, [resource]: { used: 960, limit: 1000 } };
      assert.ok(await overloaded(resource));
      for (let i = 0; i < 3; i++) assert.equal(await attempt(client, held), 'ECONNRESET');
      assert.equal(await mesh.metrics.value('ambient_refusals_total', reason), before + 3);
      await stillThere(live, 'goes on');
      usage = plenty;
      assert.ok(!(await overloaded(resource)));
      assert.equal(await attempt(client, held), 'echo');
      for (const call of held) call.socket.destroy();
    });
  }

  test('F27 each time there is one line, however many were refused', () => {
    const said = (text: string): number => mesh.lines.filter((l) => l.includes(text)).length;
    assert.equal(said('overloaded: new connections are refused'), 3);
    assert.equal(said('no longer overloaded'), 3);
  });

  test('F28 the event loop stood still for half a second: connections hold, and the metric says so', async () => {
    const held: AppConnection[] = [];
    assert.equal(await attempt(client, held), 'echo');
    const late = async (): Promise<number> => {
      const text = await mesh.scrape();
      const count = (what: string): number =>
        Number(new RegExp(`delay_seconds_${what} (\\d+)`).exec(text)?.[1]);
      return count('count') - count('bucket\\{le="0.1"\\}');
    };
    const before = await late();
    const end = performance.now() + 500;
    while (performance.now() < end);
    const [live] = held;
    assert.ok(live);
    await stillThere(live, 'late');
    await eventually(async () => (await late()) > before, 'a beat that came late');
    live.socket.destroy();
  });
});

const skip = existsSync('/usr/bin/prlimit') ? false : 'prlimit is not installed';
test('F27 F34 a waypoint short of memory refuses connections with 503 and their reason, and recovers', async () => {
  const rest = { used: 10, limit: 1000 };
  let memory = rest;
  const usage = (): Usage => ({ descriptors: rest, memory, heap: rest });
  const w = await startTestWaypoint(at(5), {}, undefined, usage);
  const app = await startEcho(at(6));
  const target = `${at(101)}:80`;
  try {
    w.service('echo', at(101), 80, [`${at(6)}:8080`]);
    w.configure('echo', { ports: [{ port: 80, protocol: L7PortProtocol.TCP }] });
    const live = await w.connect(target);
    live.write('before');
    await once(live, 'data');
    const scrape = async (): Promise<string> => {
      const { stats } = w.waypoint.addresses;
      return (await fetch(`http://${stats.host}:${stats.port}/metrics`)).text();
    };
    memory = { used: 990, limit: 1000 };
    assert.match(await scrape(), /ambient_overloaded\{resource="memory"\} 1/);
    await assert.rejects(w.connect(target), /^Error: 503 OVERLOADED$/);
    live.write('goes on');
    assert.equal(String(await once(live, 'data')), 'goes on');
    memory = rest;
    assert.match(await scrape(), /ambient_overloaded\{resource="memory"\} 0/);
    (await w.connect(target)).destroy();
    live.destroy();
  } finally {
    await w.stop();
    await app.stop();
  }
});

describe('with 400 descriptors', { skip }, () => {
  const here = at(4);
  let program: ChildProcess;
  let stats = '';
  let echo: EchoApp;
  let admin = '';
  before(async () => {
    echo = await startEcho(server);
    const code = `
      const { startMesh, testWorkload } = await import(${JSON.stringify(kit)});
      const mesh = await startMesh();
      mesh.apply({ workloads: [testWorkload('far', '${server}', { protocol: 'TCP', node: 'n2' })] });
      await mesh.enrol(testWorkload('near', '${here}'));
      const { admin, stats } = mesh.ztunnel.addresses;
      console.log(JSON.stringify({ admin: 'http://' + admin.host + ':' + admin.port, stats: 'http://' + stats.host + ':' + stats.port }));
      process.on('disconnect', () => void mesh.stop().finally(() => process.exit(0)));
      process.on('message', () => process.send(mesh.lines));
    `;
    const node = [process.execPath, '--input-type=module', '-e', code];
    program = spawn('prlimit', ['--nofile=400', ...node], {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    });
    assert.ok(program.stdout);
    const [first] = (await once(createInterface(program.stdout), 'line')) as [string];
    ({ admin, stats } = JSON.parse(first) as { admin: string; stats: string });
  });
  after(async () => {
    program.disconnect();
    if (program.exitCode === null) await once(program, 'exit');
    await echo.stop();
  });

  test('F26 new connections are refused before the last is gone, live ones and the admin port go on', async () => {
    const held: AppConnection[] = [];
    let end = 'echo';
    for (let i = 0; i < 400 && end === 'echo'; i++) end = await attempt(here, held);
    assert.equal(end, 'ECONNRESET');
    assert.ok(held.length > 60, `${held.length} connections`);
    // A hundred more: nothing of what is kept is taken.
    for (let i = 0; i < 100; i++) assert.equal(await attempt(here, held), 'ECONNRESET');
    const [live] = held;
    assert.ok(live);
    await stillThere(live, 'goes on');
    assert.equal((await fetch(`${admin}/config_dump`)).status, 200);
    const metrics = await (await fetch(`${stats}/metrics`)).text();
    assert.match(metrics, /ambient_overloaded\{resource="descriptors"\} 1/);
    assert.match(metrics, /ambient_refusals_total\{reporter="source",reason="OVERLOADED"\} 10\d/);
    for (const call of held.splice(0)) call.socket.destroy();
    await eventually(async () => (await attempt(here, held)) === 'echo', 'room again');
    for (const call of held) call.socket.destroy();
    program.send('lines');
    const [lines] = (await once(program, 'message')) as [string[]];
    const said = (text: string): number => lines.filter((l) => l.includes(text)).length;
    assert.equal(said('overloaded: new connections are refused'), 1);
    assert.equal(said('no longer overloaded'), 1);
  });
});
