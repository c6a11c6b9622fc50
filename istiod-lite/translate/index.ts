// Door of istiod-lite/translate: facts → what proxies are told.
export { type EntryStatus, planEntryStatuses } from './entry-status.ts';
export { HostOwners } from './entries.ts';
export { peerAuthenticationKeys, peerAuthenticationPolicies } from './peer-auth.ts';
export { type PolicyStatus, translatePolicy } from './policies.ts';
export { selects } from './selector.ts';
export { appProtocol, serviceHostname } from './services.ts';
export { isWildcardPort } from './wildcard-ports.ts';
export type { MeshSettings } from './settings.ts';
export { type Outputs, Translator } from './translate.ts';
