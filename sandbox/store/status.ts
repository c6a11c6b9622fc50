// Refusals in Kubernetes' own words: an Error that carries the `Status` the API answers with.
import type { StatusError } from '../contract.ts';

class Refusal extends Error implements StatusError {
  readonly status: { code: number; reason: string; message: string; details?: unknown };

  constructor(code: number, reason: string, message: string, details: unknown) {
    super(message);
    this.name = 'StatusError';
    this.status =
      details === undefined ? { code, reason, message } : { code, reason, message, details };
  }
}

/** `code` is the HTTP status, `reason` Kubernetes' word for it (`NotFound`, `Conflict`, `Invalid` …). */
export function statusError(
  code: number,
  reason: string,
  message: string,
  details?: unknown,
): StatusError {
  return new Refusal(code, reason, message, details);
}

/** True for errors made by `statusError`, also across module copies. */
export function isStatusError(error: unknown): error is StatusError {
  return error instanceof Error && typeof (error as Partial<StatusError>).status === 'object';
}

/** `deployments.apps`, as Kubernetes prints a resource in messages. */
function printResource(plural: string, group: string): string {
  return group === '' ? plural : `${plural}.${group}`;
}

interface Named {
  readonly group: string;
  readonly plural: string;
}

export function notFound(resource: Named, name: string): StatusError {
  const kind = printResource(resource.plural, resource.group);
  return statusError(404, 'NotFound', `${kind} "${name}" not found`, {
    name,
    group: resource.group,
    kind: resource.plural,
  });
}

export function alreadyExists(resource: Named, name: string): StatusError {
  const kind = printResource(resource.plural, resource.group);
  return statusError(409, 'AlreadyExists', `${kind} "${name}" already exists`, {
    name,
    group: resource.group,
    kind: resource.plural,
  });
}

export function conflict(resource: Named, name: string, why: string): StatusError {
  const kind = printResource(resource.plural, resource.group);
  return statusError(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${kind} "${name}": ${why}`,
    { name, group: resource.group, kind: resource.plural },
  );
}
