// DNS messages (RFC 1035, EDNS of RFC 6891): what a server needs to read of a query, a writer of answers, and
// what a relay needs to know of another server's answer. Pure; hostile bytes give a value, never an exception.
import { type IpAddress, isIpv6, parseIpBytes } from '../base/index.ts';

export const rcodes = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
} as const;
export type Rcode = (typeof rcodes)[keyof typeof rcodes];

export const recordTypes = {
  A: 1,
  CNAME: 5,
  PTR: 12,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
} as const;
const classIn = 1;

const flags = { response: 0x8000, aa: 0x0400, tc: 0x0200, rd: 0x0100, ra: 0x0080, cd: 0x0010 };
export const headerBytes = 12;
const mostNameBytes = 255;
const pointer = 0xc0;

export interface Edns {
  readonly version: number;
  /** The largest UDP answer the client takes, as it says. */
  readonly payload: number;
  readonly dnssecOk: boolean;
}

export interface DnsQuery {
  readonly id: number;
  readonly rd: boolean;
  readonly cd: boolean;
  /** Lower case, no final dot; a dot or backslash inside a label is written with a backslash. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
  /** The question section, byte for byte. */
  readonly question: Uint8Array;
  readonly edns?: Edns;
}

export type QueryRead =
  | { readonly kind: 'query'; readonly query: DnsQuery }
  /** An answer, or too short to be answered. */
  | { readonly kind: 'ignore' }
  /** Another operation than a question (RFC 2136 UPDATE, NOTIFY …): its bytes are not ours to read. */
  | { readonly kind: 'other'; readonly opcode: number }
  | { readonly kind: 'malformed' };

const u16 = (b: Uint8Array, at: number): number => ((b[at] ?? 0) << 8) | (b[at + 1] ?? 0);
const u32 = (b: Uint8Array, at: number): number => u16(b, at) * 0x10000 + u16(b, at + 2);

/** Where the name that starts at `at` ends; `undefined` if it does not. Pointers are not followed. */
function skipName(bytes: Uint8Array, at: number): number | undefined {
  for (let i = at; i < bytes.length && i - at <= mostNameBytes; ) {
    const length = bytes[i] ?? 0;
    if (length === 0) return i + 1;
    if ((length & pointer) === pointer) return i + 2 <= bytes.length ? i + 2 : undefined;
    if (length > 63) return undefined;
    i += 1 + length;
  }
  return undefined;
}

/** A name without pointers. */
function readName(bytes: Uint8Array, at: number): { name: string; end: number } | undefined {
  const labels: string[] = [];
  for (let i = at; i < bytes.length && i - at < mostNameBytes; ) {
    const length = bytes[i] ?? 0;
    if (length === 0) return { name: labels.join('.'), end: i + 1 };
    if (length > 63 || i + 1 + length > bytes.length) return undefined;
    labels.push(labelText(bytes.subarray(i + 1, i + 1 + length)));
    i += 1 + length;
  }
  return undefined;
}

function labelText(bytes: Uint8Array): string {
  let text = '';
  for (const b of bytes) {
    const c = String.fromCharCode(b >= 0x41 && b <= 0x5a ? b + 0x20 : b);
    text += c === '.' || c === '\\' ? `\\${c}` : c;
  }
  return text;
}

interface RecordPlace {
  readonly type: number;
  readonly ttlAt: number;
  readonly class: number;
  readonly end: number;
}

function recordAt(bytes: Uint8Array, at: number): RecordPlace | undefined {
  const name = skipName(bytes, at);
  if (name === undefined || name + 10 > bytes.length) return undefined;
  const end = name + 10 + u16(bytes, name + 8);
  if (end > bytes.length) return undefined;
  return { type: u16(bytes, name), class: u16(bytes, name + 2), ttlAt: name + 4, end };
}

/** Every record after the question, or `undefined` if one is cut off. */
function records(bytes: Uint8Array, from: number): RecordPlace[] | undefined {
  const count = u16(bytes, 6) + u16(bytes, 8) + u16(bytes, 10);
  const out: RecordPlace[] = [];
  for (let at = from; out.length < count; ) {
    const record = recordAt(bytes, at);
    if (!record) return undefined;
    out.push(record);
    at = record.end;
  }
  return out;
}

/** What a client sent (ztunnel-protocol.md 10.1). */
export function readQuery(bytes: Uint8Array): QueryRead {
  if (bytes.length < headerBytes) return { kind: 'ignore' };
  const head = u16(bytes, 2);
  if ((head & flags.response) !== 0) return { kind: 'ignore' };
  const opcode = (head >> 11) & 15;
  if (opcode !== 0) return { kind: 'other', opcode };
  if (u16(bytes, 4) !== 1) return { kind: 'malformed' };
  const asked = readName(bytes, headerBytes);
  if (!asked || asked.end + 4 > bytes.length) return { kind: 'malformed' };
  const places = records(bytes, asked.end + 4);
  const opts = places?.filter((r) => r.type === recordTypes.OPT);
  if (!opts || opts.length > 1) return { kind: 'malformed' };
  const [opt] = opts;
  const query: DnsQuery = {
    id: u16(bytes, 0),
    rd: (head & flags.rd) !== 0,
    cd: (head & flags.cd) !== 0,
    name: asked.name,
    type: u16(bytes, asked.end),
    class: u16(bytes, asked.end + 2),
    question: bytes.subarray(headerBytes, asked.end + 4),
    ...(opt && {
      edns: {
        version: bytes[opt.ttlAt + 1] ?? 0,
        payload: opt.class,
        dnssecOk: ((bytes[opt.ttlAt + 2] ?? 0) & 0x80) !== 0,
      },
    }),
  };
  return { kind: 'query', query };
}

export type RecordData =
  | { readonly type: 'A'; readonly ip: IpAddress }
  | { readonly type: 'AAAA'; readonly ip: IpAddress }
  | { readonly type: 'CNAME'; readonly target: string }
  | { readonly type: 'SRV'; readonly port: number; readonly target: string };

export interface DnsRecord {
  readonly name: string;
  /** Seconds. */
  readonly ttl: number;
  readonly data: RecordData;
}

export const addressRecord = (name: string, ttl: number, ip: IpAddress): DnsRecord => ({
  name,
  ttl,
  data: { type: isIpv6(ip) ? 'AAAA' : 'A', ip },
});

export interface DnsAnswer {
  readonly rcode: Rcode;
  readonly authoritative: boolean;
  readonly recursion: boolean;
  readonly answers: readonly DnsRecord[];
  /** Left out first when there is no room. */
  readonly additional: readonly DnsRecord[];
}

/** The most bytes that an answer may have: what the client says, at least 512, over UDP at most 4096. */
export function answerLimit(query: DnsQuery, protocol: 'udp' | 'tcp'): number {
  if (protocol === 'tcp') return 65_535;
  return Math.min(4096, Math.max(512, query.edns?.payload ?? 512));
}

class Writer {
  readonly #bytes: Uint8Array;
  readonly #suffixes = new Map<string, number>();
  length: number;

  constructor(limit: number, start: Uint8Array) {
    this.#bytes = new Uint8Array(limit);
    this.#bytes.set(start);
    this.length = start.length;
  }

  /** Names after this one may point into it. */
  remember(name: string, at: number): void {
    const labels = splitName(name);
    let place = at;
    for (let i = 0; i < labels.length; i++) {
      if (place < 0x3fff) this.#suffixes.set(labels.slice(i).join('.'), place);
      place += 1 + (unescaped(labels[i] ?? '')?.length ?? 0);
    }
  }

  /** False: it does not fit, and nothing was written. */
  record(record: DnsRecord): boolean {
    const before = this.length;
    if (this.#record(record)) return true;
    for (const [name, at] of this.#suffixes) if (at >= before) this.#suffixes.delete(name);
    this.length = before;
    return false;
  }

  #record({ name, ttl, data }: DnsRecord): boolean {
    if (!this.#name(name) || !this.#room(10)) return false;
    this.#u16(recordTypes[data.type]);
    this.#u16(classIn);
    this.#u16(ttl >>> 16);
    this.#u16(ttl & 0xffff);
    const lengthAt = this.length;
    this.#u16(0);
    if (!this.#data(data)) return false;
    this.set16(lengthAt, this.length - lengthAt - 2);
    return true;
  }

  #data(data: RecordData): boolean {
    if (data.type === 'A' || data.type === 'AAAA') {
      return this.raw(parseIpBytes(data.ip) ?? new Uint8Array());
    }
    if (data.type === 'CNAME') return this.#name(data.target);
    if (!this.#room(6)) return false;
    this.#u16(0); // priority
    this.#u16(100); // weight, as cluster DNS servers give it
    this.#u16(data.port);
    return this.#name(data.target);
  }

  raw(bytes: Uint8Array): boolean {
    if (!this.#room(bytes.length)) return false;
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
    return true;
  }

  set16(at: number, value: number): void {
    this.#bytes[at] = value >> 8;
    this.#bytes[at + 1] = value & 255;
  }

  done(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  #room(count: number): boolean {
    return this.length + count <= this.#bytes.length;
  }

  #u16(value: number): void {
    this.set16(this.length, value);
    this.length += 2;
  }

  #name(name: string): boolean {
    const labels = splitName(name);
    for (let i = 0; i < labels.length; i++) {
      const rest = labels.slice(i).join('.');
      const known = this.#suffixes.get(rest);
      if (known !== undefined) {
        if (!this.#room(2)) return false;
        this.#u16(0xc000 | known);
        return true;
      }
      const label = unescaped(labels[i] ?? '');
      if (!label || !this.#room(1 + label.length)) return false;
      if (this.length < 0x3fff) this.#suffixes.set(rest, this.length);
      this.#bytes[this.length] = label.length;
      this.#bytes.set(label, this.length + 1);
      this.length += 1 + label.length;
    }
    return this.raw(Uint8Array.of(0));
  }
}

/** Labels as written, escapes kept. */
const splitName = (name: string): string[] =>
  name === '' ? [] : (name.match(/(?:\\.|[^.])+/gs) ?? []);

function unescaped(label: string): Uint8Array | undefined {
  const text = label.replace(/\\(.)/gs, '$1');
  if (text.length === 0 || text.length > 63) return undefined;
  return Uint8Array.from(text, (c) => c.charCodeAt(0) & 255);
}

/** The bytes of an answer, cut to `limit` with the truncation flag set. */
export function writeAnswer(query: DnsQuery, answer: DnsAnswer, limit: number): Uint8Array {
  const optBytes = query.edns && answer.recursion ? 11 : 0;
  const start = new Uint8Array(headerBytes + query.question.length);
  start.set(query.question, headerBytes);
  const writer = new Writer(Math.max(limit, start.length + optBytes) - optBytes, start);
  if (isLowerCase(query.question)) writer.remember(query.name, headerBytes);
  let written = 0;
  let truncated = false;
  for (const record of answer.answers) {
    truncated = !writer.record(record);
    if (truncated) break;
    written++;
  }
  let extra = 0;
  for (const record of truncated ? [] : answer.additional) {
    if (!writer.record(record)) break;
    extra++;
  }
  const body = writer.done();
  const out = new Uint8Array(body.length + optBytes);
  out.set(body);
  const set16 = (at: number, value: number): void => {
    out[at] = value >> 8;
    out[at + 1] = value & 255;
  };
  const head =
    flags.response |
    (answer.authoritative ? flags.aa : 0) |
    (truncated ? flags.tc : 0) |
    (query.rd ? flags.rd : 0) |
    (answer.recursion ? flags.ra : 0) |
    (query.cd ? flags.cd : 0) |
    answer.rcode;
  for (const [i, value] of [query.id, head, 1, written, 0, extra].entries()) set16(2 * i, value);
  if (query.edns && optBytes > 0) {
    set16(10, extra + 1);
    const { version, payload, dnssecOk } = query.edns;
    set16(body.length + 1, recordTypes.OPT);
    set16(body.length + 3, Math.max(512, payload));
    out[body.length + 6] = version;
    if (dnssecOk) out[body.length + 7] = 0x80;
  }
  return out;
}

const isLowerCase = (question: Uint8Array): boolean =>
  !question.subarray(0, -4).some((b) => b >= 0x41 && b <= 0x5a);

/** An answer that says no more than its code: no records, no EDNS, RA not set (10.1). */
export function refuseQuery(bytes: Uint8Array, rcode: Rcode): Uint8Array {
  const read = readQuery(bytes);
  const question = read.kind === 'query' ? read.query.question : new Uint8Array();
  const out = new Uint8Array(headerBytes + question.length);
  out.set(bytes.subarray(0, 2));
  const head = u16(bytes, 2);
  const kept = head & (0x7800 | flags.rd | flags.cd);
  const value = flags.response | kept | rcode;
  out[2] = value >> 8;
  out[3] = value & 255;
  out[5] = read.kind === 'query' ? 1 : 0;
  out.set(question, headerBytes);
  return out;
}

export interface AnswerFacts {
  readonly rcode: number;
  readonly truncated: boolean;
  /** Records of the answer section. */
  readonly count: number;
  /** Seconds; the smallest of all records, absent without any. */
  readonly ttl?: number;
  readonly ttlPlaces: readonly number[];
}

/**
 * What a server's answer says, if it belongs to the query: same id and operation, same question (its
 * letters' case aside). `undefined` = not an answer to it, or cut off: to be passed over.
 */
export function readAnswer(answer: Uint8Array, query: Uint8Array): AnswerFacts | undefined {
  if (answer.length < headerBytes || query.length < headerBytes) return undefined;
  const head = u16(answer, 2);
  if ((head & flags.response) === 0 || u16(answer, 0) !== u16(query, 0)) return undefined;
  if (((head ^ u16(query, 2)) & 0x7800) !== 0) return undefined;
  const facts = { rcode: head & 15, truncated: (head & flags.tc) !== 0, count: u16(answer, 6) };
  const asked = readQuery(query);
  if (asked.kind === 'other') return { ...facts, ttlPlaces: [] };
  if (asked.kind !== 'query') return undefined;
  const { question } = asked.query;
  // A server that could not read the query may leave the question out.
  if (u16(answer, 4) === 0 && facts.rcode !== 0 && facts.count === 0) {
    return { ...facts, ttlPlaces: [] };
  }
  const end = headerBytes + question.length;
  if (u16(answer, 4) !== 1 || !sameText(answer.subarray(headerBytes, end), question))
    return undefined;
  const places = records(answer, end);
  if (!places && !facts.truncated) return undefined;
  const timed = (places ?? []).filter((r) => r.type !== recordTypes.OPT);
  const ttls = timed.map((r) => u32(answer, r.ttlAt));
  return {
    ...facts,
    ttlPlaces: timed.map((r) => r.ttlAt),
    ...(ttls.length > 0 && { ttl: Math.min(...ttls) }),
  };
}

function sameText(a: Uint8Array, b: Uint8Array): boolean {
  const low = (x: number): number => (x >= 0x41 && x <= 0x5a ? x + 0x20 : x);
  return a.length === b.length && a.every((x, i) => low(x) === low(b[i] ?? 0));
}

/** A copy with another id. */
export function withId(message: Uint8Array, id: number): Uint8Array {
  const out = Uint8Array.from(message);
  out[0] = id >> 8;
  out[1] = id & 255;
  return out;
}

export const idOf = (message: Uint8Array): number => u16(message, 0);

/** A copy whose records live `seconds` less, at least `least`. */
export function aged(
  message: Uint8Array,
  places: readonly number[],
  seconds: number,
  least: number,
): Uint8Array {
  const out = Uint8Array.from(message);
  for (const at of places) {
    const left = Math.max(least, u32(message, at) - seconds);
    out.set([left >>> 24, (left >> 16) & 255, (left >> 8) & 255, left & 255], at);
  }
  return out;
}
