// Builds the seccomp filter: which system calls stop for an answer, as a classic BPF program.
// Pure. A program from another machine type (32-bit, x32) cannot be judged, so its calls fail.
import { errno } from './numbers.ts';

export interface TrapRule {
  readonly nr: number;
  /** Only when `(low 32 bits of args[arg]) & mask` equals `value`; other calls pass. */
  readonly when?: { readonly arg: number; readonly mask: number; readonly value: number };
  readonly action: { readonly do: 'notify' } | { readonly do: 'fail'; readonly errno: number };
}

const LOAD = 0x20; // ld [k], 32 bits of struct seccomp_data
const AND = 0x54;
const EQUAL = 0x15;
const AT_LEAST = 0x35;
const RETURN = 0x06;
const ALLOW = 0x7fff0000;
const NOTIFY = 0x7fc00000;
const FAIL = 0x00050000;
const X32_BIT = 0x40000000;

const instruction = (code: number, yes: number, no: number, k: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(code, 0);
  bytes[2] = yes;
  bytes[3] = no;
  bytes.writeUInt32LE(k >>> 0, 4);
  return bytes;
};

function ruleCode(rule: TrapRule): Buffer[] {
  const end = rule.action.do === 'notify' ? NOTIFY : FAIL | rule.action.errno;
  if (!rule.when) return [instruction(EQUAL, 0, 1, rule.nr), instruction(RETURN, 0, 0, end)];
  return [
    instruction(EQUAL, 0, 5, rule.nr),
    instruction(LOAD, 0, 0, 16 + 8 * rule.when.arg),
    instruction(AND, 0, 0, rule.when.mask),
    instruction(EQUAL, 0, 1, rule.when.value),
    instruction(RETURN, 0, 0, end),
    instruction(RETURN, 0, 0, ALLOW),
  ];
}

/** The program's bytes, 8 an instruction. One rule per call number; the rest is allowed. */
export function buildFilter(arch: number, rules: readonly TrapRule[]): Buffer {
  return Buffer.concat([
    instruction(LOAD, 0, 0, 4),
    instruction(EQUAL, 1, 0, arch),
    instruction(RETURN, 0, 0, FAIL | errno.ENOSYS),
    instruction(LOAD, 0, 0, 0),
    instruction(AT_LEAST, 0, 1, X32_BIT),
    instruction(RETURN, 0, 0, FAIL | errno.ENOSYS),
    ...rules.flatMap(ruleCode),
    instruction(RETURN, 0, 0, ALLOW),
  ]);
}

/** Runs a program over one call, as the kernel would: for tests and for reading a filter. */
export function runFilter(
  program: Buffer,
  call: { arch: number; nr: number; args: readonly number[] },
): number {
  let accumulator = 0;
  for (let at = 0; at * 8 < program.length; at++) {
    const code = program.readUInt16LE(at * 8);
    const k = program.readUInt32LE(at * 8 + 4);
    const jump = (yes: boolean): number => program[at * 8 + (yes ? 2 : 3)] ?? 0;
    if (code === RETURN) return k;
    if (code === LOAD) {
      if (k === 0) accumulator = call.nr;
      else if (k === 4) accumulator = call.arch;
      else accumulator = (call.args[(k - 16) / 8] ?? 0) >>> 0;
    } else if (code === AND) accumulator = (accumulator & k) >>> 0;
    else if (code === EQUAL) at += jump(accumulator === k);
    else if (code === AT_LEAST) at += jump(accumulator >= k);
  }
  throw new Error('the program ended without a return');
}

/** What `runFilter` returns for the three outcomes. */
export const verdicts = {
  allow: ALLOW,
  notify: NOTIFY,
  fail: (error: number): number => FAIL | error,
} as const;
