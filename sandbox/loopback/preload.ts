// Loaded into a pod's Node programs (`--import`) where seccomp is forbidden: their own connects and
// listens are judged by the same decide.ts, from a file that the runner keeps up to date.
import dns from 'node:dns';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';
import tls from 'node:tls';
import { type CaptureView, decideBind, decideConnect, type PodView } from './decide.ts';
import { hostsMap, type ViewFile } from './preload-view.ts';
import { proxyHeader } from './proxy-header.ts';

interface Known {
  readonly stamp: number;
  readonly view: CaptureView;
  readonly self: PodView;
  readonly names: ReadonlyMap<string, string>;
}

const file = process.env['SANDBOX_VIEW'];
const ownPorts = new Set<number>();
let known: Known | undefined;

function read(): Known | undefined {
  if (file === undefined) return undefined;
  try {
    const stamp = fs.statSync(file).mtimeMs;
    if (known?.stamp === stamp) return known;
    const data = JSON.parse(fs.readFileSync(file, 'utf8')) as ViewFile;
    const names = hostsMap(fs.readFileSync(data.self.hosts, 'utf8'));
    const view = {
      block: data.block,
      pods: new Map(data.pods),
      services: new Map(data.services),
      outside: new Set(data.outside),
    };
    known = { stamp, view, self: data.self, names };
    return known;
  } catch {
    return known; // it is being replaced
  }
}

type Normalize = (args: unknown[]) => [Record<string, unknown>, unknown];
const { _normalizeArgs: normalize } = net as unknown as { _normalizeArgs: Normalize };
type Connect = (this: net.Socket, ...args: unknown[]) => net.Socket;
type Listen = (this: net.Server, ...args: unknown[]) => net.Server;
const socketPrototype = net.Socket.prototype as unknown as { connect: Connect };
const serverPrototype = net.Server.prototype as unknown as { listen: Listen };
const { connect } = socketPrototype;
const { listen } = serverPrototype;
const random = { next: Math.random };

socketPrototype.connect = function (...args) {
  const [options, done] = (Array.isArray(args[0]) ? args[0] : normalize(args)) as [
    Record<string, unknown>,
    ((...values: unknown[]) => void) | null,
  ];
  const facts = read();
  const port = Number(options['port']);
  const host = typeof options['host'] === 'string' ? options['host'] : 'localhost';
  const ip = facts?.names.get(host) ?? host.replace(/^::ffff:/i, '');
  const ours = facts && !options['path'] && port > 0 && net.isIPv4(ip);
  const action = ours
    ? decideConnect({ ip, port }, facts.self, facts.view, ownPorts, random)
    : ({ do: 'pass' } as const);
  if (action.do === 'pass') return connect.apply(this, args);
  if (action.do === 'refuse') {
    const error: NodeJS.ErrnoException = new Error(`connect ECONNREFUSED ${ip}:${port}`);
    error.code = 'ECONNREFUSED';
    error.errno = -111;
    error.syscall = 'connect';
    process.nextTick(() => this.destroy(error));
    return this;
  }
  const { lookup: _l, family: _f, autoSelectFamily: _a, ...rest } = options;
  const next = { ...rest, host: action.to.ip, port: action.to.port, localAddress: action.from };
  const socket = done ? connect.call(this, next, done) : connect.call(this, next);
  if (action.announce) {
    socket.write(proxyHeader({ ip: facts?.self.ip ?? '', port: 0 }, action.announce));
  }
  return socket;
};

serverPrototype.listen = function (...args) {
  const facts = read();
  const [options, done] = normalize(args);
  const host = options['host'];
  const byPort = typeof options['port'] === 'number' || typeof options['port'] === 'string';
  if (!facts || !byPort) return listen.apply(this, args);
  const any = host === undefined || host === '' || host === '0.0.0.0' || host === '::';
  const ip = typeof host === 'string' ? host : '';
  const action = decideBind({ ip, any }, facts.self, facts.view.block);
  if (action.do !== 'own') return listen.apply(this, args);
  this.once('listening', () => {
    const address = this.address();
    if (address && typeof address === 'object') ownPorts.add(address.port);
  });
  return listen.call(this, { ...options, host: action.ip }, ...(done ? [done] : []));
};

// A TLS socket that connects by itself would send the header inside TLS: give it a plain one.
const { connect: connectTls } = tls;
tls.connect = ((...args: unknown[]) => {
  const [options, done] = normalize(args);
  if (options['socket'] === undefined && !options['path'] && read()) {
    const { port, host } = options;
    const socket = net.connect({
      port: Number(port),
      host: typeof host === 'string' ? host : 'localhost',
    });
    socket.on('error', () => {});
    const servername =
      typeof options['servername'] === 'string'
        ? options['servername']
        : typeof host === 'string' && !net.isIP(host)
          ? host
          : '';
    const secure = connectTls({ ...options, socket, servername } as tls.ConnectionOptions);
    socket.on('error', (error) => secure.destroy(error));
    if (typeof done === 'function') secure.once('secureConnect', done as () => void);
    return secure;
  }
  return (connectTls as (...values: unknown[]) => tls.TLSSocket)(...args);
}) as typeof tls.connect;

type Lookup = (name: string, options: unknown, done?: unknown) => void;
const { lookup } = dns as unknown as { lookup: Lookup };
(dns as unknown as { lookup: Lookup }).lookup = (name, options, done) => {
  const ip = read()?.names.get(name);
  lookup(ip ?? name, options, done);
};
syncBuiltinESMExports();
