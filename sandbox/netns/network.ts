// Driver `netns`: every pod a named network namespace in /run/netns, routed by a node's namespace; names
// by the cluster's own DNS server on the hub (/etc/netns/NAME/resolv.conf, which `ip netns exec` puts in
// place), cluster IPs by
// nftables on each node. The host's own network is not touched.
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import type { Clock, Log } from '../../core/base/index.ts';
import { parseIp } from '../../core/base/index.ts';
import {
  inNamespace,
  listenInside,
  openNamespace,
  type NamespaceFd,
  runIp,
  runNft,
  socketInside,
} from '../../core/linux/index.ts';
import type { AddressPlan } from '../addresses.ts';
import type { Store } from '../contract.ts';
import {
  apiPort,
  hostsText,
  type Launched,
  launchPlain,
  type LaunchSpec,
} from '../loopback/index.ts';
import {
  as,
  type EndpointSlice,
  isTerminal,
  keys,
  nodeName,
  type Pod,
  type Service,
} from '../objects.ts';
import { ClusterDns } from './cluster-dns.ts';
import { removeNamespaces } from './leftovers.ts';
import { clusterNames, resolvConf } from './names-plan.ts';
import {
  hubLines,
  hubName,
  insideLines,
  nodeLines,
  nodeNamespace,
  podLines,
  podNamespace,
  serviceRules,
} from './plan.ts';

export interface NetnsOptions {
  readonly store: Store;
  readonly addresses: AddressPlan;
  /** Links to pods' namespaces, named by uid. */
  readonly recordsDir: string;
  readonly clock: Clock;
  readonly log: Log;
}

interface Place {
  readonly namespace: string;
  readonly pod: Pod;
}

const etc = '/etc/netns';
const runDir = '/run/netns';
const connectMs = 5_000;

export class NetnsNetwork {
  readonly #options: NetnsOptions;
  readonly #nodes = new Map<string, NamespaceFd>();
  readonly #byIp = new Map<string, string>(); // address → namespace
  readonly #pods = new Map<string, Place>(); // by uid
  readonly #making = new Map<string, Promise<void>>();
  #dns: ClusterDns | undefined;
  #unwatch: (() => void)[] = [];
  #scheduled: NodeJS.Immediate | undefined;
  #rules = '';
  #order: Promise<void> = Promise.resolve();
  #waiters: (() => void)[] = [];

  constructor(options: NetnsOptions) {
    this.#options = options;
  }

  /** Makes hub and nodes; returns the API's second listening socket, inside the hub. */
  async start(): Promise<{ readonly apiFd: number }> {
    const { addresses, recordsDir, store } = this.#options;
    const { block, nodes } = addresses;
    fs.rmSync(recordsDir, { recursive: true, force: true });
    fs.mkdirSync(recordsDir, { recursive: true, mode: 0o700 });
    const names = [hubName(block), ...nodes.map((n) => nodeNamespace(block, n.name))];
    await runIp(names.map((name) => `netns add ${name}`));
    const hub = openNamespace(path.join(runDir, hubName(block)));
    try {
      this.#useIpv6(hub);
      await runIp(hubLines(addresses), hub);
      for (const node of nodes) {
        const namespace = nodeNamespace(block, node.name);
        const fd = openNamespace(path.join(runDir, namespace));
        this.#nodes.set(node.name, fd);
        this.#byIp.set(node.ip, namespace);
        inNamespace(fd, () => fs.writeFileSync('/proc/sys/net/ipv4/ip_forward', '1'));
        this.#useIpv6(fd, true);
        await runIp(nodeLines(addresses, node), fd);
      }
      const api = parseIp(addresses.api);
      if (!api) throw new Error('no address for the API');
      const at = { ip: api, port: apiPort };
      this.#dns = await ClusterDns.start(hub, api, this.#options.clock);
      for (const node of nodes) this.#writeEtc(nodeNamespace(block, node.name), node.name, node.ip);
      const how = { mark: 0, reusePort: false, backlog: 512, transparent: 'no' } as const;
      const { fd: apiFd } = listenInside(hub, { at, ...how });
      this.#unwatch = [keys.pods, keys.services, keys.endpointSlices].map((resource) =>
        store.watch(resource, (event) => {
          if (resource === keys.pods && event.type === 'DELETED') {
            void this.#remove(event.object.metadata.uid ?? '');
          }
          this.#schedule();
        }),
      );
      this.#schedule();
      return { apiFd };
    } finally {
      fs.closeSync(hub);
    }
  }

  async stop(): Promise<void> {
    for (const off of this.#unwatch) off();
    this.#dns?.stop();
    if (this.#scheduled) clearImmediate(this.#scheduled);
    await Promise.allSettled([...this.#making.values(), this.#order]);
    for (const fd of this.#nodes.values()) fs.closeSync(fd);
    this.#nodes.clear();
    await removeNamespaces(this.#options.addresses.block);
    fs.rmSync(this.#options.recordsDir, { recursive: true, force: true });
  }

  /** The pod's namespace, with its link, names and the services of now; made once. */
  async prepare(pod: Pod): Promise<void> {
    const uid = pod.metadata.uid ?? '';
    const making = this.#making.get(uid) ?? this.#make(pod);
    this.#making.set(uid, making);
    await making;
    await this.#settled();
  }

  /** Runs a process in the namespace that has the address. */
  launch(spec: LaunchSpec): Promise<Launched> {
    const namespace = this.#byIp.get(spec.ip);
    if (namespace === undefined) return Promise.reject(new Error('the pod has no network yet'));
    const args = ['netns', 'exec', namespace, spec.file, ...spec.args];
    return launchPlain({ ...spec, file: 'ip', args });
  }

  /** From the pod's own localhost, as the kubelet does for port-forward. */
  async dial(pod: Pod, port: number): Promise<Duplex> {
    const ip = pod.status?.podIP ?? '';
    const namespace = this.#byIp.get(ip);
    if (namespace === undefined) throw new Error('the pod has no network yet');
    const fd = openNamespace(path.join(runDir, namespace));
    try {
      let refusal: unknown;
      for (const host of ['127.0.0.1', ip]) {
        try {
          return await connected(openSocket(fd, host, port));
        } catch (error) {
          refusal = error;
        }
      }
      throw refusal;
    } finally {
      fs.closeSync(fd);
    }
  }

  /** A probe's connection, from the pod's node. */
  probeSocket(pod: Pod, host: string, port: number): net.Socket {
    const fd = this.#nodes.get(pod.spec.nodeName ?? nodeName);
    if (fd === undefined) throw new Error('the node has no network');
    return openSocket(fd, host, port);
  }

  async #make(pod: Pod): Promise<void> {
    const { addresses, recordsDir } = this.#options;
    const { name, uid = '' } = pod.metadata;
    const ip = pod.status?.podIP ?? '';
    const node = pod.spec.nodeName ?? nodeName;
    const fd = this.#nodes.get(node);
    if (fd === undefined) throw new Error(`node ${node} has no network`);
    if (pod.spec.hostNetwork === true) return;
    const namespace = podNamespace(addresses.block, name, uid);
    await runIp([`netns add ${namespace}`]);
    const inside = openNamespace(path.join(runDir, namespace));
    this.#useIpv6(inside);
    try {
      await runIp(podLines(addresses, { node, namespace, ip, uid }), fd);
      await runIp(insideLines(addresses, { node, ip }), inside);
    } finally {
      fs.closeSync(inside);
    }
    this.#writeEtc(namespace, pod.spec.hostname ?? name, ip, pod.metadata.namespace ?? '');
    this.#pods.set(uid, { namespace, pod });
    this.#byIp.set(ip, namespace);
    fs.symlinkSync(path.join(runDir, namespace), path.join(recordsDir, uid));
  }

  /** Before the links are made: no waiting for doubles of addresses that have none. */
  #useIpv6(ns: NamespaceFd, forward = false): void {
    const { addresses } = this.#options;
    if (addresses.six(addresses.api) === undefined) return;
    inNamespace(ns, () => {
      for (const where of ['all', 'default']) {
        const set = (name: string, value: string): void =>
          fs.writeFileSync(`/proc/sys/net/ipv6/conf/${where}/${name}`, value);
        set('disable_ipv6', '0');
        set('accept_dad', '0');
        if (forward) set('forwarding', '1');
      }
    });
  }

  async #remove(uid: string): Promise<void> {
    await this.#making.get(uid)?.catch(() => {});
    this.#making.delete(uid);
    const place = this.#pods.get(uid);
    if (!place) return;
    const { recordsDir, log } = this.#options;
    this.#pods.delete(uid);
    const ip = place.pod.status?.podIP ?? '';
    if (this.#byIp.get(ip) === place.namespace) this.#byIp.delete(ip);
    fs.rmSync(path.join(recordsDir, uid), { force: true });
    fs.rmSync(path.join(etc, place.namespace), { recursive: true, force: true });
    await runIp([`netns del ${place.namespace}`]).catch((error: unknown) =>
      log.warn('a namespace was not removed', { error: String(error) }),
    );
  }

  #settled(): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.#waiters.push(done.resolve);
    this.#schedule();
    return done.promise;
  }

  /** Changes are gathered for one turn of the loop, and applied one after the other. */
  #schedule(): void {
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = undefined;
      const waiters = this.#waiters;
      this.#waiters = [];
      this.#order = this.#order
        .then(() => this.#apply())
        .catch((error: unknown) => {
          this.#options.log.error('services were not applied', { error: String(error) });
        })
        .finally(() => {
          for (const done of waiters) done();
        });
    });
  }

  async #apply(): Promise<void> {
    const { store, addresses } = this.#options;
    const services = store.list(keys.services).items.map(as<Service>);
    const slices = store.list(keys.endpointSlices).items.map(as<EndpointSlice>);
    const pods = [...this.#pods.values()].map(({ pod }) => pod).filter((p) => !isTerminal(p));
    if (this.#dns) this.#dns.names = clusterNames({ services, slices, pods });
    const rules = serviceRules(services, slices, addresses);
    if (rules === this.#rules) return;
    await Promise.all([...this.#nodes.values()].map((fd) => runNft(rules, fd)));
    this.#rules = rules;
  }

  /** What `ip netns exec` binds over the files of /etc for the processes it starts. */
  #writeEtc(name: string, hostname: string, ip: string, namespace?: string): void {
    const folder = path.join(etc, name);
    fs.mkdirSync(folder, { recursive: true });
    const hosts = hostsText({ ip, hostname, namespace: '' }, []);
    fs.writeFileSync(path.join(folder, 'hosts'), hosts);
    const resolv = resolvConf(this.#options.addresses.api, namespace);
    fs.writeFileSync(path.join(folder, 'resolv.conf'), resolv);
  }
}

function openSocket(ns: NamespaceFd, host: string, port: number): net.Socket {
  const ip = parseIp(host);
  if (!ip) throw new Error(`${host} is no address`);
  const fd = socketInside(ns, { to: ip, mark: 0 });
  return new net.Socket({ fd, allowHalfOpen: true }).connect(port, host);
}

function connected(socket: net.Socket): Promise<net.Socket> {
  return new Promise((done, fail) => {
    socket.setTimeout(connectMs, () => socket.destroy(new Error('it does not answer')));
    socket.once('error', fail);
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.on('error', () => {});
      done(socket);
    });
  });
}
