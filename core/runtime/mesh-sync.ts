// Asks istiod whether every proxy has acknowledged the newest state (`/debug/syncz`): whoever takes a pod
// out of the mesh waits for that, so that nobody tunnels to it any more.
import http from 'node:http';
import type { Clock } from '../base/index.ts';

export interface SyncState {
  readonly revision: number;
  readonly synced: boolean;
}

const askMs = 500;
const pollMs = 50;
const mostBytes = 64 * 1024;

/** What istiod says; `undefined` if it does not answer, or in words of its own. */
export function readSync(url: string): Promise<SyncState | undefined> {
  return new Promise((done) => {
    const request = http.get(url, { agent: false, signal: AbortSignal.timeout(askMs) });
    request.on('error', () => done(undefined));
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('error', () => done(undefined));
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > mostBytes) response.destroy(new Error('too long'));
        else chunks.push(chunk);
      });
      response.on('end', () => done(parseSync(Buffer.concat(chunks).toString('utf8'))));
    });
  });
}

export function parseSync(text: string): SyncState | undefined {
  try {
    const value = JSON.parse(text) as Partial<Record<'revision' | 'synced', unknown>> | null;
    const revision = Number(value?.revision);
    if (!Number.isFinite(revision) || typeof value?.synced !== 'boolean') return undefined;
    return { revision, synced: value.synced };
  } catch {
    return undefined;
  }
}

/** Until every proxy knows more than revision `before`, or `limitMs`; istiod may be away. */
export async function waitForSync(
  url: string,
  before: number | undefined,
  clock: Clock,
  limitMs: number,
): Promise<void> {
  const until = clock.monotonic() + limitMs;
  while (clock.monotonic() < until) {
    await new Promise<void>((done) => void clock.after(pollMs, done));
    const now = before === undefined ? undefined : await readSync(url);
    if (now && now.revision > (before ?? 0) && now.synced) return;
  }
}
