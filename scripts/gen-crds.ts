// Writes manifests/crds/ambientlite.dev.yaml from the shapes that istiod-lite reads these kinds by. With --check it
// only compares.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { ownKinds } from '../istiod-lite/index.ts';

const file = 'manifests/crds/ambientlite.dev.yaml';
const path = join(import.meta.dirname, '..', file);

const made = (): string =>
  [
    '# Kinds of our own. Written by `npm run gen` from istiod-lite/gateway/rate-limit-schema.ts.\n',
    ...ownKinds().map((o) => stringify(o, { lineWidth: 0 })),
  ].join('');

/** Whether the file is what the code says. */
export function crdsAreFresh(): boolean {
  try {
    return readFileSync(path, 'utf8') === made();
  } catch {
    return false;
  }
}

if (import.meta.main) {
  if (!process.argv.includes('--check')) writeFileSync(path, made());
  else if (!crdsAreFresh()) {
    process.stderr.write(`${file} is stale: run npm run gen\n`);
    process.exitCode = 1;
  }
}
