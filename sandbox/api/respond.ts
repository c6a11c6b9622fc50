// Answers: JSON, `Status` objects, errors. Everything the API sends that is not a stream goes through here.
import type { ServerResponse } from 'node:http';
import { isStatusError, statusError } from '../store/index.ts';

export function sendText(
  response: ServerResponse,
  code: number,
  type: string,
  body: string | Buffer,
  warnings: readonly string[] = [],
): void {
  if (response.headersSent || response.destroyed) return;
  if (warnings.length > 0) response.setHeader('warning', warnings.slice(0, 20).map(printWarning));
  response.writeHead(code, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-cache, private',
  });
  response.end(body);
}

function printWarning(text: string): string {
  const clean = text.replaceAll(/[^\x20-\x7e]/g, '?').replaceAll(/["\\]/g, '\\$&');
  return `299 - "${clean.slice(0, 240)}"`;
}

/** `body` is an object, or JSON text as stored. */
export function sendJson(
  response: ServerResponse,
  code: number,
  body: object | string,
  warnings: readonly string[] = [],
): void {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  sendText(response, code, 'application/json', text, warnings);
}

export interface Status {
  readonly code: number;
  readonly reason: string;
  readonly message: string;
  readonly details?: unknown;
}

export function statusObject(status: Status): object {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', ...status };
}

/** The Status of any thrown value: what is not a refusal is a 500 that names no internals. */
export function statusOf(error: unknown): Status {
  if (isStatusError(error)) return error.status;
  return {
    code: 500,
    reason: 'InternalError',
    message: 'an error on the server has prevented the request from succeeding',
  };
}

export function sendStatus(response: ServerResponse, status: Status): void {
  sendJson(response, status.code, statusObject(status));
}

export function noSuchPath(): Error {
  return statusError(404, 'NotFound', 'the server could not find the requested resource', {});
}
