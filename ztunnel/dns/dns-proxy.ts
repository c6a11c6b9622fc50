// One pod's DNS on 15053: questions that its own programs sent to their name server are answered from the
// mesh or asked of the name servers, from inside the pod (ztunnel-protocol.md 10).
import type { Socket as UdpSocket } from 'node:dgram';
import type { Socket } from 'node:net';
import { fromUnknown, type IpAddress, type IpPort, printable } from '../../core/base/index.ts';
import {
  answerLimit,
  askUpstream,
  DnsCache,
  type DnsProtocol,
  type DnsQuery,
  rcodes,
  readAnswer,
  readQuery,
  refuseQuery,
  type ServedUdp,
  serveTcp,
  serveUdp,
  writeAnswer,
} from '../../core/dns/index.ts';
import type { Workload } from '../../core/model/index.ts';
import type { ZtunnelContext } from '../context.ts';
import type { DnsSockets, PodSockets } from '../sockets.ts';
import { type DnsPlan, planDns } from './plan.ts';
import { queryTypeLabel } from './query-types.ts';

export interface DnsPod {
  readonly sockets: PodSockets;
  /** Its workload, waited for. */
  known(): Promise<Workload | undefined>;
}

const mostTcp = 128;
const mostUpstream = 128;
/** A name server that is asked all the time has to stop somewhere. */
const mostTurns = 50;

export class DnsProxy {
  readonly #ctx: ZtunnelContext;
  readonly #pod: DnsPod;
  readonly #dns: DnsSockets;
  #cache: DnsCache | undefined;
  /** Listening, accepted and asking: all end with the pod. */
  readonly #udp = new Set<UdpSocket>();
  readonly #served: ServedUdp[] = [];
  readonly #tcp = new Set<Socket>();
  #asking = 0;
  #accepted = 0;

  constructor(ctx: ZtunnelContext, pod: DnsPod, dns: DnsSockets) {
    this.#ctx = ctx;
    this.#pod = pod;
    this.#dns = dns;
  }

  /** Binds UDP; throws, with nothing left bound, an error that names the address. */
  start(): void {
    for (const socket of this.#dns.listen()) {
      this.#keep(socket);
      this.#served.push(
        serveUdp(socket, (message, { protocol }) => this.answer(message, protocol)),
      );
    }
  }

  accept(socket: Socket): void {
    if (this.#accepted >= mostTcp) {
      socket.resetAndDestroy();
      return;
    }
    this.#accepted++;
    this.#tcp.add(socket);
    socket.once('close', () => {
      this.#accepted--;
      this.#tcp.delete(socket);
    });
    serveTcp(socket, this.#ctx.clock, (message, { protocol }) => this.answer(message, protocol));
  }

  /**
   * Stops without losing a question: a successor shares the port, but what the kernel has put before this process is
   * its own. Closed once that is answered and a turn of the event loop has brought nothing more.
   */
  async leave(): Promise<void> {
    const heard = (): number => this.#served.reduce((n, s) => n + s.heard, 0);
    for (let turn = 0, before = -1; turn < mostTurns && before !== heard(); turn++) {
      before = heard();
      await Promise.all(this.#served.map((s) => s.answered()));
      // Two: the first may come before the loop has looked at its sockets again.
      for (let i = 0; i < 2; i++) await new Promise((resolve) => setImmediate(resolve));
    }
    this.stop();
  }

  stop(): void {
    for (const socket of this.#udp) socket.close();
    for (const socket of this.#tcp) socket.destroy();
    this.#udp.clear();
  }

  /** Never rejects; `undefined` = the message deserves no answer. */
  async answer(message: Uint8Array, protocol: DnsProtocol): Promise<Uint8Array | undefined> {
    const read = readQuery(message);
    if (read.kind === 'ignore') return undefined;
    if (read.kind === 'malformed') return refuseQuery(message, rcodes.FORMERR);
    try {
      const client = await this.#pod.known();
      if (!client) return refuseQuery(message, rcodes.SERVFAIL);
      const type = read.kind === 'query' ? queryTypeLabel(read.query.type) : 'unknown';
      const { metrics } = this.#ctx.reports;
      metrics.dnsRequests.add(labelsOf(client, type, protocol));
      if (read.kind === 'other') return await this.#forward(message, protocol, client, type);
      return await this.#question(message, read.query, protocol, client);
    } catch (error) {
      this.#ctx.log.debug('a DNS question failed', { error: fromUnknown(error).message });
      return refuseQuery(message, rcodes.SERVFAIL);
    }
  }

  async #question(
    message: Uint8Array,
    query: DnsQuery,
    protocol: DnsProtocol,
    client: Workload,
  ): Promise<Uint8Array> {
    const { feed, config } = this.#ctx;
    const plan: DnsPlan =
      query.class === 1
        ? planDns(query.name, query.type, {
            mesh: feed.view,
            client,
            clusterDomain: config.dns.clusterDomain,
            preferredNamespace: config.dns.preferredNamespace,
            ipv6: config.inpod.ipv6,
            shuffle: (ips) => this.#shuffle(ips),
          })
        : { do: 'forward' };
    const type = queryTypeLabel(query.type);
    if (plan.do === 'forward') return await this.#forward(message, protocol, client, type, query);
    const aliases = plan.answers.filter((r) => r.data.type === 'CNAME').length;
    this.#log(client, query, resultTexts[plan.result], plan.result === 'success' ? aliases : 0);
    const { answers, additional } = plan;
    const head = { rcode: rcodes.NOERROR, authoritative: true, recursion: true } as const;
    return writeAnswer(query, { ...head, answers, additional }, answerLimit(query, protocol));
  }

  async #forward(
    message: Uint8Array,
    protocol: DnsProtocol,
    client: Workload,
    type: string,
    query?: DnsQuery,
  ): Promise<Uint8Array> {
    const { clock, random, reports, resolvConf } = this.#ctx;
    const cached = query && this.#cache?.get(message, protocol, clock.monotonic());
    if (cached) {
      this.#log(client, query, 'forwarded', readAnswer(cached, message)?.count ?? 0);
      return cached;
    }
    const labels = labelsOf(client, type, protocol);
    reports.metrics.dnsUpstreamRequests.add(labels);
    const began = clock.monotonic();
    try {
      if (this.#asking >= mostUpstream) throw new Error('too many questions at once');
      this.#asking++;
      const sockets = {
        udp: (to: IpPort) => this.#keep(this.#dns.upstream(to)),
        tcp: (to: IpPort, timeoutMs: number) => this.#dial(to, timeoutMs),
      };
      const options = { clock, random, sockets };
      const answer = await askUpstream(message, protocol, resolvConf.read(), options).finally(
        () => {
          this.#asking--;
        },
      );
      const facts = readAnswer(answer, message);
      if (facts?.rcode !== rcodes.NOERROR || facts.count === 0) {
        reports.metrics.dnsUpstreamFailures.add(labels);
      } else {
        this.#cache ??= new DnsCache();
        this.#cache.put(message, protocol, answer, clock.monotonic());
      }
      this.#log(client, query, 'forwarded', facts?.count ?? 0);
      return answer;
    } catch (error) {
      reports.metrics.dnsUpstreamFailures.add(labels);
      const why = printable(fromUnknown(error).message, 100);
      this.#log(client, query, `forwarding failed (${why})`, 0);
      const stale = query && this.#cache?.get(message, protocol, clock.monotonic(), true);
      return stale ?? refuseQuery(message, rcodes.SERVFAIL);
    } finally {
      reports.metrics.dnsUpstreamSeconds.observe(labels, (clock.monotonic() - began) / 1000);
    }
  }

  #keep(socket: UdpSocket): UdpSocket {
    this.#udp.add(socket);
    return socket.once('close', () => this.#udp.delete(socket));
  }

  async #dial(to: IpPort, timeoutMs: number): Promise<Socket> {
    const { clock, config } = this.#ctx;
    const { keepalive } = config;
    const socket = await this.#pod.sockets.dial(to, { clock, keepalive, timeoutMs });
    this.#tcp.add(socket);
    return socket.once('close', () => this.#tcp.delete(socket));
  }

  #shuffle(ips: readonly IpAddress[]): readonly IpAddress[] {
    const out = [...ips];
    for (let i = out.length - 1; i > 0; i--) {
      const j = Math.floor(this.#ctx.random.next() * (i + 1));
      const [a, b] = [out[i], out[j]];
      if (a !== undefined && b !== undefined) [out[i], out[j]] = [b, a];
    }
    return out;
  }

  #log(client: Workload, query: DnsQuery | undefined, result: string, endpoints: number): void {
    this.#ctx.dnsLog.debug('dns query', {
      'src.workload': client.name,
      'src.namespace': client.namespace,
      query: query ? queryTypeLabel(query.type) : 'unknown',
      domain: printable(query?.name ?? '', 255),
      result,
      endpoints,
    });
  }
}

const resultTexts = {
  success: 'success',
  'no-records': 'no records',
  'unsupported-family': 'service does not support this record type',
} as const;

const labelsOf = (w: Workload, type: string, protocol: DnsProtocol): Record<string, string> => ({
  request_query_type: type,
  request_protocol: protocol,
  source_canonical_service: w.canonicalName === '' ? 'unknown' : w.canonicalName,
  source_canonical_revision: w.canonicalRevision === '' ? 'unknown' : w.canonicalRevision,
});
