// exec and attach, whatever the carrier: connects the runtime's process with the client's channels and
// tells the outcome at the end.
import { finished } from 'node:stream/promises';
import type { Readable, Writable } from 'node:stream';
import type { ExecSession } from '../contract.ts';
import { statusError } from '../store/index.ts';
import type { ApiContext, Call } from './context.ts';
import { containerOf, podOf } from './logs.ts';
import { statusObject, statusOf } from './respond.ts';

export interface ExecAsk {
  readonly attach: boolean;
  readonly container: string;
  readonly command: readonly string[];
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

/** The client's end. Absent channels were not asked for. */
export interface Channels {
  readonly stdin: Readable | undefined;
  readonly stdout: Writable | undefined;
  readonly stderr: Writable | undefined;
  /** Sends the final `Status` and ends the carrier. */
  finish(status: object): void;
  /** Calls back once when the client is gone. */
  onGone(listener: () => void): void;
}

/** Throws 400 and 404 before anything is upgraded. */
export function execAsk(api: ApiContext, call: Call): ExecAsk {
  const { query } = call;
  const on = (name: string) => query.get(name) === 'true' || query.get(name) === '1';
  const attach = call.sub === 'attach';
  const command = query.getAll('command');
  const tty = on('tty');
  if (!attach && command.length === 0) {
    throw statusError(400, 'BadRequest', 'you must specify at least one command for the container');
  }
  if (!on('stdin') && !on('stdout') && !on('stderr')) {
    throw statusError(400, 'BadRequest', 'you must specify at least one of stdin, stdout, stderr');
  }
  return {
    attach,
    container: containerOf(podOf(api, call), query.get('container')),
    command,
    stdin: on('stdin'),
    stdout: on('stdout'),
    // A terminal has one output; without a PTY stderr is merged into it.
    stderr: on('stderr') && !tty,
    tty,
  };
}

const success = { metadata: {}, status: 'Success' };

function exitStatus(code: number): object {
  if (code === 0) return success;
  return {
    metadata: {},
    status: 'Failure',
    reason: 'NonZeroExitCode',
    message: `command terminated with non-zero exit code: exit status ${code}`,
    details: { causes: [{ reason: 'ExitCode', message: `${code}` }] },
  };
}

/** Pipes until the source has ended and the sink has taken everything; never rejects. */
async function drain(source: Readable, sink: Writable | undefined, end: boolean): Promise<void> {
  source.on('error', () => {});
  if (!sink) {
    source.resume();
    await finished(source, { writable: false }).catch(() => {});
    return;
  }
  source.pipe(sink, { end });
  const done = end ? finished(sink, { readable: false }) : finished(source, { writable: false });
  await done.catch(() => {});
}

async function runProcess(session: ExecSession, channels: Channels, ask: ExecAsk): Promise<void> {
  session.stdin.on('error', () => {});
  channels.onGone(() => session.kill());
  if (channels.stdin) channels.stdin.pipe(session.stdin);
  else session.stdin.end();
  const stderr = ask.tty ? channels.stdout : channels.stderr;
  const outputs = [
    drain(session.stdout, channels.stdout, !ask.tty),
    drain(session.stderr, stderr, !ask.tty),
  ];
  // T6: the status goes out only after both outputs have, or their tail is lost.
  await Promise.all(outputs);
  channels.finish(exitStatus(await session.exit));
}

/** Attach shows what the container prints from now on; its stdin is not connected. */
async function runAttach(api: ApiContext, call: Call, channels: Channels, ask: ExecAsk) {
  const { namespace = '', name = '' } = call;
  const logs = api.runtime.logs(namespace, name, {
    container: ask.container,
    follow: true,
    tailLines: 0,
  });
  channels.onGone(() => logs.destroy());
  channels.stdin?.resume();
  await drain(logs, channels.stdout ?? channels.stderr, true);
  channels.finish(success);
}

/** Runs to the end; failures become the final Status. */
export async function serveExec(
  api: ApiContext,
  call: Call,
  ask: ExecAsk,
  channels: Channels,
): Promise<void> {
  const { namespace = '', name = '' } = call;
  try {
    if (ask.attach) return await runAttach(api, call, channels, ask);
    const { container, command, stdin, tty } = ask;
    const session = await api.runtime.exec(namespace, name, { container, command, stdin, tty });
    await runProcess(session, channels, ask);
  } catch (error) {
    const status = statusOf(error);
    if (status.code === 500) api.log.warn('exec failed', { pod: `${namespace}/${name}`, error });
    channels.finish(statusObject(status));
  }
}
