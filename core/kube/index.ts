// Door of core/kube: the one way to a Kubernetes API server.
export { connectKube, type KubeOptions } from './client.ts';
export { type LabelRequirement, matchesLabels, readLabelSelector } from './selector.ts';
export {
  type KubeClient,
  KubeError,
  type KubeExec,
  type KubeList,
  type KubeMeta,
  type KubeObject,
  type PatchOptions,
  type Resource,
  resourcePath,
  resources,
  type WatchHandlers,
} from './types.ts';
