// Door of certs: identities, keys, certificates, the CA, and TLS that only lets proven peers through.
export {
  type CaMaterial,
  type CertificateAuthority,
  createCa,
  defaultTtlSeconds,
  loadCa,
  maxTtlSeconds,
  type ServerCertificate,
  type SignedChain,
  type SignWorkload,
} from './ca.ts';
export { type CaClient, localCaClient } from './ca-client.ts';
export { CaError, type CaErrorCode } from './ca-error.ts';
export { type CertificateFacts, readCertificate } from './certificate.ts';
export { type CertificateRequest, checkCsr, createCsr, maxRequestBytes } from './csr.ts';
export { derToPem, pemBlocks, pemToDer } from './pem.ts';
export { bundleOf, mergeRoots, trustMapOf, type TrustMap } from './trust.ts';
