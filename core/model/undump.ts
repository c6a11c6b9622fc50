// A policy of a config dump back into the model, so that tools judge with the very functions of the data
// plane (dump.ts is the way there). Pure; unknown shapes are faults, never a policy that matches less.
import { bad, type Cidr, type Fault, ok, parseCidr, type Result } from '../base/index.ts';
import { policyKey } from './keys.ts';
import type { Clause, Match, Pair, Policy, ServiceAccountMatch, StringMatch } from './policy.ts';

type Json = Readonly<Record<string, unknown>>;

const isObject = (v: unknown): v is Json =>
  typeof v === 'object' && v !== null && !Array.isArray(v);

function readString(v: unknown): StringMatch | undefined {
  if (!isObject(v)) return undefined;
  if (v['Presence'] !== undefined) return { kind: 'presence' };
  for (const kind of ['exact', 'prefix', 'suffix'] as const) {
    const text = v[kind.charAt(0).toUpperCase() + kind.slice(1)];
    if (typeof text === 'string') return { kind, text };
  }
  return undefined;
}

const readCidr = (v: unknown): Cidr | undefined =>
  typeof v === 'string' ? parseCidr(v) : undefined;
const readPort = (v: unknown): number | undefined => (typeof v === 'number' ? v : undefined);

function readAccount(v: unknown): ServiceAccountMatch | undefined {
  if (!isObject(v)) return undefined;
  const { namespace, serviceAccount } = v;
  return typeof namespace === 'string' && typeof serviceAccount === 'string'
    ? { namespace, serviceAccount }
    : undefined;
}

function readPair<T>(
  m: Json,
  name: string,
  read: (v: unknown) => T | undefined,
  faults: Fault[],
): Pair<T> {
  const take = (key: string): T[] => {
    const values = m[key] ?? [];
    if (!Array.isArray(values)) {
      faults.push({ path: key, message: 'must be a list' });
      return [];
    }
    return values.flatMap((v) => {
      const one = read(v);
      if (one === undefined) faults.push({ path: key, message: 'not understood' });
      return one === undefined ? [] : [one];
    });
  };
  return { any: take(name), none: take(`not${name.charAt(0).toUpperCase()}${name.slice(1)}`) };
}

function readMatch(v: unknown, faults: Fault[]): Match {
  const m = isObject(v) ? v : {};
  if (!isObject(v)) faults.push({ path: 'rules', message: 'a match must be an object' });
  return {
    namespaces: readPair(m, 'namespaces', readString, faults),
    principals: readPair(m, 'principals', readString, faults),
    serviceAccounts: readPair(m, 'serviceAccounts', readAccount, faults),
    sourceIps: readPair(m, 'sourceIps', readCidr, faults),
    destinationIps: readPair(m, 'destinationIps', readCidr, faults),
    destinationPorts: readPair(m, 'destinationPorts', readPort, faults),
  };
}

const list = (v: unknown): readonly unknown[] => (Array.isArray(v) ? v : []);

export function readPolicyDump(v: unknown): Result<Policy> {
  const faults: Fault[] = [];
  const p = isObject(v) ? v : {};
  const { name, namespace, scope, action } = p;
  if (typeof name !== 'string' || typeof namespace !== 'string') {
    return bad({ path: 'name', message: 'a policy needs name and namespace' });
  }
  const scopes = ['Global', 'Namespace', 'WorkloadSelector'] as const;
  const knownScope = scopes.find((s) => s === scope);
  if (!knownScope) return bad({ path: 'scope', message: 'not understood' });
  if (action !== 'Allow' && action !== 'Deny')
    return bad({ path: 'action', message: 'not understood' });
  const rules = list(p['rules']).map((r) =>
    list(r).map((c): Clause => list(c).map((m) => readMatch(m, faults))),
  );
  const policy: Policy = {
    key: policyKey(namespace, name),
    name,
    namespace,
    scope: knownScope,
    action,
    dryRun: p['dryRun'] === true,
    rules,
  };
  return faults.length > 0 ? bad(...faults) : ok(policy);
}
