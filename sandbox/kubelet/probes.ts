// Asks a container how it is, from 127.0.0.1 and never captured: the kubelet's exemption.
import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import type { Container, Pod, Probe } from '../objects.ts';

export type ProbeOutcome = { readonly ok: true } | { readonly ok: false; readonly message: string };

export interface ProbeContext {
  readonly pod: Pod;
  readonly container: Container;
  readonly limitMs: number;
  /** Opens a connection as the node does. There is no other way out of this file. */
  readonly open: (pod: Pod, host: string, port: number) => Socket;
  /** Runs a command in the pod; its exit code, or `undefined` when the time was up. */
  exec(command: readonly string[], limitMs: number): Promise<number | undefined>;
}

export async function runProbe(probe: Probe, context: ProbeContext): Promise<ProbeOutcome> {
  const host = context.pod.status?.podIP ?? '';
  const { open, pod } = context;
  const dial: Dial = (to, port) => open(pod, to, port);
  if (probe.httpGet) {
    const port = portNumber(probe.httpGet.port, context.container);
    return askHttp(probe.httpGet, probe.httpGet.host || host, port, context.limitMs, dial);
  }
  if (probe.tcpSocket) {
    const port = portNumber(probe.tcpSocket.port, context.container);
    return askTcp(probe.tcpSocket.host || host, port, context.limitMs, dial);
  }
  if (probe.exec) {
    const code = await context.exec(probe.exec.command ?? [], context.limitMs);
    if (code === 0) return { ok: true };
    return bad(code === undefined ? 'the command took too long' : `the command ended with ${code}`);
  }
  if (probe.grpc) return askTcp(host, probe.grpc.port, context.limitMs, dial);
  return { ok: true };
}

type Dial = (host: string, port: number) => Socket;

const bad = (message: string): ProbeOutcome => ({ ok: false, message });

export function portNumber(port: number | string, container: Container): number {
  if (typeof port === 'number') return port;
  const named = container.ports?.find((p) => p.name === port)?.containerPort;
  return named ?? Number(port);
}

function askHttp(
  get: NonNullable<Probe['httpGet']>,
  host: string,
  port: number,
  limitMs: number,
  dial: Dial,
): Promise<ProbeOutcome> {
  const headers: Record<string, string> = { 'user-agent': 'kube-probe/1.33', connection: 'close' };
  for (const { name, value } of get.httpHeaders ?? []) headers[name.toLowerCase()] = value;
  const secure = get.scheme === 'HTTPS';
  return new Promise((done) => {
    const request = (secure ? https : http).get({
      host,
      port,
      path: get.path ?? '/',
      headers,
      // An agent would connect by itself, from our own network.
      ...(secure
        ? { agent: false, socket: dial(host, port) }
        : { createConnection: () => dial(host, port) }),
      rejectUnauthorized: false,
      signal: AbortSignal.timeout(limitMs),
    });
    request.on('error', (error) =>
      done(bad(`Get "${host}:${port}${get.path ?? '/'}": ${error.message}`)),
    );
    request.on('response', (response) => {
      response.on('error', () => {});
      const status = response.statusCode ?? 0;
      response.destroy();
      if (status >= 200 && status < 400) done({ ok: true });
      else done(bad(`HTTP probe failed with statuscode: ${status}`));
    });
  });
}

function askTcp(host: string, port: number, limitMs: number, dial: Dial): Promise<ProbeOutcome> {
  return new Promise((done) => {
    const socket = dial(host, port);
    const finish = (outcome: ProbeOutcome): void => {
      socket.destroy();
      done(outcome);
    };
    socket.setTimeout(limitMs, () => finish(bad('the connection took too long')));
    socket.on('error', (error) => finish(bad(error.message)));
    socket.on('connect', () => finish({ ok: true }));
  });
}
