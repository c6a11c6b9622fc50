// Plain HTTPS to the API server with the kubeconfig's credentials, for what needs no generated client.
import { Agent, request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import type { KubeConfig } from '@kubernetes/client-node';
import { KubeError } from './types.ts';

const requestLimitMs = 30_000;
const answerLimitBytes = 256 * 1024 * 1024;

export interface Rest {
  json(method: string, path: string, body?: unknown, contentType?: string): Promise<unknown>;
  stream(path: string): Promise<IncomingMessage>;
}

function readAll(response: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    response.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > answerLimitBytes) response.destroy(new Error('answer too large'));
      parts.push(chunk);
    });
    response.on('end', () => resolve(Buffer.concat(parts).toString('utf8')));
    response.on('error', reject);
  });
}

function toError(code: number, text: string): KubeError {
  try {
    const status = JSON.parse(text) as { reason?: string; message?: string };
    return new KubeError(code, status.reason ?? '', status.message ?? text);
  } catch {
    return new KubeError(code, '', text.slice(0, 500) || `the server answered ${code}`);
  }
}

function explain(server: string, error: NodeJS.ErrnoException): Error {
  return new KubeError(
    0,
    'Unreachable',
    `cannot reach the API server at ${server}: ${error.code ?? error.message}`,
  );
}

export function makeRest(config: KubeConfig, server: string): Rest {
  const agent = new Agent({ keepAlive: true, maxSockets: 32 });
  const open = async (
    method: string,
    path: string,
    payload: string | undefined,
    contentType: string,
    timeout: number,
    again = method === 'GET',
  ): Promise<IncomingMessage> => {
    const options: Parameters<KubeConfig['applyToHTTPSOptions']>[0] = {};
    await config.applyToHTTPSOptions(options);
    const { ca, cert, key, headers, rejectUnauthorized } = options as {
      ca?: Buffer;
      cert?: Buffer;
      key?: Buffer;
      headers?: Record<string, string>;
      rejectUnauthorized?: boolean;
    };
    return new Promise((resolve, reject) => {
      const request = httpsRequest(new URL(server + path), {
        method,
        agent,
        ...(ca && { ca }),
        ...(cert && { cert }),
        ...(key && { key }),
        ...(rejectUnauthorized !== undefined && { rejectUnauthorized }),
        headers: {
          ...headers,
          accept: 'application/json',
          ...(payload !== undefined && {
            'content-type': contentType,
            'content-length': Buffer.byteLength(payload),
          }),
        },
      });
      if (timeout > 0) {
        request.setTimeout(timeout, () => request.destroy(new Error('no answer in time')));
      }
      request.on('error', (error: NodeJS.ErrnoException) => {
        // An idle connection that the server had closed meanwhile, as when it restarts.
        if (again && request.reusedSocket && error.code === 'ECONNRESET') {
          open(method, path, payload, contentType, timeout, false).then(resolve, reject);
        } else reject(explain(server, error));
      });
      request.on('response', resolve);
      request.end(payload);
    });
  };
  return {
    async json(method, path, body, contentType = 'application/json') {
      const payload = body === undefined ? undefined : JSON.stringify(body);
      const response = await open(method, path, payload, contentType, requestLimitMs);
      const text = await readAll(response);
      const code = response.statusCode ?? 0;
      if (code < 200 || code > 299) throw toError(code, text);
      return text === '' ? {} : JSON.parse(text);
    },
    async stream(path) {
      const response = await open('GET', path, undefined, '', 0);
      const code = response.statusCode ?? 0;
      if (code < 200 || code > 299) throw toError(code, await readAll(response));
      return response;
    },
  };
}
