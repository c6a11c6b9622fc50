// One request, from its path to its handler.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { apiVersionOf, statusError } from '../store/index.ts';
import type { ApiContext, Call } from './context.ts';
import {
  aggregated,
  apiGroup,
  apiGroups,
  apiResources,
  apiVersions,
  reviews,
  versionInfo,
} from './discovery.ts';
import { openapiDocument, openapiIndex, openapiV2, openapiV2Bytes } from './openapi.ts';
import { isWatch } from './query.ts';
import { getList, getOne } from './read.ts';
import { noSuchPath, sendJson, sendStatus, sendText, statusOf } from './respond.ts';
import { sendReview, sendToken } from './reviews.ts';
import { parseRoute, type ResourcePath, type Route } from './route.ts';
import { evict, finalize, notAllowed, scale } from './subresources.ts';
import { apiAudience } from './tokens.ts';
import { callerOf, type User } from './users.ts';
import { watch } from './watch.ts';
import { create, patch, remove, removeAll, replace } from './write.ts';
import { sendLogs } from './logs.ts';

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
}

export function splitUrl(url: string | undefined): { path: string; query: URLSearchParams } {
  const raw = url ?? '/';
  const mark = raw.indexOf('?');
  if (mark < 0) return { path: raw, query: new URLSearchParams() };
  return { path: raw.slice(0, mark), query: new URLSearchParams(raw.slice(mark + 1)) };
}

export function unauthorized(): Error {
  return statusError(401, 'Unauthorized', 'Unauthorized');
}

/** Answers one HTTP request; never throws. */
export async function serveRequest(
  api: ApiContext,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const { path, query } = splitUrl(request.url);
    await route(api, parseRoute(path), { request, response, query });
  } catch (error) {
    const status = statusOf(error);
    if (status.code === 500) api.log.error('a request failed', { method: request.method, error });
    if (response.headersSent) response.destroy();
    else {
      if (status.code === 413) response.setHeader('connection', 'close');
      if (status.code === 401) response.setHeader('www-authenticate', 'Bearer');
      sendStatus(response, status);
    }
  }
}

async function route(api: ApiContext, to: Route, exchange: Exchange): Promise<void> {
  const { request, response } = exchange;
  if (to.do === 'health') return sendText(response, 200, 'text/plain', 'ok');
  if (to.do === 'version') return sendJson(response, 200, versionInfo);
  const user = callerOf(api.store, api.tokens, request.headers.authorization);
  if (!user) throw unauthorized();
  if (to.do === 'resource') return resource(api, to, exchange, user);
  if (request.method !== 'GET' && request.method !== 'HEAD') throw notAllowed();
  document(api, to, exchange);
}

const aggregatedType = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';

function document(api: ApiContext, to: Route, { request, response }: Exchange): void {
  const { registry } = api.store;
  const accept = request.headers.accept ?? '';
  const modern = accept.includes('g=apidiscovery.k8s.io') && /;v=v2(;|,|$)/.test(accept);
  const send = (body: object | undefined) => {
    if (!body) throw noSuchPath();
    sendJson(response, 200, body);
  };
  switch (to.do) {
    case 'api':
    case 'groups': {
      const core = to.do === 'api';
      if (modern) {
        const body = JSON.stringify(aggregated(registry, core));
        return sendText(response, 200, aggregatedType, body);
      }
      return send(core ? apiVersions(request.headers.host ?? '') : apiGroups(registry));
    }
    case 'group':
      return send(apiGroup(registry, to.group));
    case 'resources':
      return send(apiResources(registry, to));
    case 'openapi':
      return openapi(api, to.path, accept, response);
    case 'openid':
      return send(to.what === 'keys' ? api.tokens.keySet() : openidConfiguration());
    case 'health':
    case 'version':
    case 'resource':
    case 'unknown':
      throw noSuchPath();
  }
}

function openidConfiguration(): object {
  return {
    issuer: apiAudience,
    jwks_uri: `${apiAudience}/openid/v1/jwks`,
    response_types_supported: ['id_token'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['ES256'],
  };
}

function openapi(
  api: ApiContext,
  path: readonly string[],
  accept: string,
  response: ServerResponse,
): void {
  const [version, ...rest] = path;
  if (version === 'v2' && rest.length === 0) {
    if (!accept.includes('protobuf')) return sendJson(response, 200, openapiV2);
    const type = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';
    return sendText(response, 200, type, openapiV2Bytes());
  }
  if (version !== 'v3') throw noSuchPath();
  if (rest.length === 0) return sendJson(response, 200, openapiIndex(api.store.registry));
  const body = openapiDocument(api.store.registry, rest.join('/'));
  if (!body) throw noSuchPath();
  sendJson(response, 200, body);
}

/** The call behind a resource path; undefined when there is no such resource. */
export function callOf(
  api: ApiContext,
  path: ResourcePath,
  exchange: Exchange,
  user: User,
): Call | undefined {
  const info = api.store.registry.find(path.group, path.version, path.plural);
  if (!info || (path.namespace !== undefined && !info.namespaced)) return undefined;
  if (info.namespaced && path.namespace === undefined && path.name !== undefined) return undefined;
  const { namespace, name, sub } = path;
  const key = `${apiVersionOf(info)}/${info.plural}`;
  return { ...exchange, user, info, key, namespace, name, sub };
}

async function resource(
  api: ApiContext,
  path: ResourcePath,
  exchange: Exchange,
  user: User,
): Promise<void> {
  const review = reviews.find(
    (r) => r.group === path.group && r.version === path.version && r.plural === path.plural,
  );
  if (review) {
    if (exchange.request.method !== 'POST' || path.name !== undefined) throw notAllowed();
    return sendReview(api, { ...exchange, user }, review);
  }
  const call = callOf(api, path, exchange, user);
  if (!call) throw noSuchPath();
  if (call.sub !== undefined) return subresource(api, call);
  return call.name === undefined ? collection(api, call) : single(api, call);
}

function collection(api: ApiContext, call: Call): Promise<void> | void {
  switch (call.request.method) {
    case 'GET':
    case 'HEAD':
      return isWatch(call.query) ? watch(api, call) : getList(api, call);
    case 'POST':
      if (call.info.namespaced && call.namespace === undefined) throw notAllowed();
      return create(api, call);
    case 'DELETE':
      return removeAll(api, call);
    default:
      throw notAllowed();
  }
}

function single(api: ApiContext, call: Call): Promise<void> | void {
  switch (call.request.method) {
    case 'GET':
    case 'HEAD':
      return getOne(api, call);
    case 'PUT':
      return replace(api, call);
    case 'PATCH':
      return patch(api, call);
    case 'DELETE':
      return remove(api, call);
    default:
      throw notAllowed();
  }
}

async function subresource(api: ApiContext, call: Call): Promise<void> {
  const sub = call.info.subresources.find((s) => s === call.sub);
  if (!sub) throw noSuchPath();
  switch (sub) {
    case 'status':
      if (call.request.method === 'POST' || call.request.method === 'DELETE') throw notAllowed();
      return single(api, call);
    case 'scale':
      return scale(api, call);
    case 'eviction':
      return evict(api, call);
    case 'finalize':
      return finalize(api, call);
    case 'token':
      if (call.request.method !== 'POST') throw notAllowed();
      return sendToken(api, call);
    case 'log':
      if (call.request.method !== 'GET') throw notAllowed();
      return sendLogs(api, call);
    case 'exec':
    case 'attach':
    case 'portforward':
      throw statusError(
        400,
        'BadRequest',
        'Upgrade request required: exec, attach and port-forward need WebSocket or SPDY/3.1',
      );
  }
}
