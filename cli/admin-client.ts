// HTTP to a port of a pod, through the API server's port-forward: how the CLI reads admin ports.
import { type IncomingMessage, request as httpRequest } from 'node:http';
import type { Duplex } from 'node:stream';
import type { KubeClient } from '../core/kube/index.ts';
import { CliError } from './errors.ts';

export interface PodRef {
  readonly namespace: string;
  readonly name: string;
}

export interface PodAnswer {
  readonly status: number;
  readonly body: string;
}

const limitMs = 20_000;

function readText(response: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    response.setEncoding('utf8');
    response.on('data', (part: string) => {
      text += part;
    });
    response.on('end', () => resolve(text));
    response.on('error', reject);
  });
}

/** Throws CliError naming pod and port if it cannot be reached. */
export async function callPod(
  kube: KubeClient,
  pod: PodRef,
  port: number,
  method: string,
  path: string,
  body?: unknown,
): Promise<PodAnswer> {
  const where = `${pod.name}.${pod.namespace}:${port}`;
  let stream: Duplex;
  try {
    stream = await kube.dialPod(pod.namespace, pod.name, port);
  } catch (error) {
    throw new CliError(
      `cannot reach ${where}: ${error instanceof Error ? error.message : 'failed'}`,
    );
  }
  const payload = body === undefined ? undefined : JSON.stringify(body);
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<PodAnswer>((resolve, reject) => {
      const request = httpRequest({
        method,
        path,
        createConnection: () => stream,
        headers: {
          host: `localhost:${port}`,
          connection: 'close',
          ...(payload !== undefined && {
            'content-type': 'application/json',
            'content-length': Buffer.byteLength(payload),
          }),
        },
      });
      // A timer of our own: a port-forwarded stream is no socket and has no setTimeout.
      timer = setTimeout(() => request.destroy(new Error('no answer in time')), limitMs);
      request.on('error', reject);
      request.on('response', (response) => {
        readText(response).then(
          (text) => resolve({ status: response.statusCode ?? 0, body: text }),
          reject,
        );
      });
      request.end(payload);
    });
  } catch (error) {
    throw new CliError(
      `cannot reach ${where}: ${error instanceof Error ? error.message : 'failed'}`,
    );
  } finally {
    clearTimeout(timer);
    stream.destroy();
  }
}

/** A JSON answer with status 200, or a CliError with what the pod said. */
export async function callPodJson(
  kube: KubeClient,
  pod: PodRef,
  port: number,
  method: string,
  path: string,
  body?: unknown,
): Promise<unknown> {
  const answer = await callPod(kube, pod, port, method, path, body);
  if (answer.status !== 200) {
    throw new CliError(
      `${pod.name}.${pod.namespace}: ${method} ${path} answered ${answer.status}: ${answer.body.trim()}`,
    );
  }
  try {
    return JSON.parse(answer.body);
  } catch {
    throw new CliError(`${pod.name}.${pod.namespace}: ${path} did not answer with JSON`);
  }
}
