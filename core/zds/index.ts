// Door of core/zds: how a node agent and ztunnel talk: framing, both transports, the agent's end.
export { FrameReader, frame } from './frames.ts';
export {
  type Link,
  listenPackets,
  listenStream,
  openPackets,
  openStream,
  type OpenLink,
} from './link.ts';
export { type ZdsPod, ZdsServer } from './server.ts';
