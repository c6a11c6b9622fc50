// What policies look at in one request, each thing made out once however many rules ask for it: a long header, path or claim
// costs what it costs, not that times the rules.
import { parseIpBytes } from '../../core/base/index.ts';
import type { Identity } from '../../core/model/index.ts';
import type { HeaderList } from '../http/exchange.ts';
import { type Segmented, segmented } from './path-template.ts';
import { claimAt, claimTexts } from './token.ts';
import type { EndUser } from './token-rules.ts';
import { noValues, type Patterns, Values } from './texts.ts';

/** What a decision is made on; `http` is absent for opaque connections. */
export interface AccessFacts {
  /** `td/ns/N/sa/S`, without scheme; absent = no identity. */
  readonly principal: string | undefined;
  readonly identity: Identity | undefined;
  readonly sourceIp: string;
  readonly destinationIp: string;
  /** The service's port. */
  readonly destinationPort: number;
  /** Of the hello of TLS, in lower case; empty or absent = none. */
  readonly serverName?: string | undefined;
  readonly http?: {
    readonly method: string;
    /** Normalised, without query. */
    readonly path: string;
    readonly host: string;
    readonly headers: HeaderList;
    /** Of a checked token. */
    readonly user?: EndUser | undefined;
    /** What external authorizers said, by key. */
    readonly metadata?: Readonly<Record<string, unknown>> | undefined;
  };
}

/** Parts of one header that are told apart; a DENY takes more for what it looks for. */
export const maxParts = 1_000;

type Bytes = readonly Uint8Array[];
const none: readonly string[] = [];

const one = (s: string | undefined): Values => (s === undefined ? noValues : new Values([s]));
const bytesOf = (ip: string): Bytes => {
  const bytes = parseIpBytes(ip);
  return bytes ? [bytes] : [];
};

/** Keeps what `make` gives for a key. */
function kept<V>(known: Map<string, V>, key: string, make: () => V): V {
  const before = known.get(key);
  if (before !== undefined) return before;
  const made = make();
  known.set(key, made);
  return made;
}

export class AccessView {
  readonly http: boolean;
  readonly users: readonly EndUser[];
  readonly #f: AccessFacts;
  readonly #values = new Map<string, Values>();
  readonly #bytes = new Map<string, Bytes>();
  #lines: Map<string, string[]> | undefined;
  readonly #meet = new Map<string, boolean>();
  readonly #parts = new Map<string, Values | 'too many'>();
  #segmented: Segmented | undefined;

  constructor(f: AccessFacts) {
    this.#f = f;
    this.http = f.http !== undefined;
    const user = f.http?.user;
    this.users = user && user.issuer !== '' && user.subject !== '' ? [user] : [];
  }

  get principal(): Values {
    return kept(this.#values, 'principal', () => one(this.#f.principal));
  }

  get namespace(): Values {
    return kept(this.#values, 'namespace', () => one(this.#f.identity?.namespace));
  }

  get account(): Values {
    const { identity: i } = this.#f;
    return kept(this.#values, 'account', () => one(i && `${i.namespace}/${i.serviceAccount}`));
  }

  get port(): Values {
    return kept(this.#values, 'port', () => one(String(this.#f.destinationPort)));
  }

  get serverName(): Values {
    return kept(this.#values, 'server name', () => one(this.#f.serverName || undefined));
  }

  get method(): Values {
    return kept(this.#values, 'method', () => one(this.#f.http?.method));
  }

  get path(): Values {
    return kept(this.#values, 'path', () => one(this.#f.http?.path));
  }

  get segmented(): Segmented {
    this.#segmented ??= segmented(this.#f.http?.path ?? '');
    return this.#segmented;
  }

  get host(): Values {
    return kept(this.#values, 'host', () => one(this.#f.http?.host.toLowerCase()));
  }

  /** As it came, and without port and the dot at its end. */
  get hostForms(): Values {
    return kept(this.#values, 'host forms', () => {
      const host = this.#f.http?.host.toLowerCase();
      if (host === undefined) return noValues;
      return new Values([host, host.replace(/:\d*$/, '').replace(/\.$/, '')]);
    });
  }

  get sourceIp(): Bytes {
    return kept(this.#bytes, 'source', () => bytesOf(this.#f.sourceIp));
  }

  get destinationIp(): Bytes {
    return kept(this.#bytes, 'destination', () => bytesOf(this.#f.destinationIp));
  }

  /** The rightmost X-Forwarded-For entry where there is one, else the caller: no protection inside the mesh. */
  get remoteIp(): Bytes {
    return kept(this.#bytes, 'remote', () => {
      const line = this.lines('x-forwarded-for').at(-1) ?? '';
      const told = bytesOf(line.slice(line.lastIndexOf(',') + 1).trim());
      return told.length > 0 ? told : this.sourceIp;
    });
  }

  /** Every line of a header, as it came. */
  lines(name: string): readonly string[] {
    if (!this.#lines) {
      this.#lines = new Map();
      for (const [n, value] of this.#f.http?.headers ?? []) {
        const before = this.#lines.get(n);
        if (before) before.push(value);
        else this.#lines.set(n, [value]);
      }
    }
    return this.#lines.get(name) ?? none;
  }

  /** Whether every line of a header meets one of the patterns. */
  linesMeet(name: string, p: Patterns): boolean {
    const given = this.lines(name);
    if (given.length <= 2) return given.every((s) => p.meet(s));
    return kept(this.#meet, `${name} ${p.key}`, () => given.every((s) => p.meet(s)));
  }

  /** Lines, and the parts of the lists in them. */
  parts(name: string): Values | 'too many' {
    return kept(this.#parts, name, () => {
      const all = new Set<string>();
      let left = maxParts;
      for (const line of this.lines(name)) {
        const parts = line.split(',', left + 1);
        left -= parts.length;
        if (left < 0) return 'too many';
        all.add(line);
        for (const p of parts) all.add(p.trim());
      }
      return new Values([...all]);
    });
  }

  /** Texts of a claim: of a list each on its own, of `scope` and its like each word. */
  claim(key: string, path: readonly string[]): Values {
    return kept(this.#values, `claim ${key}`, () => {
      const u = this.#f.http?.user;
      const words = path.length === 1 && u?.spaceDelimited.has(path[0] ?? '') === true;
      return u ? new Values(claimTexts(claimAt(u.claims, path), words)) : noValues;
    });
  }

  /** Of an authorizer: a text, or a list of them. */
  said(key: string): { readonly text: Values; readonly list: Values } {
    const all = this.#f.http?.metadata ?? {};
    const value = Object.hasOwn(all, key) ? all[key] : undefined;
    return {
      text: kept(this.#values, `said ${key}`, () =>
        one(typeof value === 'string' ? value : undefined),
      ),
      list: kept(this.#values, `list ${key}`, () =>
        Array.isArray(value) ? new Values(value.filter((v) => typeof v === 'string')) : noValues,
      ),
    };
  }
}
