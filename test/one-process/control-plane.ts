// The stories of the control plane, one after another in one process; see units.ts.
import { globSync } from 'node:fs';
import { join } from 'node:path';

const folder = join(import.meta.dirname, '../control-plane');
for (const file of globSync('*.test.ts', { cwd: folder }).toSorted()) {
  await import(join(folder, file));
}
