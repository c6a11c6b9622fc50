// What every connection of this waypoint shares: configuration, the mesh, our services, the ways upstream.
// Built once by app.ts.
import type { Clock, Log, Random } from '../core/base/index.ts';
import type { MeshView, SpiffeId, Workload } from '../core/model/index.ts';
import type { Headroom } from '../core/runtime/index.ts';
import type { WaypointConfig } from './config.ts';
import type { SideCalls } from './http/side-call.ts';
import type { ServiceConfigs } from './l7/config-state.ts';
import type { PluginFiles, Plugins } from './plugins/index.ts';
import type { Reports } from './report.ts';
import type { OpenSockets } from './tunnel-socket.ts';
import type { Clusters } from './upstream/clusters.ts';
import type { Upstreams } from './upstream/upstreams.ts';

export interface WaypointContext {
  readonly config: WaypointConfig;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly view: MeshView;
  readonly services: ServiceConfigs;
  readonly identity: SpiffeId;
  /** Our own pod as the mesh knows it, or as we know ourselves. */
  self(): Workload;
  readonly upstreams: Upstreams;
  readonly clusters: Clusters;
  readonly sockets: OpenSockets;
  readonly reports: Reports;
  readonly sideCalls: SideCalls;
  readonly headroom: Headroom;
  readonly plugins: Plugins;
  /** Of every service. */
  readonly pluginFiles: PluginFiles;
  /** True once a stop was asked for: answers close their connections. */
  readonly draining: () => boolean;
}
