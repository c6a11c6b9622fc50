// A plugin for a waypoint: requests belong to a tenant, who is told by the end user's token. Without one there is no way in to
// /tenants; applications hear of the tenant in a header that callers cannot set; answers tell which route served them.
import type { Plugin, PluginContext } from '../../waypoint/plugins/index.ts';

const header = 'x-tenant';

function tenantOf(context: PluginContext): string | undefined {
  const tenant = context.user?.claims['tenant'];
  return typeof tenant === 'string' && /^[a-z0-9-]{1,40}$/.test(tenant) ? tenant : undefined;
}

export default {
  authorize(request, context) {
    const asked = /^\/tenants\/([^/]+)/.exec(request.path)?.[1];
    if (asked === undefined || asked === tenantOf(context)) return { allow: true };
    return { allow: false, status: 403, body: 'not your tenant' };
  },
  onRequest(_request, context) {
    const tenant = tenantOf(context);
    return tenant === undefined ? { remove: [header] } : { set: { [header]: tenant } };
  },
  onResponse(_response, _request, context) {
    return { set: { 'x-served-by': context.route } };
  },
} satisfies Plugin;
