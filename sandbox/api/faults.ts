// What is wrong with an object a client sent, field by field, and the `Status` that says so.
import type { StatusError } from '../contract.ts';
import { type ResourceInfo, statusError } from '../store/index.ts';

export interface FieldFault {
  /** `spec.containers[0].name` */
  readonly field: string;
  readonly reason:
    | 'FieldValueRequired'
    | 'FieldValueInvalid'
    | 'FieldValueForbidden'
    | 'FieldValueDuplicate'
    | 'FieldValueNotSupported'
    | 'FieldValueTypeInvalid';
  readonly message: string;
}

export const requiredFault = (field: string, why = ''): FieldFault => ({
  field,
  reason: 'FieldValueRequired',
  message: why ? `Required value: ${why}` : 'Required value',
});

export const invalidFault = (field: string, value: unknown, why: string): FieldFault => ({
  field,
  reason: 'FieldValueInvalid',
  message: `Invalid value: ${printValue(value)}: ${why}`,
});

export const typeFault = (field: string, expected: string, value: unknown): FieldFault => ({
  field,
  reason: 'FieldValueTypeInvalid',
  message: `Invalid value: ${printValue(value)}: must be of type ${expected}`,
});

export const forbiddenFault = (field: string, why: string): FieldFault => ({
  field,
  reason: 'FieldValueForbidden',
  message: `Forbidden: ${why}`,
});

export const unsupportedFault = (
  field: string,
  value: unknown,
  supported: readonly unknown[],
): FieldFault => ({
  field,
  reason: 'FieldValueNotSupported',
  message: `Unsupported value: ${printValue(value)}: supported values: ${supported.map((v) => JSON.stringify(v)).join(', ')}`,
});

function printValue(value: unknown): string {
  const text = JSON.stringify(value) ?? 'null';
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}

/** 422 with every fault as a cause, as Kubernetes words it. */
export function invalid(
  info: Pick<ResourceInfo, 'group' | 'kind'>,
  name: string,
  faults: readonly FieldFault[],
): StatusError {
  const kind = info.group === '' ? info.kind : `${info.kind}.${info.group}`;
  const parts = faults.map((f) => `${f.field}: ${f.message}`);
  const all = parts.length === 1 ? (parts[0] ?? '') : `[${parts.join(', ')}]`;
  return statusError(422, 'Invalid', `${kind} "${name}" is invalid: ${all}`, {
    name,
    group: info.group,
    kind: info.kind,
    causes: faults.map(({ reason, message, field }) => ({ reason, message, field })),
  });
}

/** 400 as Kubernetes' strict decoder words it. */
export function notDecodable(
  info: Pick<ResourceInfo, 'group' | 'version' | 'kind'>,
  problems: readonly string[],
  strict: boolean,
): StatusError {
  const version = info.group === '' ? info.version : `${info.group}/${info.version}`;
  const lead = strict ? 'strict decoding error: ' : '';
  return statusError(
    400,
    'BadRequest',
    `${info.kind} in version "${version}" cannot be handled as a ${info.kind}: ${lead}${problems.slice(0, 20).join(', ')}`,
  );
}
