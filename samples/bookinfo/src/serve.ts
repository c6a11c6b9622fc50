// What the four sample services share: a small HTTP server on port 9080, and calls to one another over
// fresh connections, so that each call shows how traffic travels at that moment.
import { createServer, get } from 'node:http';

const port = Number(process.env['PORT'] ?? '9080');

export const podName = process.env['POD_NAME'] ?? 'local';
export const version = process.env['SERVICE_VERSION'] ?? 'v1';

export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

export const json = (value: unknown, status = 200): Answer => ({
  status,
  type: 'application/json',
  body: JSON.stringify(value),
});

export const html = (body: string, status = 200): Answer => ({
  status,
  type: 'text/html; charset=utf-8',
  body,
});

/** Serves until SIGTERM; `handle` gets the path without its query. */
export function serve(name: string, handle: (path: string) => Promise<Answer> | Answer): void {
  const server = createServer((request, response) => {
    const path = (request.url ?? '/').split('?', 1)[0] ?? '/';
    const send = ({ status, type, body }: Answer): void => {
      response.writeHead(status, {
        'content-type': type,
        'content-length': Buffer.byteLength(body),
      });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    if (path === '/health') return send(json({ status: `${name} is healthy` }));
    Promise.resolve(handle(path)).then(send, (error: unknown) => {
      send(json({ error: error instanceof Error ? error.message : 'failed' }, 500));
    });
  });
  server.listen(port, () => process.stdout.write(`${name} ${version} listens on ${port}\n`));
  process.on('SIGTERM', () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
    setTimeout(() => process.exit(0), 2_000).unref();
  });
}

/** GET of another service: its JSON, or `undefined` if it cannot be had within 3 s. */
export function fetchJson(url: string): Promise<unknown> {
  return new Promise((resolve) => {
    const request = get(url, { agent: false, timeout: 3_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        text += part;
      });
      response.on('error', () => resolve(undefined));
      response.on('end', () => {
        try {
          resolve(response.statusCode === 200 ? JSON.parse(text) : undefined);
        } catch {
          resolve(undefined);
        }
      });
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(undefined));
  });
}
