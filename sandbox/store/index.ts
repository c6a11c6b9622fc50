// Door of sandbox/store: the objects of a sandbox, their versions and their events.
export { StoredEvent } from './events.ts';
export {
  apiVersionOf,
  compareVersions,
  type PrinterColumn,
  type Registry,
  registry,
  type ResourceInfo,
  type Subresource,
} from './registry.ts';
export { inVersion, objectSelector } from './row-select.ts';
export { isoSeconds } from './rules.ts';
export {
  openStore,
  type Page,
  type PageKey,
  type RemoveHow,
  type SandboxStore,
  type StoreOptions,
} from './store.ts';
export { alreadyExists, conflict, isStatusError, notFound, statusError } from './status.ts';
