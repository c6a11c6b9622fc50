// Tables in kubectl's style, JSON and YAML; colour only where a person reads.
import { stringify } from 'yaml';
import { CliError } from './errors.ts';

/** Space-aligned columns without borders; `gap` spaces at least between them; no trailing spaces. */
export function printTable(rows: readonly (readonly string[])[], gap = 3): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  }
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd((widths[i] ?? 0) + gap)))
      .join('')
      .trimEnd();
  return rows.map((row) => `${line(row)}\n`).join('');
}

export const outputFormats = ['short', 'json', 'yaml'] as const;
export type OutputFormat = (typeof outputFormats)[number];

/** Throws the message istioctl gives. */
export function readFormat(text: string | undefined): OutputFormat {
  const hit = outputFormats.find((f) => f === (text ?? 'short'));
  if (!hit) throw new CliError(`output format "${text ?? ''}" not supported`);
  return hit;
}

/** JSON or YAML of a value; `short` is the caller's table. */
export function printData(format: OutputFormat, value: unknown, short: () => string): string {
  if (format === 'json') return `${JSON.stringify(value, null, 2)}\n`;
  return format === 'yaml' ? stringify(value) : short();
}
