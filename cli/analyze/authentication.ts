// PeerAuthentications: modes that exist, one object for each level, callers that cannot do what is asked. Pure.
import type { KubeObject } from '../../core/kube/index.ts';
import { dict, type Dict, field, text } from '../../istiod-lite/index.ts';
import { namespaceOf, type Path, type Say, type Snapshot } from './snapshot.ts';

const modes = ['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'];

const selectorOf = (o: KubeObject): Dict => dict(field(o['spec'], 'selector', 'matchLabels'));
const modeOf = (o: KubeObject): string => text(field(o['spec'], 'mtls', 'mode')) || 'UNSET';

export function checkPeerAuthentications(s: Snapshot, say: Say): void {
  for (const o of s.of('PeerAuthentication')) {
    checkModes(o, say);
    checkPlace(s, o, say);
    checkSelected(s, o, say);
  }
  checkLevels(s, say);
}

function checkMode(o: KubeObject, path: Path, value: unknown, say: Say): void {
  if (value === undefined) return;
  const mode = text(value);
  if (!modes.includes(mode))
    say('IST0106', o, path, `${JSON.stringify(value)} is not one of ${modes.join(', ')}`);
  else if (mode === 'DISABLE') say('AMB0209', o, path, 'DISABLE is enforced as PERMISSIVE');
}

function portsOf(o: KubeObject): [string, unknown][] {
  const ports = field(o['spec'], 'portLevelMtls');
  return typeof ports === 'object' && ports !== null ? Object.entries(ports) : [];
}

function checkModes(o: KubeObject, say: Say): void {
  checkMode(o, ['spec', 'mtls', 'mode'], field(o['spec'], 'mtls', 'mode'), say);
  for (const [port, v] of portsOf(o)) {
    const path = ['spec', 'portLevelMtls', port];
    if (!/^\d+$/.test(port) || Number(port) < 1 || Number(port) > 65_535)
      say('IST0106', o, path, `"${port}" is no port`);
    checkMode(o, [...path, 'mode'], field(v, 'mode'), say);
  }
}

function checkPlace(s: Snapshot, o: KubeObject, say: Say): void {
  const selector = selectorOf(o);
  const { rootNamespace } = s.settings;
  if (selector.size > 0 && namespaceOf(o) === rootNamespace) {
    const text = `a selector in namespace ${rootNamespace} is not read: the object does nothing`;
    say('AMB0210', o, ['spec', 'selector'], text);
  }
  if (selector.size === 0 && portsOf(o).length > 0)
    say('AMB0210', o, ['spec', 'portLevelMtls'], 'portLevelMtls without a selector is not read');
}

function checkSelected(s: Snapshot, o: KubeObject, say: Say): void {
  const namespace = namespaceOf(o);
  const selector = selectorOf(o);
  if (selector.size > 0 && namespace === s.settings.rootNamespace) return;
  const picked = s.selected(namespace, selector).filter((w) => !s.isSystem(w.namespace));
  if (selector.size > 0 && picked.length === 0) {
    const labels = [...selector].map(([k, v]) => `${k}=${v}`).join(',');
    say('IST0127', o, ['spec', 'selector'], `no workload has the labels ${labels}`);
    return;
  }
  const strict =
    modeOf(o) === 'STRICT' || portsOf(o).some(([, v]) => text(field(v, 'mode')) === 'STRICT');
  if (!strict) return;
  const path: Path = ['spec', modeOf(o) === 'STRICT' ? 'mtls' : 'portLevelMtls'];
  const outside = (w: (typeof picked)[number]): boolean => !w.meshed && !w.owned;
  const unheld = namespace === s.settings.rootNamespace ? [] : picked.filter(outside);
  if (unheld.length > 0) {
    const why = `${unheld.length} of the workloads it selects are not in the mesh: ${names(unheld)}`;
    say('AMB0212', o, path, why);
  }
  if (!picked.some((w) => w.meshed)) return;
  const callers = s.workloads.filter((w) => outside(w) && !s.isSystem(w.namespace));
  if (callers.length === 0) return;
  const why = `${callers.length} workloads outside the mesh can only send plaintext, which is refused: ${names(callers)}`;
  say('AMB0211', o, path, why);
}

function names(all: readonly { readonly object: KubeObject }[]): string {
  const shown = all.slice(0, 3).map((w) => `${namespaceOf(w.object)}/${w.object.metadata.name}`);
  return all.length > 3 ? `${shown.join(', ')}, …` : shown.join(', ');
}

/** The oldest of a level wins, then the first by name. */
function checkLevels(s: Snapshot, say: Say): void {
  const levels = new Map<string, KubeObject[]>();
  for (const o of s.of('PeerAuthentication')) {
    const labels = [...selectorOf(o)].toSorted(([a], [b]) => (a < b ? -1 : 1));
    const key = `${namespaceOf(o)} ${JSON.stringify(labels)}`;
    levels.set(key, [...(levels.get(key) ?? []), o]);
  }
  const age = (o: KubeObject): string => `${o.metadata.creationTimestamp ?? ''} ${o.metadata.name}`;
  for (const same of levels.values()) {
    const [first, ...rest] = same.toSorted((a, b) => (age(a) < age(b) ? -1 : 1));
    for (const o of rest)
      say('AMB0208', o, ['spec'], `PeerAuthentication ${first?.metadata.name ?? ''} is older`);
  }
}
