// A JSON Web Key Set as somebody serves it → what waypoints get (RFC 7517): public parts only, in one form, bounded.

const maxKeys = 100;
const members = ['kty', 'kid', 'alg', 'use', 'crv', 'x', 'y', 'n', 'e'];

function publicKey(k: unknown): Record<string, string> | undefined {
  if (typeof k !== 'object' || k === null || Array.isArray(k)) return undefined;
  const given = new Map(Object.entries(k));
  if (typeof given.get('kty') !== 'string') return undefined;
  const out: Record<string, string> = {};
  // A symmetric key is its secret.
  for (const name of given.get('kty') === 'oct' ? [...members, 'k'] : members) {
    const v: unknown = given.get(name);
    if (typeof v === 'string') out[name] = v;
  }
  return out;
}

/** Keys as text, or what is wrong with them; keys that cannot be read are left out. */
export function readKeySet(text: string): { readonly keys: string } | { readonly fault: string } {
  let all: unknown;
  try {
    const set = JSON.parse(text) as { keys?: unknown } | null;
    all = set?.keys;
  } catch {
    return { fault: 'it is no JSON' };
  }
  if (!Array.isArray(all)) return { fault: 'it has no list "keys"' };
  if (all.length > maxKeys) return { fault: `it has more than ${maxKeys} keys` };
  const keys = all.map(publicKey).filter((k) => k !== undefined);
  if (keys.length === 0) return { fault: 'it has no key that can be read' };
  return { keys: JSON.stringify({ keys }) };
}
