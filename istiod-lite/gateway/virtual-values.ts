// What an http rule of a VirtualService says that nobody carries out (waypoint-l7.md 5.5, K9): names in its blocks that are
// not known, and values that cannot be read. Pure.
import { field, text } from '../cluster/index.ts';
import { rewriteFault } from './expressions.ts';
import { unknownFields } from './hosts.ts';
import {
  aCount,
  aDuration,
  anObject,
  aPercent,
  type Fault,
  numeric,
  placed,
  unreadable,
} from './values.ts';

const retryNames = new Set([
  '5xx',
  'gateway-error',
  'reset',
  'reset-before-request',
  'connect-failure',
  'envoy-ratelimited',
  'retriable-4xx',
  'refused-stream',
  'retriable-status-codes',
  'cancelled',
  'deadline-exceeded',
  'internal',
  'resource-exhausted',
  'unavailable',
]);

const conditions: Fault = (v) => {
  const names = text(v)
    .split(',')
    .map((s) => s.trim())
    .filter((s) => s !== '' && !/^[1-5]\d\d$/.test(s));
  const odd = names.find((n) => !retryNames.has(n));
  return odd === undefined ? undefined : `no list of known conditions: "${odd}"`;
};

const values = placed({
  timeout: aDuration,
  retries: anObject,
  'retries.attempts': aCount,
  'retries.perTryTimeout': aDuration,
  'retries.backoff': aDuration,
  'retries.retryOn': conditions,
  fault: anObject,
  'fault.delay.fixedDelay': aDuration,
  'fault.delay.percentage.value': aPercent,
  'fault.abort.httpStatus': numeric(200, 599),
  'fault.abort.percentage.value': aPercent,
  'mirrorPercentage.value': aPercent,
  'corsPolicy.maxAge': aDuration,
});

const known: Readonly<Record<string, readonly string[]>> = {
  retries: ['attempts', 'perTryTimeout', 'backoff', 'retryOn', 'retryIgnorePreviousHosts'],
  fault: ['delay', 'abort'],
  'fault.delay': ['fixedDelay', 'percentage', 'percent'],
  'fault.abort': ['httpStatus', 'grpcStatus', 'percentage', 'percent'],
};

/** A sentence for each part of a rule that does nothing, without which the rule still answers. */
export function idleParts(rule: unknown, prefix: string): string[] {
  const odd = Object.entries(known).flatMap(([block, names]) =>
    unknownFields(field(rule, ...block.split('.')), names).map(
      (name) => `${prefix}.${block}.${name} is not supported`,
    ),
  );
  return [...odd, ...unreadable(values, rule, prefix)];
}

/** Parts of a rewrite without which another path would be asked for. */
export function brokenRewrite(rule: unknown): string[] {
  const rewrite = field(rule, 'rewrite');
  const out = unknownFields(rewrite, ['uri', 'authority', 'uriRegexRewrite']).map(
    (name) => `rewrite.${name}`,
  );
  const regex = field(rewrite, 'uriRegexRewrite');
  if (regex === undefined) return out;
  const [pattern, by] = [text(field(regex, 'match')), text(field(regex, 'rewrite'))];
  if (field(rewrite, 'uri') !== undefined) out.push('rewrite.uri beside uriRegexRewrite');
  if (pattern === '') out.push('rewrite.uriRegexRewrite without match');
  const fault = rewriteFault(pattern, by);
  if (fault !== undefined) out.push(`rewrite.uriRegexRewrite (${fault})`);
  return out;
}
