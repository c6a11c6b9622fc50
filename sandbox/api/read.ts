// GET of one object and of lists: stored JSON texts are joined, never parsed, unless the client wants
// a table or metadata alone.
import type { ServerResponse } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { KubeObject } from '../contract.ts';
import { apiVersionOf, notFound, type Page } from '../store/index.ts';
import type { ApiContext, Call } from './context.ts';
import { continueToken, type ListAsk, listAsk } from './query.ts';
import { sendJson } from './respond.ts';
import { partial, tableOf, wanted } from './table.ts';

const sliceObjects = 500;

export function getOne(api: ApiContext, call: Call): void {
  const { info, key, name = '' } = call;
  const text = api.store.text(key, call.namespace, name);
  if (text === undefined) throw notFound(info, name);
  sendObject(api, call, 200, text);
}

/** Answers with one object in the form the client asked for. */
export function sendObject(
  api: ApiContext,
  call: Call,
  code: number,
  text: string,
  warnings: readonly string[] = [],
): void {
  const form = wanted(call.request.headers.accept, call.query);
  if (form === 'object') return sendJson(call.response, code, text, warnings);
  const object = JSON.parse(text) as KubeObject;
  if (form === 'metadata') return sendJson(call.response, code, partial(object), warnings);
  const metadata = { resourceVersion: object.metadata.resourceVersion ?? '' };
  const table = tableOf(call.info, [object], metadata, form, api.now());
  sendJson(call.response, code, table, warnings);
}

export async function getList(api: ApiContext, call: Call): Promise<void> {
  const ask = listAsk(call.query, call.namespace);
  const form = wanted(call.request.headers.accept, call.query);
  if (form === 'object' && ask.limit === undefined) return streamList(api, call, ask);
  const { texts, revision, next } = await collect(api, call, ask);
  const metadata = listMeta(api, call, ask, { texts, revision, next });
  if (form === 'object') {
    const head = listHead(call, metadata);
    return sendJson(call.response, 200, `${head}${texts.join(',')}]}`);
  }
  const objects = texts.map((text) => JSON.parse(text) as KubeObject);
  if (form === 'metadata') {
    return sendJson(call.response, 200, {
      kind: 'PartialObjectMetadataList',
      apiVersion: 'meta.k8s.io/v1',
      metadata,
      items: objects.map(partial),
    });
  }
  sendJson(call.response, 200, tableOf(call.info, objects, metadata, form, api.now()));
}

interface ListMeta {
  readonly resourceVersion: string;
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

function listMeta(api: ApiContext, call: Call, ask: ListAsk, page: Page): ListMeta {
  const revision = ask.began ?? page.revision;
  if (!page.next) return { resourceVersion: `${revision}` };
  const selects = ask.query.labelSelector !== undefined || ask.query.fieldSelector !== undefined;
  const left = api.store.count(call.key, call.namespace) - page.texts.length;
  return {
    resourceVersion: `${revision}`,
    continue: continueToken(revision, page.next),
    // Kubernetes leaves the count out where it would have to search.
    ...(selects || ask.from ? {} : { remainingItemCount: Math.max(0, left) }),
  };
}

function listHead(call: Call, metadata: ListMeta): string {
  const kind = JSON.stringify(call.info.listKind);
  const version = JSON.stringify(apiVersionOf(call.info));
  return `{"kind":${kind},"apiVersion":${version},"metadata":${JSON.stringify(metadata)},"items":[`;
}

/** One page of the client's size, read in slices so that other requests get their turn. */
async function collect(api: ApiContext, call: Call, ask: ListAsk): Promise<Page> {
  const texts: string[] = [];
  const revision = api.store.revision;
  const limit = ask.limit ?? Number.POSITIVE_INFINITY;
  let from = ask.from;
  do {
    const size = Math.min(sliceObjects, limit - texts.length);
    const page = api.store.page(call.key, ask.query, from, size);
    texts.push(...page.texts);
    from = page.next;
    if (from && texts.length < limit) await nextTurn();
  } while (from && texts.length < limit);
  return { texts, revision, next: from };
}

/**
 * The whole list as it is read. Its version is the one it began at: what changes meanwhile comes again
 * in a watch from there.
 */
async function streamList(api: ApiContext, call: Call, ask: ListAsk): Promise<void> {
  const { response } = call;
  const metadata = { resourceVersion: `${ask.began ?? api.store.revision}` };
  let from = ask.from;
  let page = api.store.page(call.key, ask.query, from, sliceObjects);
  let head = listHead(call, metadata);
  if (!page.next) return sendJson(response, 200, `${head}${page.texts.join(',')}]}`);
  response.writeHead(200, {
    'content-type': 'application/json',
    'cache-control': 'no-cache, private',
  });
  for (;;) {
    if (page.texts.length > 0) {
      await write(response, head + page.texts.join(','));
      head = ',';
    }
    if (response.destroyed) return;
    from = page.next;
    if (!from) break;
    await nextTurn();
    page = api.store.page(call.key, ask.query, from, sliceObjects);
  }
  response.end(head === ',' ? ']}' : `${head}]}`);
}

/** Writes, and waits while the client is behind; ends at once when it is gone. */
function write(response: ServerResponse, text: string): Promise<void> {
  if (response.write(text) || response.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.once('drain', done);
    response.once('close', done);
  });
}
