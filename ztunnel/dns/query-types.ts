// Names of record types for metrics and logs: the ones in use, so that nobody can grow the label. Pure.
const names: ReadonlyMap<number, string> = new Map([
  [1, 'a'],
  [2, 'ns'],
  [5, 'cname'],
  [6, 'soa'],
  [12, 'ptr'],
  [15, 'mx'],
  [16, 'txt'],
  [28, 'aaaa'],
  [33, 'srv'],
  [35, 'naptr'],
  [43, 'ds'],
  [48, 'dnskey'],
  [64, 'svcb'],
  [65, 'https'],
  [255, 'any'],
  [257, 'caa'],
]);

export const queryTypeLabel = (type: number): string => names.get(type) ?? 'unknown';
