// Door of sandbox/api: the Kubernetes REST surface over a store.
export { kubeconfig, type KubeconfigOptions, writeKubeconfig } from './kubeconfig.ts';
export { type ApiOptions, type RunningApi, startApi } from './server.ts';
export { makeServingCertificate, type ServingCertificate } from './serving-cert.ts';
export { apiAudience, createTokens, type SandboxTokens, type TokenOptions } from './tokens.ts';
