// Objects → messages: every check over one snapshot, in a stable order. Pure: no cluster is asked, nothing is
// changed, so the same analysis runs on a live mesh, on files, and on both together.
import { checkAnnotations } from './annotations.ts';
import { type Code, codes, codeUrl, type Level } from './codes.ts';
import { checkBackendTls } from './backend-tls.ts';
import { checkConditions, checkKinds } from './conditions.ts';
import { checkDestinationRules } from './destinations.ts';
import { checkServiceEntries } from './entries.ts';
import { checkPeerAuthentications } from './authentication.ts';
import { checkIdentities } from './identities.ts';
import { checkNamespaces } from './namespaces.ts';
import { checkPlugins } from './plugins.ts';
import { checkPolicies } from './policies.ts';
import { checkRoutes } from './routes.ts';
import { checkServices } from './services.ts';
import { type Loaded, namespaceOf, type Path, type Say, type Snapshot } from './snapshot.ts';
import { checkVirtualServices } from './virtual-services.ts';
import { checkWaypoints } from './waypoints.ts';
import { checkWorkloads } from './workloads.ts';

type Check = (s: Snapshot, say: Say) => void;

export interface Message {
  readonly code: Code;
  readonly name: string;
  readonly level: Level;
  /** `Service shop/web`, or `Namespace shop`. */
  readonly origin: string;
  readonly kind: string;
  /** Empty for objects of no namespace. */
  readonly namespace: string;
  readonly resource: string;
  /** `spec.rules[0].from[0]`. */
  readonly path: string;
  readonly message: string;
  readonly help: string;
  readonly documentationUrl: string;
  /** `file:line`; absent = from the cluster. */
  readonly reference?: string;
}

const checks: readonly Check[] = [
  checkNamespaces,
  checkWorkloads,
  checkServices,
  checkPolicies,
  checkIdentities,
  checkPeerAuthentications,
  checkPlugins,
  checkWaypoints,
  checkRoutes,
  checkBackendTls,
  checkVirtualServices,
  checkDestinationRules,
  checkServiceEntries,
  checkAnnotations,
  checkConditions,
  checkKinds,
];

export const levels: readonly Level[] = ['Error', 'Warning', 'Info'];

/** At least as grave as `limit`. */
export const reaches = (level: Level, limit: Level): boolean =>
  levels.indexOf(level) <= levels.indexOf(limit);

function printPath(path: Path): string {
  let out = '';
  for (const p of path) {
    if (typeof p === 'number') out += `[${p}]`;
    else if (/^\w+$/.test(p)) out += out === '' ? p : `.${p}`;
    else out += `[${p}]`;
  }
  return out;
}

function toMessage(l: Loaded, code: Code, path: Path, message: string): Message {
  const { object } = l;
  const namespace = namespaceOf(object);
  const kind = object.kind ?? '';
  const { name, level, help } = codes[code];
  const full = namespace === '' ? object.metadata.name : `${namespace}/${object.metadata.name}`;
  const line = l.line?.(path);
  const at = line === undefined ? '' : `:${line}`;
  return {
    code,
    name,
    level,
    origin: `${kind} ${full}`,
    kind,
    namespace,
    resource: object.metadata.name,
    path: printPath(path),
    message,
    help,
    documentationUrl: codeUrl(code),
    ...(l.file !== undefined && { reference: `${l.file}${at}` }),
  };
}

/** Gravest first, then by object, place and code. */
function order(a: Message, b: Message): number {
  const byLevel = levels.indexOf(a.level) - levels.indexOf(b.level);
  if (byLevel !== 0) return byLevel;
  const key = (m: Message): string => `${m.origin} ${m.path} ${m.code} ${m.message}`;
  return key(a) < key(b) ? -1 : 1;
}

/** Every message about the objects. */
export function analyze(s: Snapshot): Message[] {
  const out = new Map<string, Message>();
  const say: Say = (code, object, path, message) => {
    const m = toMessage(s.loaded(object), code, path, message);
    out.set(`${m.code} ${m.origin} ${m.path} ${m.message}`, m);
  };
  for (const check of checks) check(s, say);
  return [...out.values()].toSorted(order);
}

/** `IST0102=Namespace shop*`: whether a message is not to be shown. Throws with what is wrong with a rule. */
export function suppressor(rules: readonly string[]): (m: Message) => boolean {
  const read = rules.map((rule) => {
    const at = rule.indexOf('=');
    if (at <= 0) throw new Error(`"${rule}": a suppression is CODE=RESOURCE, with * for anything`);
    const [code, pattern] = [rule.slice(0, at), rule.slice(at + 1)];
    const parts = pattern.split('*');
    return { code, parts };
  });
  const fits = (parts: readonly string[], origin: string): boolean => {
    const [first = '', ...rest] = parts;
    if (!origin.startsWith(first)) return false;
    if (rest.length === 0) return origin === first;
    let at = first.length;
    for (const part of rest) {
      const found = origin.indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    return rest.at(-1) === '' || origin.endsWith(rest.at(-1) ?? '');
  };
  // Istio writes `Kind name.namespace` here; both ways are taken.
  return (m) =>
    read.some(
      (r) =>
        r.code === m.code &&
        (fits(r.parts, m.origin) || fits(r.parts, `${m.kind} ${m.resource}.${m.namespace}`)),
    );
}
