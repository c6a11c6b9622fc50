// W3C trace context, as far as the tunnel uses it: one traceparent per user connection whose trace id
// joins the records of both ends (ztunnel-protocol.md 2.2, design.md 8 "Evidence").
import type { Random } from './random.ts';

const hex = (text: string | undefined, length: number): boolean => {
  if (text?.length !== length) return false;
  for (let i = 0; i < length; i++) {
    const c = text.charCodeAt(i);
    if (!((c >= 48 && c <= 57) || (c >= 97 && c <= 102) || (c >= 65 && c <= 70))) return false;
  }
  return true;
};

/** The 32-digit trace id, or `undefined` if the header is not 55 characters of four hex parts. */
export function traceIdOf(traceparent: string | undefined): string | undefined {
  if (traceparent?.length !== 55) return undefined;
  const parts = traceparent.split('-');
  if (parts.length !== 4) return undefined;
  const [version, trace, parent, flags] = parts;
  if (!hex(version, 2) || !hex(trace, 32) || !hex(parent, 16) || !hex(flags, 2)) return undefined;
  return trace?.toLowerCase();
}

const bytes = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'));
const byte = (word: number, shift: number): string => bytes[(word >>> shift) & 255] ?? '';

/** `length` hex digits, eight from each draw. */
const digits = (length: number, random: Random): string => {
  let text = '';
  while (text.length < length) {
    const word = Math.floor(random.next() * 2 ** 32);
    text += byte(word, 24) + byte(word, 16) + byte(word, 8) + byte(word, 0);
  }
  return text;
};

/** A fresh `00-<trace>-<parent>-00`. */
export function newTraceparent(random: Random): string {
  return `00-${digits(32, random)}-${digits(16, random)}-00`;
}
