// How a command fails: one clear line on stderr and an exit code. 1 = usage and general failure (design.md 8).

export class CliError extends Error {
  readonly exitCode: number;
  constructor(message: string, exitCode = 1) {
    super(message);
    this.name = 'CliError';
    this.exitCode = exitCode;
  }
}

/** The line for any error that ends a command. */
export function errorLine(error: unknown): string {
  return `Error: ${error instanceof Error ? error.message : String(error)}\n`;
}
