// What the kernel says about the thread whose call is trapped: its process, its session, its memory.
import fs from 'node:fs';

export interface Caller {
  /** The process (thread group). */
  readonly pid: number;
  /** The session; a pod's processes share the one they were spawned in. */
  readonly session: number;
}

/** Throws when the thread is gone. */
export function callerOf(tid: number): Caller {
  const text = fs.readFileSync(`/proc/${tid}/status`, 'latin1');
  const field = (name: string): number => {
    const at = text.indexOf(`\n${name}:`);
    return at < 0 ? -1 : Number.parseInt(text.slice(at + name.length + 2), 10);
  };
  const pid = field('Tgid');
  const stat = fs.readFileSync(`/proc/${tid}/stat`, 'latin1');
  // pid (name) state ppid pgrp session: the name may hold spaces and brackets.
  const rest = stat.slice(stat.lastIndexOf(') ') + 2).split(' ');
  return { pid, session: Number(rest[3]) };
}

/** Whether the session was begun by this very process: then its news is only late. */
export function isOurChild(session: number): boolean {
  const stat = fs.readFileSync(`/proc/${session}/stat`, 'latin1');
  return Number(stat.slice(stat.lastIndexOf(') ') + 2).split(' ')[1]) === process.pid;
}

/** Up to `length` bytes at `address` of the thread's memory. Throws if it may not be read. */
export function readMemory(tid: number, address: bigint, length: number): Buffer {
  const fd = fs.openSync(`/proc/${tid}/mem`, 'r');
  try {
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, fs.readSync(fd, bytes, 0, length, address));
  } finally {
    fs.closeSync(fd);
  }
}

/** A C string of at most `limit` bytes, cut there. */
export function readText(tid: number, address: bigint, limit: number): string {
  const bytes = readMemory(tid, address, limit);
  const end = bytes.indexOf(0);
  return bytes.toString('latin1', 0, end < 0 ? bytes.length : end);
}

/** The inode of a descriptor if it is a socket. */
export function socketInode(tid: number, fd: number): number | undefined {
  const target = fs.readlinkSync(`/proc/${tid}/fd/${fd}`);
  const digits = /^socket:\[(\d+)\]$/.exec(target)?.[1];
  return digits === undefined ? undefined : Number(digits);
}
