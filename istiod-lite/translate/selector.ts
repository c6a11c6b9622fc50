// Label selectors (matchLabels only, as Istio's).
import type { Dict } from '../cluster/index.ts';

/** Every pair is on the labels; an empty selector matches everything. */
export function selects(selector: Dict, labels: Dict): boolean {
  for (const [k, v] of selector) if (labels.get(k) !== v) return false;
  return true;
}
