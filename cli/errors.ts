// How a command fails: one clear line on stderr and an exit code. 1 = usage and general failure (design.md 8).

export class CliError extends Error {
  readonly exitCode: number;
  constructor(message: string, exitCode = 1) {
    super(message);
    this.name = 'CliError';
    this.exitCode = exitCode;
  }
}

/** The line for any error that ends a command; another says what to do where that is not plain. */
export function errorLine(error: unknown): string {
  if (!(error instanceof Error)) return `Error: ${String(error)}\n`;
  const unreachable = (error as { reason?: unknown }).reason === 'Unreachable';
  const hint =
    'is it running? A sandbox: ambientctl sandbox status. Another cluster: -c FILE, --context NAME\n';
  return `Error: ${error.message}\n${unreachable ? hint : ''}`;
}
