// URL path → what is asked for. Pure; knows paths, not resources.

export type Route =
  | { readonly do: 'health' }
  | { readonly do: 'version' }
  | { readonly do: 'api' }
  | { readonly do: 'groups' }
  | { readonly do: 'group'; readonly group: string }
  | { readonly do: 'resources'; readonly group: string; readonly version: string }
  | { readonly do: 'openapi'; readonly path: readonly string[] }
  | { readonly do: 'openid'; readonly what: 'configuration' | 'keys' }
  | ({ readonly do: 'resource' } & ResourcePath)
  | { readonly do: 'unknown' };

export interface ResourcePath {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly sub: string | undefined;
}

const namespaceSubresources = new Set(['status', 'finalize']);

function resource(group: string, version: string, rest: readonly string[]): Route {
  const base = { do: 'resource', group, version } as const;
  const [first, second, third, fourth, fifth] = rest;
  const inNamespace =
    first === 'namespaces' &&
    third !== undefined &&
    !(group === '' && namespaceSubresources.has(third));
  if (inNamespace && rest.length <= 5) {
    return { ...base, plural: third, namespace: second, name: fourth, sub: fifth };
  }
  if (!inNamespace && rest.length <= 3 && first !== undefined) {
    return { ...base, plural: first, namespace: undefined, name: second, sub: third };
  }
  return { do: 'unknown' };
}

/** `path` without query, e.g. `/apis/apps/v1/namespaces/x/deployments/y/scale`. */
export function parseRoute(path: string): Route {
  let parts: string[];
  try {
    parts = path.split('/').slice(1).map(decodeURIComponent);
  } catch {
    return { do: 'unknown' };
  }
  if (parts.at(-1) === '') parts.pop();
  if (parts.some((p) => p === '' || p.includes('/') || p.includes('\0'))) return { do: 'unknown' };
  const [first, second, third, ...rest] = parts;
  switch (first) {
    case 'healthz':
    case 'livez':
    case 'readyz':
      return { do: 'health' };
    case 'version':
      return { do: 'version' };
    case 'openapi':
      return { do: 'openapi', path: parts.slice(1) };
    case '.well-known':
      return { do: 'openid', what: 'configuration' };
    case 'openid':
      return { do: 'openid', what: 'keys' };
    case 'api':
      if (second === undefined) return { do: 'api' };
      if (third === undefined) return { do: 'resources', group: '', version: second };
      return resource('', second, [third, ...rest]);
    case 'apis':
      if (second === undefined) return { do: 'groups' };
      if (third === undefined) return { do: 'group', group: second };
      if (rest.length === 0) return { do: 'resources', group: second, version: third };
      return resource(second, third, rest);
    default:
      return { do: 'unknown' };
  }
}
