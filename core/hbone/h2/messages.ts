// What makes a request or an answer malformed (RFC 9113 8.1–8.5): pure checks over decoded fields.
import type { HeaderField } from './hpack.ts';

/** Fields by name; repeated ones in a list, in their order. */
export type HeaderList = Readonly<Record<string, string | readonly string[]>>;

const connectionFields: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);
const requestPseudo: ReadonlySet<string> = new Set([':method', ':authority', ':scheme', ':path']);
const nameText = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** A host or address with an optional port: what may follow in an authority is judged by the plan. */
const authorityText = /^[!-~]*$/;

/** Names, values and order as RFC 9113 8.2 and 8.3 want them; the pseudo fields, or `undefined`. */
function pseudoOf(
  fields: readonly HeaderField[],
  allowed: ReadonlySet<string>,
): Map<string, string> | undefined {
  const pseudo = new Map<string, string>();
  let regular = false;
  for (const [name, value] of fields) {
    if (!cleanValue(value)) return undefined;
    if (name.startsWith(':')) {
      if (regular || !allowed.has(name) || pseudo.has(name)) return undefined;
      pseudo.set(name, value);
      continue;
    }
    regular = true;
    if (!nameText.test(name) || connectionFields.has(name)) return undefined;
    if (name === 'te' && value !== 'trailers') return undefined;
  }
  return pseudo;
}

/** Also false for what HTTP/2 libraries refuse before any handler sees it (ztunnel-protocol.md 2.2). */
export function checkRequest(fields: readonly HeaderField[]): boolean {
  const pseudo = pseudoOf(fields, requestPseudo);
  const method = pseudo?.get(':method');
  if (!pseudo || method === undefined || method === '') return false;
  if (!authorityText.test(pseudo.get(':authority') ?? '')) return false;
  const whole = pseudo.has(':scheme') && (pseudo.get(':path') ?? '') !== '';
  const none = !pseudo.has(':scheme') && !pseudo.has(':path');
  return method === 'CONNECT' ? none : whole;
}

/** The status, or `undefined`. */
export function checkResponse(fields: readonly HeaderField[]): number | undefined {
  const status = pseudoOf(fields, new Set([':status']))?.get(':status');
  return status !== undefined && /^[1-9][0-9]{2}$/.test(status) ? Number(status) : undefined;
}

export function toHeaderList(fields: readonly HeaderField[]): HeaderList {
  const list: Record<string, string | string[]> = Object.create(null) as Record<string, string>;
  for (const [name, value] of fields) {
    const before = list[name];
    if (before === undefined) list[name] = value;
    else if (typeof before === 'string') list[name] = [before, value];
    else before.push(value);
  }
  return list;
}

/** RFC 9110 5.5: no control characters but tab, and no space around. */
function cleanValue(value: string): boolean {
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if ((c < 0x20 && c !== 9) || c === 0x7f) return false;
  }
  return !/^[ \t]|[ \t]$/.test(value);
}
