// How a plugin is tested: its hooks called with a context made up here, its answers checked as a waypoint does.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checked, fakeContext, fakeRequest, fakeResponse } from '../../waypoint/plugins/index.ts';
import tenant from './tenant.ts';

const user = (claims: Record<string, unknown>) =>
  fakeContext({ user: { issuer: 'https://id.example', subject: 'eve', claims } });

describe('the sample plugin tenant', () => {
  test('a tenant gets in to what is theirs, and to nothing else of that kind', async () => {
    const ask = (path: string, context = user({ tenant: 'acme' })) =>
      checked('authorize', tenant.authorize(fakeRequest({ path }), context));
    assert.equal((await ask('/tenants/acme/orders')).kind, 'allow');
    assert.equal((await ask('/health')).kind, 'allow');
    const refused = await ask('/tenants/other');
    assert.deepEqual(refused.kind === 'reply' && refused.reply.status, 403);
    assert.equal((await ask('/tenants/acme', fakeContext())).kind, 'reply');
    assert.equal((await ask('/tenants/acme', user({ tenant: ['acme'] }))).kind, 'reply');
  });

  test('the application hears of the tenant from the token alone', async () => {
    const request = fakeRequest({ headers: [['x-tenant', 'other']] });
    const known = await checked('onRequest', tenant.onRequest(request, user({ tenant: 'acme' })));
    assert.deepEqual(known, { kind: 'edits', edits: { set: [['x-tenant', 'acme']], remove: [] } });
    const unknown = await checked('onRequest', tenant.onRequest(request, fakeContext()));
    assert.deepEqual(unknown, { kind: 'edits', edits: { set: [], remove: ['x-tenant'] } });
  });

  test('answers tell the route', async () => {
    const args = [fakeResponse(), fakeRequest(), fakeContext({ route: 'canary' })] as const;
    const made = await checked('onResponse', tenant.onResponse(...args));
    assert.deepEqual(made, {
      kind: 'edits',
      edits: { set: [['x-served-by', 'canary']], remove: [] },
    });
  });

  test('the check refuses what a waypoint would', async () => {
    await assert.rejects(checked('onRequest', { set: { 'x-a': 'b\r\nhost: c' } }), /value of x-a/);
    await assert.rejects(checked('authorize', 'yes'), /no object/);
  });
});
