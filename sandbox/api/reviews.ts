// Requests that are questions: TokenReview, access reviews, token requests. Nothing is stored.
import { notFound, statusError } from '../store/index.ts';
import { decodeBody, mediaType, readBody } from './body.ts';
import type { ApiContext, Call } from './context.ts';
import type { Review } from './discovery.ts';
import { at, isRecord, list, type MutableJson, number, record, text } from './json.ts';
import { sendJson } from './respond.ts';
import { apiAudience } from './tokens.ts';
import { reviewToken, type User } from './users.ts';

type Asked = Pick<Call, 'request' | 'response' | 'user'>;

async function readReview(call: Asked, kind: string): Promise<MutableJson> {
  const body = decodeBody(mediaType(call.request), await readBody(call.request));
  if (isRecord(body) && (body['kind'] ?? kind) === kind) return body;
  throw statusError(400, 'BadRequest', `the body is not a ${kind}`);
}

function userInfo(user: User): object {
  return { username: user.username, uid: user.uid, groups: user.groups, extra: user.extra };
}

function tokenReview(api: ApiContext, spec: MutableJson): object {
  const audiences = list(spec['audiences']).map(text);
  const reviewed = reviewToken(api.store, api.tokens, text(spec['token']), audiences);
  if (!reviewed) {
    return {
      authenticated: false,
      error: 'the token is not valid here, or what it is bound to is gone',
    };
  }
  return { authenticated: true, user: userInfo(reviewed.user), audiences: reviewed.audiences };
}

const allowed = { allowed: true, reason: 'the sandbox has no RBAC: everything is allowed' };

const everything = {
  resourceRules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }],
  nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }],
  incomplete: false,
};

function answer(api: ApiContext, call: Asked, kind: string, spec: MutableJson): object {
  switch (kind) {
    case 'TokenReview':
      return tokenReview(api, spec);
    case 'SelfSubjectReview':
      return { userInfo: userInfo(call.user) };
    case 'SelfSubjectRulesReview':
      return everything;
    default:
      return allowed;
  }
}

/** Answers a review with its own kind, `spec` as sent and `status` as found. */
export async function sendReview(api: ApiContext, call: Asked, review: Review): Promise<void> {
  const body = await readReview(call, review.kind);
  const spec = record(body['spec']);
  const status = answer(api, call, review.kind, spec);
  sendJson(call.response, 201, {
    kind: review.kind,
    apiVersion: `${review.group}/${review.version}`,
    metadata: { ...record(body['metadata']), creationTimestamp: null },
    ...(body['spec'] === undefined ? {} : { spec }),
    status,
  });
}

function boundPod(api: ApiContext, namespace: string, spec: MutableJson) {
  const ref = spec['boundObjectRef'];
  if (!isRecord(ref)) return {};
  const name = text(ref['name']);
  if (ref['kind'] !== 'Pod') {
    throw statusError(
      422,
      'Invalid',
      `TokenRequest is invalid: spec.boundObjectRef.kind: Unsupported value: "${text(ref['kind'])}": supported values: "Pod"`,
    );
  }
  const pod = api.store.get('v1/pods', namespace, name);
  if (!pod) throw notFound({ group: '', plural: 'pods' }, name);
  const uid = pod.metadata.uid ?? '';
  if (ref['uid'] && ref['uid'] !== uid) {
    throw statusError(
      409,
      'Conflict',
      `the UID in the bound object reference (${text(ref['uid'])}) does not match the UID in record (${uid})`,
    );
  }
  const nodeName = text(at(pod, 'spec', 'nodeName'));
  const node = nodeName ? api.store.get('v1/nodes', undefined, nodeName) : undefined;
  return {
    pod: { name, uid },
    ...(nodeName ? { node: { name: nodeName, uid: node?.metadata.uid ?? '' } } : {}),
  };
}

/** `POST …/serviceaccounts/NAME/token`. Throws 404 without the account. */
export async function sendToken(api: ApiContext, call: Call): Promise<void> {
  const body = await readReview(call, 'TokenRequest');
  const spec = record(body['spec']);
  const { namespace = '', name = '' } = call;
  const account = api.store.get('v1/serviceaccounts', namespace, name);
  if (!account) throw notFound(call.info, name);
  const asked = list(spec['audiences']).map(text);
  const audiences = asked.length > 0 ? asked : [apiAudience];
  const expirationSeconds = number(spec['expirationSeconds']) ?? 3600;
  if (expirationSeconds < 600) {
    throw statusError(
      422,
      'Invalid',
      'TokenRequest is invalid: spec.expirationSeconds: Invalid value: may not specify a duration less than 10 minutes',
    );
  }
  const { token, expiresAt } = await api.tokens.issue({
    namespace,
    serviceAccount: name,
    serviceAccountUid: account.metadata.uid ?? '',
    audiences,
    expirationSeconds,
    ...boundPod(api, namespace, spec),
  });
  sendJson(call.response, 201, {
    kind: 'TokenRequest',
    apiVersion: 'authentication.k8s.io/v1',
    metadata: { name, namespace, creationTimestamp: null },
    spec: { ...spec, audiences, expirationSeconds },
    status: { token, expirationTimestamp: expiresAt.toISOString().replace(/\.\d+Z$/, 'Z') },
  });
}
