// The two channels to the control plane: the mesh over delta xDS and certificates over the CA service.
// Roots and token are files, read anew for every channel and call, so that rotation needs no restart.
import { readFileSync } from 'node:fs';
import { type CaClient, grpcCaClient } from '../certs/index.ts';
import { type Clock, type Log, printFaults, type Random } from '../core/base/index.ts';
import type { Batch } from '../core/model/index.ts';
import { openControlPlane } from '../core/rpc/index.ts';
import type { Metrics } from '../core/telemetry/index.ts';
import { MeshFeed, readLocalConfig, type XdsHooks, xdsNode, XdsSource } from '../core/xds/index.ts';
import type { ZtunnelConfig } from './config.ts';

export interface Wire {
  readonly feed: MeshFeed;
  readonly ca: CaClient;
  stop(): void;
}

export function connectWire(
  config: ZtunnelConfig,
  deps: {
    readonly clock: Clock;
    readonly random: Random;
    readonly log: Log;
    readonly metrics: Metrics;
  },
): Wire {
  const feed = new MeshFeed(deps.log.child('xds'));
  const who = { tokenFile: config.authToken, clusterId: config.clusterId };
  const xds = new XdsSource({
    open: () =>
      openControlPlane({
        ...who,
        address: config.xdsAddress,
        roots: config.xdsRootCa,
        serverName: config.xdsServerName,
      }),
    node: xdsNode({ kind: 'ztunnel', ...config, more: { NODE_NAME: config.nodeName } }),
    feed,
    clock: deps.clock,
    random: deps.random,
    log: deps.log.child('xds'),
    hooks: countXds(deps.metrics),
  });
  const ca = grpcCaClient({
    open: () =>
      openControlPlane({
        ...who,
        address: config.caAddress,
        roots: config.caRootCa,
        serverName: config.caServerName,
      }),
    impersonate: true,
  });
  if (config.localXdsPath !== '') feed.apply(readLocalFile(config.localXdsPath));
  if (config.xdsAddress === '') feed.markSynced();
  else xds.start();
  return { feed, ca, stop: () => xds.stop() };
}

/** Throws one text that names every mistake. */
function readLocalFile(path: string): Batch {
  const read = readLocalConfig(readFileSync(path, 'utf8'));
  if (!read.ok) throw new Error(`LOCAL_XDS_PATH ${path}: ${printFaults(read.faults)}`);
  return read.value;
}

/** Istio's metrics of the stream (ztunnel-protocol.md 11.2). */
function countXds(metrics: Metrics): XdsHooks {
  const counter = (name: string, help: string, label: string) =>
    metrics.counter({ name: `istio_xds_${name}_total`, help, labels: [label] });
  const ends = counter('connection_terminations', 'xDS streams that ended', 'reason');
  const messages = counter('message', 'xDS responses received', 'url');
  const bytes = counter('message_bytes', 'Resource bytes received', 'url');
  return {
    terminated: (reason) => ends.add({ reason }),
    message: (url, size) => {
      messages.add({ url });
      bytes.add({ url }, size);
    },
  };
}
