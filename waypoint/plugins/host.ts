// The program in a plugin's process: gets the plugin's text over descriptor 3, loads it, calls its hooks, sends what they
// return. It runs on the plugin's side of the fence: nothing it says is believed (answers.ts). It imports nothing of the
// project, because this file alone may be read here.
import { stripTypeScriptTypes } from 'node:module';
import { Socket } from 'node:net';

type Message =
  | { readonly load: string }
  | { readonly id: number; readonly hook: string; readonly args: readonly unknown[] };

const pipe = new Socket({ fd: 3, readable: true, writable: true });
let plugin: Readonly<Record<string, unknown>> = {};

function send(message: unknown): void {
  const text = Buffer.from(JSON.stringify(message), 'utf8');
  const head = Buffer.alloc(4);
  head.writeUInt32BE(text.length);
  pipe.write(Buffer.concat([head, text]));
}

const why = (error: unknown): string => String(error).slice(0, 300);

async function load(source: string): Promise<void> {
  const code = Buffer.from(stripTypeScriptTypes(source), 'utf8').toString('base64');
  const module = (await import(`data:text/javascript;base64,${code}`)) as { default?: unknown };
  const made = module.default;
  if (typeof made !== 'object' || made === null) throw new Error('no default export');
  plugin = made as typeof plugin;
  send({ ready: Object.keys(plugin).filter((k) => typeof plugin[k] === 'function') });
}

async function call(id: number, hook: string, args: readonly unknown[]): Promise<void> {
  try {
    const run = plugin[hook] as (...all: readonly unknown[]) => unknown;
    send({ id, answer: await run.apply(plugin, [...args]) });
  } catch (error) {
    send({ id, error: why(error) });
  }
}

function take(m: Message): void {
  if ('load' in m) load(m.load).catch((error: unknown) => send({ broken: why(error) }));
  else void call(m.id, m.hook, m.args);
}

let rest: Buffer = Buffer.alloc(0);
pipe.on('data', (bytes: Buffer) => {
  rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
  while (rest.length >= 4) {
    const end = 4 + rest.readUInt32BE();
    if (rest.length < end) break;
    const text = rest.toString('utf8', 4, end);
    rest = rest.subarray(end);
    take(JSON.parse(text) as Message);
  }
});
// The waypoint is gone, and so are we.
pipe.on('close', () => process.exit(0));
pipe.on('error', () => process.exit(0));
