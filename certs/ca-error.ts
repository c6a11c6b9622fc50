// Why the CA said no. `code` is the gRPC status name that the server answers with.

export type CaErrorCode = 'InvalidArgument' | 'Internal';

export class CaError extends Error {
  readonly code: CaErrorCode;

  constructor(code: CaErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'CaError';
    this.code = code;
  }
}
