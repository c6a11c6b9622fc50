// ConfigMaps of waypoint plugins: what of them the control plane would not take. Pure.
import { pluginsConfigName, readPluginSet } from '../../istiod-lite/index.ts';
import type { Say, Snapshot } from './snapshot.ts';

export function checkPlugins(s: Snapshot, say: Say): void {
  for (const o of s.of('ConfigMap')) {
    if (o.metadata.name !== pluginsConfigName) continue;
    for (const fault of readPluginSet(o, undefined).faults)
      say('AMB0215', o, ['data', 'plugins.yaml'], fault);
  }
}
