// kubectl 1.32 and newer sends the objects it builds itself as protobuf (`create ns|sa|cm|secret|deployment`,
// `create token`, `auth can-i`): `k8s\0`, then an envelope that names the kind. Decoded into the same plain
// values as JSON.
import { decode, type MessageName } from '../../core/rpc/index.ts';
import { statusError } from '../store/index.ts';
import { isRecord, type MutableJson, record } from './json.ts';

const magic = Buffer.from('k8s\0', 'latin1');

const messages: Readonly<Record<string, MessageName>> = {
  'v1/Namespace': 'Kube.Namespace',
  'v1/ConfigMap': 'Kube.ConfigMap',
  'v1/Secret': 'Kube.Secret',
  'v1/ServiceAccount': 'Kube.ServiceAccount',
  'apps/v1/Deployment': 'Kube.Deployment',
  'authentication.k8s.io/v1/TokenRequest': 'Kube.TokenRequest',
  'authentication.k8s.io/v1/SelfSubjectReview': 'Kube.SelfSubjectReview',
  'authorization.k8s.io/v1/SelfSubjectAccessReview': 'Kube.SelfSubjectAccessReview',
  'authorization.k8s.io/v1/SelfSubjectRulesReview': 'Kube.SelfSubjectRulesReview',
};

const integers = new Set(['expirationSeconds', 'gracePeriodSeconds']);

/** protobufjs prints 64-bit integers as text. */
function plain(message: object): MutableJson {
  const revive = (key: string, value: unknown) =>
    integers.has(key) && typeof value === 'string' ? Number(value) : value;
  const value: unknown = JSON.parse(JSON.stringify(message), revive);
  return record(value);
}

function read(name: MessageName, bytes: Uint8Array): MutableJson {
  try {
    return plain(decode(name, bytes));
  } catch (error) {
    throw statusError(
      400,
      'BadRequest',
      `the protobuf body cannot be read: ${(error as Error).message}`,
    );
  }
}

/** Throws 400 on malformed bytes, 415 on a kind that is only read as JSON. */
export function decodeProtobuf(body: Buffer): unknown {
  if (!body.subarray(0, 4).equals(magic)) {
    throw statusError(400, 'BadRequest', 'the protobuf body does not start as Kubernetes says');
  }
  const envelope = envelopeOf(body.subarray(4));
  const { apiVersion, kind } = envelope;
  if (kind === 'DeleteOptions') return read('Kube.DeleteOptions', envelope.raw);
  const key = `${apiVersion}/${kind}`;
  const name = Object.hasOwn(messages, key) ? messages[key] : undefined;
  if (name === undefined) {
    throw statusError(
      415,
      'UnsupportedMediaType',
      `a ${kind} is read as JSON or YAML only: use kubectl create -f, or kubectl create --dry-run=client -o yaml | kubectl apply -f -`,
    );
  }
  const value = read(name, envelope.raw);
  const metadata = isRecord(value['metadata']) ? value['metadata'] : {};
  return { apiVersion, kind, ...value, metadata };
}

function envelopeOf(bytes: Uint8Array): { apiVersion: string; kind: string; raw: Uint8Array } {
  try {
    const { typeMeta, raw } = decode('Kube.Unknown', bytes);
    return { apiVersion: typeMeta?.apiVersion ?? '', kind: typeMeta?.kind ?? '', raw };
  } catch (error) {
    throw statusError(
      400,
      'BadRequest',
      `the protobuf body cannot be read: ${(error as Error).message}`,
    );
  }
}
