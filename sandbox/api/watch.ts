// Watches: replay from a version out of the journal, then live events, BOOKMARKs, and an orderly end.
import type { KubeObject } from '../contract.ts';
import { apiVersionOf, inVersion, objectSelector, type StoredEvent } from '../store/index.ts';
import type { ApiContext, Call } from './context.ts';
import { listAsk, type WatchAsk, watchAsk } from './query.ts';
import { statusObject, statusOf } from './respond.ts';
import { partial, tableOf, wanted } from './table.ts';

/** client-node reconnects after 30 s of silence. */
const bookmarkMs = 20_000;
/** A client that reads nothing is cut off; it resumes from the last version it saw. */
const maxUnreadBytes = 16 * 1024 * 1024;

type EventType = 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
type Print = (type: EventType, text: string, object: () => KubeObject) => string;

function printer(api: ApiContext, call: Call): Print {
  const form = wanted(call.request.headers.accept, call.query);
  if (form === 'object') {
    return (type, text) => `{"type":"${type}","object":${inVersion(text, call.key)}}\n`;
  }
  let head = true;
  return (type, _text, object) => {
    const value = object();
    if (form === 'metadata') return `${JSON.stringify({ type, object: partial(value) })}\n`;
    const metadata = { resourceVersion: value.metadata.resourceVersion ?? '' };
    const table = tableOf(call.info, [value], metadata, form, api.now(), head);
    head = false;
    return `${JSON.stringify({ type, object: table })}\n`;
  };
}

/** What an event means to a watcher with a selector: entering is ADDED, leaving is DELETED. */
function seenAs(
  event: StoredEvent,
  selects: (object: KubeObject) => boolean,
): EventType | undefined {
  const now = event.type !== 'DELETED' && selects(event.object);
  const before = event.previous !== undefined && selects(event.previous);
  if (now) return before ? 'MODIFIED' : 'ADDED';
  return before ? 'DELETED' : undefined;
}

export function watch(api: ApiContext, call: Call): void {
  const { query } = listAsk(call.query, call.namespace);
  const ask = watchAsk(call.query);
  const everything = Object.keys(query).length === 0;
  const selects = objectSelector(query);
  const print = printer(api, call);
  const { response } = call;

  response.writeHead(200, {
    'content-type': 'application/json',
    'cache-control': 'no-cache, private',
  });
  response.flushHeaders();

  const send = (line: string): void => {
    if (response.destroyed || response.writableEnded) return;
    response.write(line);
    if (response.writableLength > maxUnreadBytes) {
      api.log.warn('a watcher reads too slowly and is cut off', { resource: call.key });
      response.destroy();
    }
  };
  const deliver = (event: StoredEvent): void => {
    const type = everything ? event.type : seenAs(event, selects);
    if (type) send(print(type, event.text, () => event.object));
  };

  if (!replay(api, call, ask, { deliver, send, print })) return;
  const stopEvents = api.store.subscribe(call.key, deliver);
  const bookmark = () => send(bookmarkLine(api, call));
  const bookmarks = ask.bookmarks ? setInterval(bookmark, bookmarkMs) : undefined;
  const end = setTimeout(() => response.end(), ask.timeoutSeconds * 1000);
  // The response's close: the request's comes as soon as its body was read.
  response.once('close', () => {
    stopEvents();
    clearInterval(bookmarks);
    clearTimeout(end);
  });
}

interface Out {
  readonly deliver: (event: StoredEvent) => void;
  readonly send: (line: string) => void;
  readonly print: Print;
}

/** Everything up to now; false when the watch has ended with an error. */
function replay(api: ApiContext, call: Call, ask: WatchAsk, out: Out): boolean {
  try {
    if (ask.revision !== undefined) {
      for (const event of api.store.since(call.key, ask.revision)) out.deliver(event);
      return true;
    }
    const { query } = listAsk(call.query, call.namespace);
    const { texts } = api.store.page(call.key, query, undefined, Number.POSITIVE_INFINITY);
    for (const text of texts) {
      out.send(out.print('ADDED', text, () => JSON.parse(text) as KubeObject));
    }
    if (ask.initialEvents)
      out.send(bookmarkLine(api, call, { 'k8s.io/initial-events-end': 'true' }));
    return true;
  } catch (error) {
    const line = JSON.stringify({ type: 'ERROR', object: statusObject(statusOf(error)) });
    call.response.end(`${line}\n`);
    return false;
  }
}

function bookmarkLine(api: ApiContext, call: Call, annotations?: Record<string, string>): string {
  const metadata = {
    resourceVersion: `${api.store.revision}`,
    ...(annotations ? { annotations } : {}),
  };
  const object = { kind: call.info.kind, apiVersion: apiVersionOf(call.info), metadata };
  return `${JSON.stringify({ type: 'BOOKMARK', object })}\n`;
}
