// Door of sandbox/kubelet: pods as processes.
export { zdsSocket } from './base-env.ts';
export { isHost, Kubelet, type KubeletOptions } from './kubelet.ts';
