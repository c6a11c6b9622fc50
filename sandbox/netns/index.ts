// Door of sandbox/netns: pods as network namespaces.
export { admitted, isEnrolled } from './admission.ts';
export { blocksInUse, removeNamespaces } from './leftovers.ts';
export { NetnsNetwork, type NetnsOptions } from './network.ts';
