// Query parameters of list, watch and write requests, checked once.
import type { ListQuery } from '../contract.ts';
import { type PageKey, statusError } from '../store/index.ts';
import type { FieldValidation } from './admit.ts';
import { decodeBody } from './body.ts';
import { at, number, record, text } from './json.ts';

const flag = (value: string | null): boolean => value === 'true' || value === '1';

function integer(query: URLSearchParams, name: string): number | undefined {
  const raw = query.get(name);
  if (raw === null || raw === '') return undefined;
  const value = Number(raw);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw statusError(400, 'BadRequest', `query parameter ${name} is not a whole number: ${raw}`);
}

export interface ListAsk {
  readonly query: ListQuery;
  readonly limit: number | undefined;
  readonly from: PageKey | undefined;
  /** Version a continued list began at. */
  readonly began: number | undefined;
}

export function continueToken(revision: number, next: PageKey): string {
  return Buffer.from(JSON.stringify([revision, next.namespace, next.name])).toString('base64url');
}

function parseContinue(token: string): { revision: number; next: PageKey } {
  try {
    const [revision, namespace, name] = JSON.parse(
      Buffer.from(token, 'base64url').toString('utf8'),
    ) as unknown[];
    if (typeof revision === 'number' && typeof namespace === 'string' && typeof name === 'string') {
      return { revision, next: { namespace, name } };
    }
  } catch {
    // falls through to the refusal
  }
  throw statusError(400, 'BadRequest', 'continue key is not valid');
}

export function listAsk(query: URLSearchParams, namespace: string | undefined): ListAsk {
  const labelSelector = query.get('labelSelector');
  const fieldSelector = query.get('fieldSelector');
  const token = query.get('continue');
  const more = token ? parseContinue(token) : undefined;
  const limit = integer(query, 'limit');
  return {
    query: {
      ...(namespace === undefined ? {} : { namespace }),
      ...(labelSelector ? { labelSelector } : {}),
      ...(fieldSelector ? { fieldSelector } : {}),
    },
    limit: limit === 0 ? undefined : limit,
    from: more?.next,
    began: more?.revision,
  };
}

export interface WatchAsk {
  /** undefined = from now, with what there is first. */
  readonly revision: number | undefined;
  readonly bookmarks: boolean;
  readonly initialEvents: boolean;
  readonly timeoutSeconds: number;
}

export const isWatch = (query: URLSearchParams): boolean => flag(query.get('watch'));

export function watchAsk(query: URLSearchParams): WatchAsk {
  const revision = integer(query, 'resourceVersion');
  const initialEvents = flag(query.get('sendInitialEvents'));
  return {
    revision: revision === 0 || initialEvents ? undefined : revision,
    bookmarks: flag(query.get('allowWatchBookmarks')),
    initialEvents,
    timeoutSeconds: Math.min(integer(query, 'timeoutSeconds') ?? 1800, 24 * 3600),
  };
}

export interface WriteAsk {
  readonly dryRun: boolean;
  readonly validation: FieldValidation;
}

export function writeAsk(query: URLSearchParams): WriteAsk {
  const dryRun = query.getAll('dryRun').filter((v) => v !== '');
  if (dryRun.some((v) => v !== 'All')) {
    throw statusError(
      400,
      'BadRequest',
      `query parameter dryRun is "All" or absent, not "${dryRun[0]}"`,
    );
  }
  const validation = query.get('fieldValidation') || 'Warn';
  if (validation !== 'Strict' && validation !== 'Warn' && validation !== 'Ignore') {
    throw statusError(
      400,
      'BadRequest',
      `query parameter fieldValidation is Strict, Warn or Ignore, not "${validation}"`,
    );
  }
  return { dryRun: dryRun.length > 0, validation };
}

export interface DeleteAsk {
  readonly dryRun: boolean;
  readonly graceSeconds: number | undefined;
  readonly propagation: 'Background' | 'Foreground' | 'Orphan' | undefined;
  readonly uid: string | undefined;
  readonly resourceVersion: string | undefined;
}

const propagations = ['Background', 'Foreground', 'Orphan'] as const;

/** DeleteOptions come in the body, or as query parameters. */
export function deleteAsk(query: URLSearchParams, type: string, body: Buffer): DeleteAsk {
  const options = body.length > 0 ? record(decodeBody(type, body)) : {};
  const asked = text(options['propagationPolicy']) || query.get('propagationPolicy') || '';
  const propagation = propagations.find((p) => p === asked);
  if (asked && !propagation) {
    throw statusError(400, 'BadRequest', `propagationPolicy is one of ${propagations.join(', ')}`);
  }
  const orphan = options['orphanDependents'] === true || query.get('orphanDependents') === 'true';
  return {
    dryRun: Array.isArray(options['dryRun'])
      ? options['dryRun'].length > 0
      : writeAsk(query).dryRun,
    graceSeconds: number(options['gracePeriodSeconds']) ?? integer(query, 'gracePeriodSeconds'),
    propagation: propagation ?? (orphan ? 'Orphan' : undefined),
    uid: text(at(options, 'preconditions', 'uid')) || undefined,
    resourceVersion: text(at(options, 'preconditions', 'resourceVersion')) || undefined,
  };
}
