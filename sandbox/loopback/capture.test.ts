// Real programs through the capture: names, sources, services, the two ways into the tunnel, and
// what happens when the tunnel is gone.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import test from 'node:test';
import { silentLog } from '../../core/base/index.ts';
import {
  bindSocket,
  closeFd,
  listenSocket,
  openSocket,
  seccompNotifyAvailable,
} from '../../core/linux/index.ts';
import { clusterAddress, hostAddress } from './addresses.ts';
import { type ClaimedBlock, claimBlock } from './block.ts';
import { type Capture, type Exit, type Launched, startSeccompCapture } from './capture.ts';
import type { CaptureView, PodView } from './decide.ts';
import type { SocketMeans } from './messages.ts';

const found = (program: string): boolean => {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};
const available = seccompNotifyAvailable();
const skip = available.ok ? false : `seccomp user notification: ${available.reason}`;

/** Echoes the peer's address and closes. */
const echoServer = (port: number): string =>
  `require('net').createServer(s=>{s.on('error',()=>{});s.end(s.remoteAddress+' '+s.localAddress)})` +
  `.listen(${port},()=>console.log('up'))`;
const asker = (host: string, port: number): string =>
  `const s=require('net').connect(${port},'${host}');s.on('data',d=>process.stdout.write(d));` +
  `s.on('error',e=>process.stdout.write(e.code))`;

const blockingConnect = (host: string, port: number): string =>
  `import socket\nprint("go", flush=True)\nsocket.socket().connect(("${host}", ${port}))`;

for (const means of ['take', 'copies'] as const satisfies readonly SocketMeans[]) {
  test(`capture with sockets by ${means}`, { skip }, async (t) => {
    const rig = await Rig.start(means);
    t.after(() => rig.stop());
    await rig.run(t);
  });
}

class Rig {
  readonly capture: Capture;
  readonly claimed: ClaimedBlock;
  readonly dir: string;
  readonly running: Launched[] = [];
  readonly closers: (() => void)[] = [];
  mode = { outbound: false, inbound: false };

  constructor(capture: Capture, claimed: ClaimedBlock, dir: string) {
    this.capture = capture;
    this.claimed = claimed;
    this.dir = dir;
  }

  static async start(sockets: SocketMeans): Promise<Rig> {
    const claimed = await claimBlock(undefined);
    const started = await startSeccompCapture({ log: silentLog, sockets, onLost: () => {} });
    assert.ok(started.ok);
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'capture-'));
    const rig = new Rig(started.capture, claimed, dir);
    await rig.view({});
    return rig;
  }

  async stop(): Promise<void> {
    for (const p of this.running) {
      try {
        process.kill(-p.pid, 'SIGKILL');
      } catch {
        // Ended by itself.
      }
    }
    await Promise.all(this.running.map((p) => p.exit));
    for (const close of this.closers) close();
    await this.capture.stop();
    await this.claimed.release();
    fs.rmSync(this.dir, { recursive: true });
  }

  ip(n: number): string {
    return hostAddress(this.claimed.block, n);
  }

  vip(n: number): string {
    return clusterAddress(this.claimed.block, n);
  }

  /** Pods 20 (client) and 21 (server, behind service 1 port 80 → 8080). */
  async view(change: { client?: Partial<PodView>; server?: Partial<PodView> }): Promise<void> {
    const hosts = path.join(this.dir, 'hosts');
    fs.writeFileSync(hosts, `127.0.0.1 localhost\n${this.vip(1)} web web.default\n`);
    const pod = (n: number): PodView => ({
      uid: `u${n}`,
      ip: this.ip(n),
      outbound: false,
      inbound: false,
      hosts,
    });
    const client = { ...pod(20), ...change.client };
    const server = { ...pod(21), ...change.server };
    const view: CaptureView = {
      block: this.claimed.block,
      pods: new Map([client, server].map((p) => [p.ip, p])),
      outside: new Set(),
      services: new Map([[`${this.vip(1)}:80`, [{ ip: server.ip, port: 8080 }]]]),
    };
    await this.capture.setView(view);
  }

  async launch(n: number, command: readonly string[], stdin = false): Promise<Launched> {
    const [file = '', ...args] = command;
    const launched = await this.capture.launch({
      ip: this.ip(n),
      captured: true,
      stdin,
      file,
      args,
      env: { PATH: process.env['PATH'] ?? '', HOME: this.dir },
      cwd: this.dir,
    });
    this.running.push(launched);
    return launched;
  }

  /** Output and exit code of a command run in pod 20. */
  async ask(command: readonly string[], n = 20): Promise<{ out: string; exit: Exit }> {
    const p = await this.launch(n, command);
    const [out, , exit] = await Promise.all([text(p.stdout), text(p.stderr), p.exit]);
    return { out, exit };
  }

  node(code: string): Promise<{ out: string; exit: Exit }> {
    return this.ask([process.execPath, '-e', code]);
  }

  /** A listener that records what it receives and who connected. */
  async listen(
    n: number,
    port: number,
  ): Promise<{ got: Promise<{ bytes: Buffer; from: string }> }> {
    const got = Promise.withResolvers<{ bytes: Buffer; from: string }>();
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      const chunks: Buffer[] = [];
      socket.on('data', (chunk) => {
        chunks.push(chunk);
        const bytes = Buffer.concat(chunks);
        if (bytes.length < 28 + 5) return;
        got.resolve({ bytes, from: socket.remoteAddress ?? '' });
        socket.end('tunnelled');
      });
    });
    server.listen(port, this.ip(n));
    await once(server, 'listening');
    this.closers.push(() => server.close());
    return { got: got.promise };
  }

  async run(t: { test(name: string, work: () => Promise<void>): Promise<void> }): Promise<void> {
    const server = await this.launch(21, [process.execPath, '-e', echoServer(8080)]);
    await once(server.stdout, 'data');
    const both = `${this.ip(20)} ${this.ip(21)}`;

    await t.test('a pod is reached by service name, cluster IP and pod IP', async () => {
      for (const [host, port] of [
        ['web', 80],
        [this.vip(1), 80],
        [this.ip(21), 8080],
      ] as const) {
        assert.equal((await this.node(asker(host, port))).out.replaceAll('::ffff:', ''), both);
      }
    });

    await t.test('refused: no endpoint, no listener, tunnel ports, foreign addresses', async () => {
      for (const [host, port] of [
        [this.vip(1), 81],
        [this.vip(9), 80],
        [this.ip(21), 9999],
        [this.ip(21), 15001],
        [this.ip(20), 15006],
      ] as const) {
        assert.equal((await this.node(asker(host, port))).out, 'ECONNREFUSED');
      }
      const bind = `require('net').createServer().on('error',e=>console.log(e.code)).listen(1234,'${this.ip(21)}')`;
      assert.equal((await this.node(bind)).out.trim(), 'EADDRNOTAVAIL');
    });

    await t.test('localhost reaches what the pod listens on', async () => {
      const code =
        `const n=require('net');const s=n.createServer(c=>c.end('mine')).listen(8080,()=>{` +
        `const c=n.connect(8080,'localhost');c.on('data',d=>{process.stdout.write(d);s.close()})})`;
      assert.equal((await this.node(code)).out, 'mine');
    });

    await t.test('a socket that was refused can be connected again', async () => {
      if (!found('python3')) return;
      const code = [
        'import socket',
        's=socket.socket()',
        'try: s.connect(("' + this.ip(21) + '",9999))',
        'except OSError as e: print(e.errno)',
        's.connect(("web",80))',
        'print(s.recv(99).decode(), s.getblocking(), s.getsockname()[0])',
        'try: s.connect(("web",80))',
        'except OSError as e: print(e.errno)',
        'd=socket.socket(socket.AF_INET6); d.connect(("::ffff:' + this.vip(1) + '",80))',
        'print(d.recv(99).decode())',
        'b=socket.socket(); b.bind(("0.0.0.0",0)); b.connect(("web",80)); print(len(b.recv(9)))',
        'n=socket.socket(); n.settimeout(5); n.connect(("web",80)); print(len(n.recv(9)))',
        'u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); u.connect(("127.0.0.1",9)); print("udp")',
        'v=socket.socket(socket.AF_INET6); v.setsockopt(41,26,1); v.bind(("::",8080)); v.listen(); print("v6")',
      ].join('\n');
      const { out } = await this.ask(['python3', '-c', code]);
      const lines = out.replaceAll('::ffff:', '').trim().split('\n');
      assert.deepEqual(lines, [
        '111',
        `${both} True ${this.ip(20)}`,
        '106',
        both,
        '9',
        '9',
        'udp',
        'v6',
      ]);
    });

    await t.test('curl and children of a shell', async () => {
      if (!found('curl')) return;
      const { exit } = await this.ask([
        'sh',
        '-c',
        'exec curl -sS -m 5 telnet://nowhere.invalid:1',
      ]);
      assert.notEqual(exit.code, 0);
      const seen = await this.ask([
        'sh',
        '-c',
        'for i in 1 2; do curl -sS --http0.9 -m 5 web; done',
      ]);
      assert.equal(seen.out.replaceAll('::ffff:', ''), both + both);
    });

    await t.test('another session is refused', async () => {
      if (!found('setsid') || !found('curl')) return;
      const { out } = await this.ask(['sh', '-c', 'setsid -w curl -m 9 -s web; echo $?']);
      assert.match(out, /^(6|7)$/m);
    });

    await t.test('into the mesh: 15006 of the target, original destination', async () => {
      const fake = await this.listen(21, 15006);
      await this.view({ server: { inbound: true } });
      const code = `const s=require('net').connect(80,'web');s.write('hello');s.on('data',d=>process.stdout.write(d))`;
      assert.equal((await this.node(code)).out, 'tunnelled');
      const { bytes, from } = await fake.got;
      assert.equal(from, this.ip(20));
      this.#checkHeader(bytes, this.ip(20), this.ip(21), 8080);
    });

    await t.test('out of a mesh pod: its own 15001, destination as asked', async () => {
      await this.view({ client: { outbound: true } });
      assert.equal((await this.node(asker('web', 80))).out, 'ECONNREFUSED'); // ztunnel is not there
      const fake = await this.listen(20, 15001);
      const code = `const s=require('net').connect(80,'web');s.write('hello');s.on('data',d=>process.stdout.write(d))`;
      assert.equal((await this.node(code)).out, 'tunnelled');
      const { bytes, from } = await fake.got;
      assert.equal(from, this.ip(20));
      this.#checkHeader(bytes, this.ip(20), this.vip(1), 80);
    });

    await t.test('a program that is not there fails with its code', async () => {
      await assert.rejects(this.launch(20, ['/no/such/program']), { code: 'ENOENT' });
    });

    await t.test('stdin, exit code and signal', async () => {
      const cat = await this.launch(20, ['cat'], true);
      cat.stdin?.end('through');
      assert.equal(await text(cat.stdout), 'through');
      assert.equal((await this.ask(['sh', '-c', 'exit 7'])).exit.code, 7);
      assert.equal((await this.ask(['sh', '-c', 'kill -9 $$'])).exit.code, 137);
    });

    await t.test(
      'a connect that hangs holds up nobody else, and ends with its program',
      async () => {
        await this.view({});
        const full = openSocket(2, 1, 0);
        assert.equal(bindSocket(full, 'inet', this.ip(21), 7777), 0);
        assert.equal(listenSocket(full, 0), 0);
        const fillers = Array.from({ length: 3 }, () => net.connect(7777, this.ip(21)));
        for (const socket of fillers) socket.on('error', () => {});
        await once(fillers[0] as net.Socket, 'connect');
        const stuck = await this.launch(20, [process.execPath, '-e', asker(this.ip(21), 7777)]);
        const blocking = found('python3')
          ? await this.launch(20, ['python3', '-c', blockingConnect(this.ip(21), 7777)])
          : undefined;
        if (blocking) await once(blocking.stdout, 'data');
        const before = performance.now();
        assert.equal((await this.node(asker('web', 80))).out.replaceAll('::ffff:', ''), both);
        assert.ok(performance.now() - before < 4_000);
        for (const p of [stuck, blocking]) if (p) process.kill(-p.pid, 'SIGKILL');
        for (const socket of fillers) socket.destroy();
        closeFd(full);
        await Promise.all([stuck.exit, blocking?.exit]);
      },
    );

    await t.test('no descriptor is left behind', async () => {
      await this.view({});
      const count = (): number => fs.readdirSync('/proc/self/fd').length;
      const many = (n: number): string =>
        `const n=require('net');let i=0;(function f(){if(i++===${n})return;` +
        `n.connect(80,'web').on('data',()=>{}).on('close',f)})()`;
      await this.node(many(2));
      const beforeCount = count();
      await this.node(many(60));
      assert.ok(count() <= beforeCount + 8, `${beforeCount} → ${count()}`);
    });
  }

  #checkHeader(bytes: Buffer, source: string, destination: string, port: number): void {
    assert.equal(bytes.toString('hex', 0, 16), '0d0a0d0a000d0a515549540a2111000c');
    assert.equal([...bytes.subarray(16, 20)].join('.'), source);
    assert.equal([...bytes.subarray(20, 24)].join('.'), destination);
    assert.ok(bytes.readUInt16BE(24) > 0);
    assert.equal(bytes.readUInt16BE(26), port);
    assert.equal(bytes.toString('latin1', 28), 'hello');
  }
}
