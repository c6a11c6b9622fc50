// What every pod's proxy shares: configuration, the mesh, certificates, reports. Built once by app.ts.
import type { CertSource, Secured, TlsOptions } from '../certs/index.ts';
import type { Clock, IpAddress, Log, Random } from '../core/base/index.ts';
import type { HboneLimits } from '../core/hbone/index.ts';
import type { ChangeSet, MeshView, SpiffeId } from '../core/model/index.ts';
import type { Headroom } from '../core/runtime/index.ts';
import type { Duplex } from 'node:stream';
import type { ZtunnelConfig } from './config.ts';
import type { Connections } from './connections.ts';
import type { ResolvFile } from './dns/resolv-file.ts';
import type { Reports } from './report.ts';

/** The mesh as it changes: core/xds' MeshFeed, or a test's. */
export interface Feed {
  readonly view: MeshView;
  onChange(listener: (change: ChangeSet) => void): () => void;
  /** Resolves after the first complete synchronisation. */
  readonly synced: Promise<void>;
}

export interface ZtunnelContext {
  readonly config: ZtunnelConfig;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Scope `dns`. */
  readonly dnsLog: Log;
  readonly resolvConf: ResolvFile;
  readonly feed: Feed;
  readonly certs: CertSource;
  readonly tls: TlsOptions;
  readonly hbone: Partial<HboneLimits>;
  readonly reports: Reports;
  readonly connections: Connections;
  readonly headroom: Headroom;
  /** Server side of TLS for an identity: waits for its certificate. */
  readonly accept: (id: SpiffeId, stream: Duplex) => Promise<Secured>;
  /** Starts fetching a certificate without waiting for it. */
  readonly want: (id: SpiffeId) => void;
  /** Whether an address is that of a pod served here. */
  readonly serves: (ip: IpAddress) => boolean;
}

/**
 * Looks now and again at each change, for at most `ms`; `undefined` = still not there. For objects that
 * the control plane is expected to deliver any moment.
 */
export function waitFor<T>(
  feed: Feed,
  clock: Clock,
  ms: number,
  look: () => T | undefined,
): Promise<T | undefined> {
  const now = look();
  if (now !== undefined) return Promise.resolve(now);
  return new Promise((resolve) => {
    const finish = (value: T | undefined): void => {
      timer.cancel();
      stop();
      resolve(value);
    };
    const timer = clock.after(ms, () => finish(look()));
    const stop = feed.onChange(() => {
      const found = look();
      if (found !== undefined) finish(found);
    });
  });
}
