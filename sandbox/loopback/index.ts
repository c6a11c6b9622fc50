// Door of sandbox/loopback: the address block, and the capture of pods' own system calls.
export {
  apiAddress,
  apiPort,
  type Block,
  clusterAddress,
  firstFreeHost,
  hostAddress,
  inBlock,
  isClusterAddress,
  nextFree,
} from './addresses.ts';
export { type ClaimedBlock, claimBlock } from './block.ts';
export {
  type Capture,
  type Exit,
  type Launched,
  launchPlain,
  type LaunchSpec,
  type Means,
} from './capture.ts';
export { startCapture, type StartCaptureOptions } from './start.ts';
export type { CaptureView, Endpoint, PodView } from './decide.ts';
export { hostsText, type NamedService } from './hosts-text.ts';
export { Network } from './network.ts';
export { nodeDial, nodeSocket } from './node-sockets.ts';
export { type MeshFlags, namedServices, serviceEndpoints } from './view.ts';
