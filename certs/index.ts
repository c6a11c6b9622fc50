// Door of certs: identities, keys, certificates, the CA, and TLS that only lets proven peers through.
export { Acceptors } from './acceptors.ts';
export {
  type CaMaterial,
  type CertificateAuthority,
  createCa,
  defaultTtlSeconds,
  loadCa,
  maxTtlSeconds,
  renewRoot,
  type ServerCertificate,
  type SignedChain,
  type SignWorkload,
} from './ca.ts';
export { type CaClient, localCaClient } from './ca-client.ts';
export { grpcCaClient } from './ca-grpc.ts';
export { CaError, type CaErrorCode } from './ca-error.ts';
export { acceptEdge, type EdgeCertificate, originateTls, type OutsideTls } from './edge.ts';
export {
  CertManager,
  type CertManagerOptions,
  type CertSnapshot,
  type CertSource,
} from './cert-manager.ts';
export type { CertStatus, Priority } from './cert-plan.ts';
export { type CertificateFacts, readCertificate } from './certificate.ts';
export { type CertificateRequest, checkCsr, createCsr, maxRequestBytes } from './csr.ts';
export { loadRevocations, type Revocations } from './crl.ts';
export { derToPem, pemBlocks, pemToDer } from './pem.ts';
export {
  type ChainEntry,
  connectTls,
  type PeerFacts,
  type Secured,
  TlsAcceptor,
  type TlsFacts,
  type TlsOptions,
} from './tls.ts';
export { type Bundle, bundleOf, mergeRoots, type TrustMap, trustMapOf } from './trust.ts';
export type { WorkloadCert } from './workload-cert.ts';
