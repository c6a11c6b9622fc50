// Door of istiod-lite, the control plane.
export { type Istiod, type IstiodDeps, startIstiodLite } from './app.ts';
export { configVariables, type IstiodConfig, readConfig } from './config.ts';
export { istiodMetrics } from './metrics.ts';
export { readAuthorizationPolicy } from './cluster/index.ts';
export { selects, translatePolicy } from './translate/index.ts';
