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
  type LaunchSpec,
  type Means,
  startSeccompCapture,
} from './capture.ts';
export type { CaptureView, Endpoint, PodView } from './decide.ts';
export { hostsText, type NamedService } from './hosts-text.ts';
