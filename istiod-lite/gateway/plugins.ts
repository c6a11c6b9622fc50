// ConfigMap `waypoint-plugins` → the plugins of waypoints (docs/security/plugins.md): a list in key `plugins.yaml`, a key for each file.
// A list that cannot be read changes nothing and is told; where none was read before, nobody knows whom it is about, and
// every service of the namespace that a waypoint serves fails closed. A plugin whose file is missing is sent without, so that it fails
// as its author said, and is told too. Pure.
import { parse } from 'yaml';
import type { KubeObject } from '../../core/kube/index.ts';
import type * as wire from '../../core/proto/index.ts';
import type { Draft } from '../../core/rpc/index.ts';
import {
  dict,
  field,
  list,
  type Meta,
  readMeta,
  readTargets,
  type ServiceFacts,
  text,
} from '../cluster/index.ts';
import type { World } from './binding.ts';
import { ms, unknownFields } from './hosts.ts';
import { pluginsFor, type TargetRef } from './targets.ts';

/** The name of the ConfigMap, in every namespace. */
export const pluginsConfigName = 'waypoint-plugins';

export interface PluginFacts {
  readonly name: string;
  readonly source: string;
  readonly timeoutMs: number;
  readonly failOpen: boolean;
  readonly targetRefs: readonly TargetRef[];
  /** For all services and Gateways of its namespace, of the root namespace for all. */
  readonly everywhere?: boolean;
}

export interface PluginSetFacts extends Meta {
  /** In the order in which requests meet them. */
  readonly plugins: readonly PluginFacts[];
  readonly faults: readonly string[];
}

const maxSource = 1 << 16;
const maxTimeoutMs = 10_000;
const maxPlugins = 16;
const known = ['name', 'file', 'targetRefs', 'timeout', 'failureMode'];

const heldText = 'what was read before holds';
/** Stands for plugins that nobody has read: without a file it fails, for everybody in its namespace. */
const unreadable: PluginFacts = {
  name: 'unreadable',
  source: '',
  timeoutMs: 0,
  failOpen: false,
  targetRefs: [],
  everywhere: true,
};

/** What cannot be told apart or is too much: without its file, so that it fails as its author said. */
const unusable = (p: PluginFacts, name: string): PluginFacts => ({ ...p, name, source: '' });

/** `nth` is its place in the list, from 1. */
function readPlugin(
  v: unknown,
  files: ReadonlyMap<string, string>,
  nth: number,
  faults: string[],
): PluginFacts {
  const given = text(field(v, 'name'));
  const isName = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(given);
  if (!isName) faults.push(`a name is no DNS label: ${given.slice(0, 60)}`);
  const name = isName ? given : `unusable-${nth}`;
  const say = (what: string): void => void faults.push(`${name}: ${what}`);
  const file = text(field(v, 'file')) || `${name}.ts`;
  const source = isName ? (files.get(file) ?? '') : '';
  if (isName && source === '') say(`key ${file.slice(0, 60)} is missing or empty`);
  else if (source.length > maxSource) say(`${file} is longer than ${maxSource}`);
  const timeout = text(field(v, 'timeout'));
  const timeoutMs = ms(timeout);
  if (timeout !== '' && (timeoutMs < 1 || timeoutMs > maxTimeoutMs)) {
    say('timeout is not 1ms to 10s: 20ms holds');
  }
  const mode = text(field(v, 'failureMode')) || 'Closed';
  if (mode !== 'Closed' && mode !== 'Open')
    say('failureMode is neither Open nor Closed: it fails closed');
  const targetRefs = readTargets(v);
  if (targetRefs.length === 0) say('targetRefs is missing: it is attached to nothing');
  for (const other of unknownFields(v, known)) say(`${other.slice(0, 60)} is not known`);
  return {
    name,
    source: source.length > maxSource ? '' : source,
    timeoutMs: timeoutMs > maxTimeoutMs ? 0 : timeoutMs,
    failOpen: mode === 'Open',
    targetRefs,
  };
}

/** `before` is what held until now. */
export function readPluginSet(o: KubeObject, before: PluginSetFacts | undefined): PluginSetFacts {
  const meta = readMeta(o.metadata);
  const files = dict(o['data']);
  let given: unknown;
  try {
    given = parse(files.get('plugins.yaml') ?? '', { maxAliasCount: 100 });
  } catch {
    given = undefined;
  }
  if (!Array.isArray(given)) {
    const what = 'key "plugins.yaml" is no list in YAML';
    if (before) return { ...meta, plugins: before.plugins, faults: [`${what}: ${heldText}`] };
    return { ...meta, plugins: [unreadable], faults: [`${what}: all requests are refused`] };
  }
  const faults: string[] = [];
  const all = list(given);
  const plugins: PluginFacts[] = [];
  for (const [i, v] of all.slice(0, maxPlugins).entries()) {
    const made = readPlugin(v, files, i + 1, faults);
    const again = plugins.some((p) => p.name === made.name);
    if (again) faults.push(`${made.name} is given twice`);
    plugins.push(again ? unusable(made, `unusable-${i + 1}`) : made);
  }
  const rest = all.slice(maxPlugins).map((v) => readPlugin(v, files, 0, []));
  const [first] = rest;
  if (first) {
    faults.push(`more than ${maxPlugins}: the rest is not run`);
    const closed = rest.filter((p) => !p.failOpen);
    const targetRefs = closed.flatMap((p) => p.targetRefs);
    plugins.push({ ...unusable(first, 'unusable-rest'), failOpen: false, targetRefs });
  }
  return { ...meta, plugins, faults };
}

/** As a waypoint gets them. */
export function pluginsOf(
  world: World,
  service: ServiceFacts | undefined,
  gateway: string,
): Draft<wire.L7Plugin>[] {
  return pluginsFor(world, service, gateway).map(({ namespace, plugin: p }) => ({
    name: `${namespace}/${p.name}`,
    source: p.source,
    timeoutMs: p.timeoutMs,
    failOpen: p.failOpen,
  }));
}
