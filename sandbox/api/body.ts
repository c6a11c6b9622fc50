// Request bodies: bounded, then JSON, YAML or kubectl's protobuf by content type.
import type { IncomingMessage } from 'node:http';
import { parse as parseYaml } from 'yaml';
import { statusError } from '../store/index.ts';
import { checkKeys, parseJson } from './json.ts';
import { decodeProtobuf } from './protobuf.ts';

/** Kubernetes takes 3 MB; a bundle of CRDs is below 1 MB. */
const maxBodyBytes = 4 * 1024 * 1024;

/** The whole body. Throws 413 beyond 4 MB. */
export async function readBody(request: IncomingMessage): Promise<Buffer> {
  const tooLarge = () =>
    statusError(413, 'RequestEntityTooLarge', `the body is larger than ${maxBodyBytes} bytes`);
  if (Number(request.headers['content-length'] ?? 0) > maxBodyBytes) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  // Not destroyed on an early end: the refusal still has to go out on this connection.
  const parts = request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  for await (const chunk of parts) {
    size += chunk.length;
    if (size > maxBodyBytes) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Media type without parameters, lower case. */
export function mediaType(request: IncomingMessage): string {
  return (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}

function yaml(source: string): unknown {
  let value: unknown;
  try {
    value = parseYaml(source, { maxAliasCount: 50, schema: 'core' });
  } catch (error) {
    throw statusError(400, 'BadRequest', `the body is not YAML: ${(error as Error).message}`);
  }
  checkKeys(value);
  return value;
}

/** `kind` names what a protobuf body must hold, for the message when it cannot be read. Throws 400, 415. */
export function decodeBody(type: string, body: Buffer): unknown {
  if (type === 'application/vnd.kubernetes.protobuf') return decodeProtobuf(body);
  const source = body.toString('utf8');
  if (type === '' || type.endsWith('json')) return parseJson(source);
  if (type.endsWith('yaml'))
    return source.trimStart().startsWith('{') ? parseJson(source) : yaml(source);
  throw statusError(
    415,
    'UnsupportedMediaType',
    `the body of the request was in an unknown format (${type}): send JSON or YAML`,
  );
}
