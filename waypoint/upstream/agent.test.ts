// Connections kept between requests, against Node's own HTTP server on pairs of streams.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { type Duplex, duplexPair } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { FakeClock } from '../../core/base/index.ts';
import { eventually } from '../../test/kit/eventually.ts';
import { TunnelSocket } from '../tunnel-socket.ts';
import { TunnelAgent, type Wanted } from './agent.ts';

describe('connections kept for the next request', () => {
  let clock: FakeClock;
  let agent: TunnelAgent;
  let far: Duplex[];
  let freed: string[];
  let answer: Record<string, string>;
  const server = http.createServer((_req, res) => res.writeHead(200, answer).end('yes'));

  beforeEach(() => {
    clock = new FakeClock();
    far = [];
    freed = [];
    answer = {};
    agent = new TunnelAgent(clock, (key) => freed.push(key));
  });
  afterEach(() => agent.destroy());

  function open(): Promise<TunnelSocket> {
    const [near, other] = duplexPair();
    far.push(other);
    server.emit('connection', other);
    return Promise.resolve(new TunnelSocket(near));
  }

  async function ask(wish: Partial<Wanted> = {}): Promise<http.ClientRequest> {
    const wanted = { open, given: () => {}, maxUses: 0, idleMs: 0, maxAgeMs: 0, ...wish };
    const request = http.request({ agent: agent.for('a', wanted), headers: ['host', 'a'] }).end();
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    assert.equal(await text(response), 'yes');
    return request;
  }

  const rests = () => eventually(() => agent.hasFree('a'));

  test('one after another on the same', async () => {
    assert.equal((await ask()).reusedSocket, false);
    await rests();
    assert.equal((await ask()).reusedSocket, true);
    await rests();
    assert.equal(far.length, 1);
    assert.equal(agent.hasBusy('a'), false);
    assert.deepEqual(freed, ['a', 'a']);
  });

  test('two at a time on two', async () => {
    await Promise.all([ask(), ask()]);
    assert.equal(far.length, 2);
  });

  for (const [name, wish, said, ms] of [
    ['after an hour by default', {}, {}, 3_600_000],
    ['after the time of its rules', { idleMs: 5_000 }, {}, 5_000],
    ['a second before the endpoint will', {}, { 'keep-alive': 'timeout=7' }, 6_000],
    ['when it is old enough', { maxAgeMs: 4_000 }, {}, 4_000],
    ['whichever comes first', { idleMs: 5_000 }, { 'keep-alive': 'timeout=7' }, 5_000],
  ] as const) {
    test(`at rest it is closed ${name}`, async () => {
      answer = { connection: 'keep-alive', ...said };
      await ask(wish);
      await rests();
      clock.advance(ms - 1);
      assert.ok(agent.hasFree('a'));
      clock.advance(1);
      await eventually(() => !agent.hasFree('a'));
    });
  }

  for (const [name, wish, said] of [
    ['it was used as often as it may be', { maxUses: 1 }, {}],
    ['the endpoint closes it', {}, { connection: 'close' }],
    ['the endpoint will, too soon', {}, { connection: 'keep-alive', 'keep-alive': 'timeout=1' }],
  ] as const) {
    test(`not kept: ${name}`, async () => {
      answer = said;
      await ask(wish);
      await ask(wish);
      assert.equal(far.length, 2);
      await eventually(() => !agent.hasBusy('a'));
      assert.equal(agent.hasFree('a'), false);
    });
  }

  test('a connection that came of age during a request is not kept', async () => {
    server.removeAllListeners('request');
    server.on('request', (_req, res) => {
      clock.advance(4_000);
      res.end('yes');
    });
    await ask({ maxAgeMs: 4_000 });
    await eventually(() => !agent.hasBusy('a'));
    assert.equal(agent.hasFree('a'), false);
  });

  test('bytes or an end while it rests are the end of it', async () => {
    for (const disturb of [
      (s?: Duplex) => s?.write('HTTP/1.1 200 OK\r\n'),
      (s?: Duplex) => s?.end(),
    ]) {
      await ask();
      await rests();
      disturb(far.at(-1));
      await eventually(() => !agent.hasFree('a'));
    }
  });

  test('no connection: the request says why', async () => {
    const wanted = { given: () => {}, maxUses: 0, idleMs: 0, maxAgeMs: 0 };
    const refused = () => Promise.reject(new Error('refused'));
    const request = http.request({
      agent: agent.for('a', { ...wanted, open: refused }),
      headers: ['host', 'a'],
    });
    request.end();
    const [error] = (await once(request, 'error')) as [Error];
    assert.match(error.message, /refused|INTERNAL/);
    assert.equal(agent.hasBusy('a'), false);
  });

  test('who left before it came leaves it to the next', async () => {
    const gate = Promise.withResolvers<void>();
    const late = async () => {
      await gate.promise;
      return open();
    };
    const wanted = { open: late, given: () => {}, maxUses: 0, idleMs: 0, maxAgeMs: 0 };
    const request = http.request({ agent: agent.for('a', wanted), headers: ['host', 'a'] });
    request.on('error', () => {});
    request.end();
    request.destroy(new Error('left'));
    gate.resolve();
    await rests();
    assert.equal((await ask()).reusedSocket, true);
    assert.equal(far.length, 1);
  });
});
