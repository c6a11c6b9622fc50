// What a plugin answered → what is carried out. Nothing of it is believed: a wrong type, a header that could end a line or
// speak for the proxy, a size over the limit refuse the whole answer, and the plugin's failure mode decides.
import type { Hook } from './contract.ts';

/** Header edits ready to carry out; names in lower case. */
export interface Edits {
  readonly set: readonly (readonly [string, string])[];
  readonly remove: readonly string[];
}

export interface Refusal {
  readonly status: number;
  readonly body: string;
  readonly headers: readonly (readonly [string, string])[];
}

export type HookAnswer =
  | { readonly kind: 'edits'; readonly edits: Edits }
  | { readonly kind: 'reply'; readonly reply: Refusal }
  | { readonly kind: 'allow' }
  | { readonly kind: 'endpoint'; readonly id: string }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'nothing' };

export const hooks: readonly Hook[] = ['authorize', 'onRequest', 'pick', 'onResponse', 'onLog'];

const maxBody = 1 << 16;
const maxHeaders = 64;
const maxValue = 8_192;
const maxText = 1_000;
const token = /^[a-z0-9!#$%&'*+.^_`|~-]{1,128}$/;
const value = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Framing, connection and identity are the proxy's own. */
const ours = new Set([
  'host',
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'content-length',
  'upgrade',
  'te',
  'trailer',
  'http2-settings',
  'x-forwarded-client-cert',
  'x-forwarded-for',
  'x-forwarded-proto',
]);

class Unusable extends Error {}

function no(what: string): never {
  throw new Unusable(what);
}

function fields(v: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof v !== 'object' || v === null || Array.isArray(v)) no(`${what} is no object`);
  return v as Readonly<Record<string, unknown>>;
}

function only(v: Readonly<Record<string, unknown>>, names: readonly string[]): void {
  const other = Object.keys(v).find((k) => !names.includes(k));
  if (other !== undefined) no(`${other.slice(0, 40)} is not known`);
}

function name(given: string): string {
  const n = given.toLowerCase();
  if (!token.test(n)) no('a header name is none');
  if (ours.has(n) || n.startsWith('x-envoy-')) no(`header ${n} is not a plugin's`);
  return n;
}

function headers(v: unknown, what: string): (readonly [string, string])[] {
  if (v === undefined) return [];
  const all = Object.entries(fields(v, what));
  if (all.length > maxHeaders) no(`${what}: more than ${maxHeaders}`);
  return all.map(([n, text]) => {
    const key = name(n);
    if (typeof text !== 'string' || text.length > maxValue || !value.test(text)) {
      no(`${what}: the value of ${key} is none`);
    }
    return [key, text] as const;
  });
}

function edits(v: unknown): Edits {
  const f = fields(v, 'the answer');
  only(f, ['set', 'remove']);
  const gone = f['remove'] ?? [];
  if (!Array.isArray(gone) || gone.length > maxHeaders) no('remove is no list of names');
  const remove = gone.map((n: unknown) =>
    typeof n === 'string' ? name(n) : no('remove is no list of names'),
  );
  return { set: headers(f['set'], 'set'), remove };
}

function status(v: unknown): number {
  const fit = typeof v === 'number' && Number.isInteger(v) && v >= 200 && v <= 599;
  return fit ? v : no('status is not 200 to 599');
}

function body(v: unknown): string {
  if (v === undefined) return '';
  return typeof v === 'string' && v.length <= maxBody ? v : no(`body is no text of ${maxBody}`);
}

function replyOf(v: unknown): Refusal {
  const f = fields(v, 'reply');
  only(f, ['status', 'body', 'headers']);
  return {
    status: status(f['status']),
    body: body(f['body']),
    headers: headers(f['headers'], 'headers'),
  };
}

function authorized(v: unknown): HookAnswer {
  const f = fields(v, 'the answer');
  only(f, ['allow', 'status', 'body']);
  if (f['allow'] === true) return { kind: 'allow' };
  if (f['allow'] !== false) no('allow is neither true nor false');
  const code = f['status'] === undefined ? 403 : status(f['status']);
  if (code < 400) no('status of a refusal is below 400');
  return { kind: 'reply', reply: { status: code, body: body(f['body']), headers: [] } };
}

function read(hook: Hook, v: unknown): HookAnswer {
  if (hook === 'authorize') return authorized(v);
  if (v === undefined || v === null) return { kind: 'nothing' };
  if (hook === 'pick') {
    return typeof v === 'string' ? { kind: 'endpoint', id: v } : no('the answer is no id');
  }
  if (hook === 'onLog') {
    if (typeof v !== 'string') no('the answer is no text');
    return { kind: 'text', text: v.slice(0, maxText) };
  }
  if (hook === 'onRequest' && Object.hasOwn(fields(v, 'the answer'), 'reply')) {
    const f = fields(v, 'the answer');
    only(f, ['reply']);
    return { kind: 'reply', reply: replyOf(f['reply']) };
  }
  return { kind: 'edits', edits: edits(v) };
}

/** The answer, or why it cannot be used. */
export function readAnswer(hook: Hook, v: unknown): HookAnswer | string {
  try {
    return read(hook, v);
  } catch (error) {
    return error instanceof Unusable ? error.message : 'the answer cannot be read';
  }
}

/** A header list after the edits. */
export function applyEdits(
  before: readonly (readonly [string, string])[],
  e: Edits,
): readonly (readonly [string, string])[] {
  if (e.set.length === 0 && e.remove.length === 0) return before;
  const gone = new Set([...e.remove, ...e.set.map(([n]) => n)]);
  return [...before.filter(([n]) => !gone.has(n)), ...e.set];
}
