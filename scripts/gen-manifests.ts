// Writes manifests/chart from manifests/ and the table of values. With --check it only compares.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { defaultValues, readSource, renderChart } from '../cli/index.ts';
import { packageVersion } from '../core/runtime/index.ts';

const folder = join(import.meta.dirname, '../manifests/chart');

function chart(): Map<string, string> {
  const source = readSource();
  return renderChart(source, defaultValues(source), packageVersion());
}

/** Names of files whose text differs from what the manifests say. */
export function staleChart(): string[] {
  return [...chart()]
    .filter(([file, text]) => {
      try {
        return readFileSync(join(folder, file), 'utf8') !== text;
      } catch {
        return true;
      }
    })
    .map(([file]) => file);
}

if (import.meta.main) {
  if (process.argv.includes('--check')) {
    const stale = staleChart();
    for (const file of stale)
      process.stderr.write(`manifests/chart/${file} is stale: run npm run gen\n`);
    process.exitCode = stale.length > 0 ? 1 : 0;
  } else {
    for (const [file, text] of chart()) {
      mkdirSync(dirname(join(folder, file)), { recursive: true });
      writeFileSync(join(folder, file), text);
    }
  }
}
