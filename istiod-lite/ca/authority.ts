// The CA that is in force, and where it comes from: a directory or the Secret `cacerts` if an operator plugged
// one in, else a self-signed root in `istio-ca-secret` that all replicas share (control-plane.md 5.5). Both are
// watched: a change is taken live if no request can fail by it, refused with its reason otherwise.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type CaMaterial,
  type CertificateAuthority,
  createCa,
  loadCa,
  readCertificate,
  pemToDer,
  renewRoot,
} from '../../certs/index.ts';
import type { Clock, Log, Timer } from '../../core/base/index.ts';
import { type KubeClient, KubeError, type KubeObject, resources } from '../../core/kube/index.ts';
import {
  type CaFiles,
  caFileNames,
  type CaSource,
  decideCaChange,
  readCaFiles,
} from './material.ts';

const pluggedName = 'cacerts';
const selfSignedName = 'istio-ca-secret';
const directoryPollMs = 2_000;
const renewalCheckMs = 3_600_000;
/** A self-signed root is renewed when less than this share of its life is left. */
const renewalShare = 0.2;

export interface AuthorityOptions {
  readonly kube: KubeClient;
  readonly namespace: string;
  readonly trustDomain: string;
  /** Where a CA may be mounted; absent files mean that none is. */
  readonly directory: string;
  readonly clock: Clock;
  readonly log: Log;
  /** The CA or its revocation list was replaced. */
  readonly changed: () => void;
  /** A replacement was refused. */
  readonly refused: () => void;
}

const b64 = (text: string): string => Buffer.from(text).toString('base64');

const toData = (m: CaMaterial): Record<string, string> => ({
  'ca-cert.pem': b64(m.certPem),
  'ca-key.pem': b64(m.keyPem),
  'cert-chain.pem': b64(m.chainPem),
  'root-cert.pem': b64(m.rootPem),
  'key.pem': '',
});

function filesOf(secret: KubeObject | undefined): CaFiles {
  const data = (secret?.['data'] ?? {}) as Record<string, unknown>;
  const files = new Map<string, string>();
  for (const name of caFileNames) {
    const value = Object.hasOwn(data, name) ? data[name] : undefined;
    if (typeof value === 'string') files.set(name, Buffer.from(value, 'base64').toString('utf8'));
  }
  return files;
}

function filesIn(directory: string): CaFiles {
  const files = new Map<string, string>();
  for (const name of caFileNames) {
    try {
      files.set(name, readFileSync(join(directory, name), 'utf8'));
    } catch {
      // Not there, which readCaFiles judges.
    }
  }
  return files;
}

export class Authority {
  readonly #o: AuthorityOptions;
  #source: CaSource;
  #ca: CertificateAuthority;
  /** The newest Secret of each name, by the watch. */
  readonly #secrets = new Map<string, KubeObject>();
  readonly #stops: (() => void)[] = [];
  readonly #timers = new Set<Timer>();
  #lastRefusal = '';
  #stopped = false;

  constructor(options: AuthorityOptions, source: CaSource) {
    this.#o = options;
    this.#source = source;
    this.#ca = loadCa(source.material, options);
  }

  get ca(): CertificateAuthority {
    return this.#ca;
  }

  get rootPem(): string {
    return this.#source.material.rootPem;
  }

  /** The revocation list to publish, if one came with the CA. */
  get crlPem(): string | undefined {
    return this.#source.crlPem;
  }

  start(): void {
    for (const name of [pluggedName, selfSignedName]) {
      this.#stops.push(
        this.#o.kube.watch(
          resources.secrets,
          {
            event: (type, o) => {
              if (o.metadata.namespace !== this.#o.namespace) return;
              if (type === 'DELETED') this.#secrets.delete(name);
              else this.#secrets.set(name, o);
              this.#look();
              if (type === 'DELETED' && name === selfSignedName) void this.#restore(o);
            },
            synced: () => {},
          },
          { fieldSelector: `metadata.name=${name}`, namespace: this.#o.namespace },
        ),
      );
    }
    this.#every(directoryPollMs, () => this.#look());
    this.#every(renewalCheckMs, () => void this.#renew());
    void this.#renew();
  }

  stop(): void {
    this.#stopped = true;
    for (const s of this.#stops) s();
    for (const t of this.#timers) t.cancel();
  }

  #every(ms: number, work: () => void): void {
    const timer = this.#o.clock.after(ms, () => {
      this.#timers.delete(timer);
      if (this.#stopped) return;
      work();
      this.#every(ms, work);
    });
    this.#timers.add(timer);
  }

  /** What the sources say now; a source that vanished leaves the CA as it is. */
  #look(): void {
    const files = [
      filesIn(this.#o.directory),
      filesOf(this.#secrets.get(pluggedName)),
      filesOf(this.#secrets.get(selfSignedName)),
    ];
    const reading = files.map(readCaFiles).find((r) => r.kind !== 'none');
    if (!reading) return;
    if (reading.kind === 'bad') return this.#refuse(reading.why);
    const change = decideCaChange(this.#source, reading);
    if (change.kind === 'refuse') return this.#refuse(change.why);
    this.#lastRefusal = '';
    if (change.kind === 'same') return;
    try {
      this.#ca = loadCa(reading.material, this.#o);
    } catch (error) {
      return this.#refuse(error instanceof Error ? error.message : 'it cannot be used');
    }
    this.#source = reading;
    this.#o.log.info('the certificate authority was replaced', describe(reading));
    this.#o.changed();
  }

  #refuse(why: string): void {
    if (why === this.#lastRefusal) return;
    this.#lastRefusal = why;
    this.#o.log.error('a new certificate authority is refused, the former stays in force', { why });
    this.#o.refused();
  }

  /**
   * Puts a deleted self-signed root back: without it the next replica would make another one, that nobody trusts. An
   * operator who wants another CA plugs one in, which then is the source.
   */
  async #restore(deleted: KubeObject): Promise<void> {
    const { kube, namespace, log } = this.#o;
    const reading = readCaFiles(filesOf(deleted));
    if (reading.kind !== 'ok' || reading.material.certPem !== this.#source.material.certPem) return;
    const { name, labels } = deleted.metadata;
    const { type, data } = deleted;
    try {
      await kube.create(resources.secrets, {
        metadata: { name, namespace, labels: { ...labels, ...ownLabels } },
        type,
        data,
      });
      log.warn('the self-signed root was deleted, it is put back', {
        secret: `${namespace}/${selfSignedName}`,
      });
    } catch (error) {
      const already = error instanceof KubeError && error.code === 409;
      if (!already) log.error('the self-signed root was deleted and cannot be put back', { error });
    }
  }

  /** Renews a self-signed root in its Secret; the watch brings it to every replica. */
  async #renew(): Promise<void> {
    const { kube, namespace, clock, log, trustDomain } = this.#o;
    try {
      const secret = await kube.get(resources.secrets, namespace, selfSignedName);
      const reading = readCaFiles(filesOf(secret));
      if (!secret || reading.kind !== 'ok' || !isDue(reading.material, clock.now())) return;
      const material = await renewRoot(reading.material, { clock, trustDomain });
      const data = { ...(secret['data'] as object), ...toData(material) };
      await kube.replace(resources.secrets, { ...secret, data });
      log.info('renewed the self-signed root', { secret: `${namespace}/${selfSignedName}` });
    } catch (error) {
      const raced = error instanceof KubeError && error.code === 409;
      if (!raced) log.warn('cannot renew the self-signed root', { error });
    }
  }
}

function isDue(material: CaMaterial, now: number): boolean {
  const facts = readCertificate(pemToDer(material.certPem));
  // Ours to renew only if it signed itself.
  if (!facts || facts.issuer !== facts.subject) return false;
  return facts.notAfterMs - now < renewalShare * (facts.notAfterMs - facts.notBeforeMs);
}

function describe(s: CaSource): Record<string, unknown> {
  const facts = readCertificate(pemToDer(s.material.certPem));
  return {
    serial: facts?.serial,
    notAfter: facts && new Date(facts.notAfterMs).toISOString(),
    roots: s.material.rootPem.split('BEGIN CERTIFICATE').length - 1,
    revocationList: s.crlPem !== undefined,
  };
}

/** An uninstallation finds it by them. */
const ownLabels = { 'istio.io/config': 'true', 'app.kubernetes.io/part-of': 'ambient-lite' };

const secretOf = (namespace: string, m: CaMaterial): KubeObject => ({
  metadata: {
    name: selfSignedName,
    namespace,
    labels: ownLabels,
  },
  type: 'istio.io/ca-root',
  data: toData(m),
});

function must(from: string, files: CaFiles): CaSource | undefined {
  const reading = readCaFiles(files);
  if (reading.kind === 'bad') throw new Error(`the CA in ${from} cannot be used: ${reading.why}`);
  return reading.kind === 'ok' ? reading : undefined;
}

/** The first writer of the self-signed root wins, every replica and every restart uses what is there. */
async function selfSigned(o: AuthorityOptions): Promise<CaSource> {
  const read = async (): Promise<CaSource | undefined> => {
    const secret = await o.kube.get(resources.secrets, o.namespace, selfSignedName);
    const from = `Secret ${o.namespace}/${selfSignedName}`;
    const found = must(from, filesOf(secret));
    if (secret && !found)
      throw new Error(`${from} lacks ca-cert.pem and ca-key.pem; restore or delete it`);
    return found;
  };
  const existing = await read();
  if (existing) return existing;
  const made = await createCa(o);
  try {
    await o.kube.create(resources.secrets, secretOf(o.namespace, made.material));
    o.log.info('created a self-signed root', { secret: `${o.namespace}/${selfSignedName}` });
    return { material: made.material };
  } catch (error) {
    if (!(error instanceof KubeError) || error.code !== 409) throw error;
    const winner = await read();
    if (!winner) throw error;
    return winner;
  }
}

/** Throws if a plugged-in CA is there in part or cannot be used. */
export async function openAuthority(o: AuthorityOptions): Promise<Authority> {
  const plugged =
    must(`directory ${o.directory}`, filesIn(o.directory)) ??
    must(
      `Secret ${o.namespace}/${pluggedName}`,
      filesOf(await o.kube.get(resources.secrets, o.namespace, pluggedName)),
    );
  const source = plugged ?? (await selfSigned(o));
  o.log.info('certificate authority', { plugged: plugged !== undefined, ...describe(source) });
  return new Authority(o, source);
}
