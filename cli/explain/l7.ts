// What a waypoint says to a request, judged by the waypoint's own functions on the policies of its config dump. Pure.
import { parseSpiffeId, type SpiffeId, parseIdentity } from '../../core/model/index.ts';
import type * as wire from '../../core/proto/index.ts';
import { decode, type Draft, encode } from '../../core/rpc/index.ts';
import { field, list, text } from '../../istiod-lite/index.ts';
import { type AccessAnswer, type AccessFacts, judgeAccess } from '../../waypoint/index.ts';
import { CliError } from '../errors.ts';

export type Policies = readonly wire.L7AccessPolicy[];
export type AskedRequest = NonNullable<AccessFacts['http']>;

/** What people say of a request; everything may be left out. */
export interface RequestFlags {
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  readonly header?: readonly string[];
  readonly claims?: string;
}

/** Something of a request was given. */
export const asksRequest = (f: RequestFlags): boolean =>
  [f.method, f.path, f.host, f.header, f.claims].some((x) => x !== undefined);

/** Claims of a token that was checked: a JSON object; `iss` and `sub` make the request principal. */
function readUser(given: string | undefined): AskedRequest['user'] {
  if (given === undefined) return undefined;
  let claims: unknown;
  try {
    claims = JSON.parse(given);
  } catch {
    throw new CliError('--claims is no JSON');
  }
  if (typeof claims !== 'object' || claims === null || Array.isArray(claims))
    throw new CliError('--claims must be a JSON object');
  const [issuer, subject] = [text(field(claims, 'iss')), text(field(claims, 'sub'))];
  const known = claims as Readonly<Record<string, unknown>>;
  return { issuer, subject, claims: known, spaceDelimited: new Set(['scope']) };
}

/** `GET /` where nothing is said. Throws CliError for what cannot be read. */
export function readRequest(f: RequestFlags, host: string): AskedRequest {
  const path = f.path ?? '/';
  if (!path.startsWith('/')) throw new CliError(`--path "${path}" must start with /`);
  const headers = (f.header ?? []).map((line): [string, string] => {
    const colon = line.indexOf(':');
    if (colon <= 0) throw new CliError(`--header "${line}" must be name:value`);
    return [line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()];
  });
  const user = readUser(f.claims);
  return {
    method: f.method ?? 'GET',
    path: path.split('?', 1)[0] ?? '/',
    host: f.host ?? host,
    headers,
    ...(user && { user }),
  };
}

/** The policies that a waypoint holds for a service; `undefined` = it does not stand before it. */
export function policiesAt(dump: unknown, service: string): Policies | undefined {
  const found = list(field(dump, 'services')).find((s) => field(s, 'name') === service);
  if (found === undefined) return undefined;
  return normalised(list(field(found, 'judges', 'access')) as Draft<wire.L7AccessPolicy>[]);
}

/** As they are after the wire: every field there, actions as numbers. */
export function normalised(policies: readonly Draft<wire.L7AccessPolicy>[]): Policies {
  const name = 'ambientlite.waypoint.v1.ServiceConfig';
  return decode(name, encode(name, { policies })).policies;
}

export interface Asked {
  readonly identity: string | undefined;
  readonly sourceIp: string;
  readonly destinationIp: string;
  readonly port: number;
  readonly request: AskedRequest;
}

export function judgeRequest(policies: Policies, a: Asked): AccessAnswer {
  const id: SpiffeId | undefined = a.identity === undefined ? undefined : parseSpiffeId(a.identity);
  return judgeAccess(policies, {
    principal: id?.slice('spiffe://'.length),
    identity: a.identity === undefined ? undefined : parseIdentity(a.identity),
    sourceIp: a.sourceIp,
    destinationIp: a.destinationIp,
    destinationPort: a.port,
    http: a.request,
  });
}

/** Who decided, in words. */
export function decidedBy(a: AccessAnswer): string {
  const decided = a.considered.find((p) => p.decided);
  const rule = decided?.rule === undefined ? '' : ` rule ${decided.rule + 1}`;
  const who =
    a.by === undefined
      ? a.allow
        ? 'no policy speaks of it'
        : 'no ALLOW policy allows it'
      : `${a.by}${rule}`;
  return a.asks.length === 0 ? who : `${who}; ${a.asks.join(', ')} is asked too`;
}

/** One request at one waypoint, for the commands to show. */
export interface RequestVerdict extends AccessAnswer {
  readonly waypoint: string;
  readonly request: string;
  readonly decidedBy: string;
}

export function requestVerdict(waypoint: string, policies: Policies, a: Asked): RequestVerdict {
  const answer = judgeRequest(policies, a);
  const request = `${a.request.method} ${a.request.path}`;
  return { waypoint, request, decidedBy: decidedBy(answer), ...answer };
}

export function printRequest(v: RequestVerdict): string[] {
  const lines = [`  request   ${v.request} at waypoint ${v.waypoint}`];
  for (const p of v.considered) {
    const match = p.rule === undefined ? 'no rule matches' : `rule ${p.rule + 1} matches`;
    const more = [p.dryRun ? 'dry run' : '', p.decided ? '← decided' : ''].filter(Boolean);
    lines.push(`  policy    ${[`${p.key}  ${p.action}: ${match}`, ...more].join('  ')}`);
  }
  lines.push(`  verdict   ${v.allow ? 'allowed' : '403'}: ${v.decidedBy}`);
  return lines;
}
