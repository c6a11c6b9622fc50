// The version, which stands in package.json alone.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

let known: string | undefined;

/** `0.1.0`; `unknown` if the package file is not beside the code. */
export function packageVersion(): string {
  if (known === undefined) {
    try {
      const file = join(import.meta.dirname, '../../package.json');
      known = (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
    } catch {
      known = 'unknown';
    }
  }
  return known;
}
