// Nodes that are kept closed to pods until the mesh works there: an operator gives new nodes the taint
// `cni.istio.io/not-ready`, and it is taken away when the node's agent and its proxy are ready. Pure.
import type { ClusterState } from './cluster-state.ts';
import type { NodeFacts, PodFacts } from './objects.ts';

export const notReadyTaint = 'cni.istio.io/not-ready';

export interface OpenNode {
  readonly name: string;
  /** Of the node as it was looked at: a write must not undo somebody else's. */
  readonly resourceVersion: string;
  /** What is left; other taints are others'. */
  readonly taints: readonly unknown[];
}

/** Ours, or Istio's own daemon. */
const isAgent = ({ labels }: PodFacts): boolean =>
  labels.get('app') === 'node-agent' || labels.get('k8s-app') === 'istio-cni-node';
/** It is ready when the agent has told it every pod of the node. */
const isProxy = ({ labels }: PodFacts): boolean => labels.get('app') === 'ztunnel';

const isNotReady = (taint: unknown): boolean =>
  (taint as { key?: unknown } | null)?.key === notReadyTaint;

/** Only pods of the mesh's own namespace count. */
export function nodesToOpen(cluster: ClusterState, namespace: string): OpenNode[] {
  const works = (node: NodeFacts): boolean => {
    const ready = cluster
      .podsOnNode(node.name)
      .filter((p) => p.namespace === namespace && p.ready && !p.deleting);
    return ready.some(isAgent) && ready.some(isProxy);
  };
  return [...cluster.nodes.all()]
    .filter((node) => node.taints.some(isNotReady) && works(node))
    .map(({ name, resourceVersion, taints }) => ({
      name,
      resourceVersion,
      taints: taints.filter((t) => !isNotReady(t)),
    }));
}
