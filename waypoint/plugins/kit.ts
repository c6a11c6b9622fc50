// For tests of a plugin with `node --test`: a request, an answer and a context to begin from, and the waypoint's own check of
// what a hook returns, so that a plugin that would be refused there is refused here.
import { type HookAnswer, readAnswer } from './answers.ts';
import type { Hook, PluginContext, PluginRequest, PluginResponse } from './contract.ts';

export const fakeRequest = (more: Partial<PluginRequest> = {}): PluginRequest => ({
  method: 'GET',
  path: '/',
  query: '',
  authority: 'web.shop.svc.cluster.local',
  headers: [],
  ...more,
});

export const fakeResponse = (more: Partial<PluginResponse> = {}): PluginResponse => ({
  status: 200,
  headers: [['content-type', 'text/plain']],
  ...more,
});

/** A call of account `client` in namespace `shop` to service `web`. */
export const fakeContext = (more: Partial<PluginContext> = {}): PluginContext => ({
  plugin: 'shop/test',
  source: {
    identity: 'spiffe://cluster.local/ns/shop/sa/client',
    namespace: 'shop',
    serviceAccount: 'client',
    workload: 'client-1',
    address: '10.244.0.7',
  },
  service: { namespace: 'shop', hostname: 'web.shop.svc.cluster.local', port: 80 },
  route: 'default',
  requestId: '00000000-0000-4000-8000-000000000000',
  authorizer: {},
  ...more,
});

/** What the waypoint would carry out; throws where it would refuse the answer. */
export async function checked(hook: Hook, answer: unknown): Promise<HookAnswer> {
  // As it goes between the processes.
  const text = JSON.stringify({ answer: await answer }) as string;
  const made = readAnswer(hook, (JSON.parse(text) as { answer?: unknown }).answer);
  if (typeof made === 'string') throw new Error(`${hook}: ${made}`);
  return made;
}
