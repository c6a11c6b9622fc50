// `ambientctl check`: is the mesh well; `check --pre`: can it be installed here (control-plane.md 8.7, `x precheck`).
import { Command } from 'commander';
import { afterInstall, beforeInstall, type Finding, runChecks } from '../check/checks.ts';
import { readFacts } from '../check/facts.ts';
import { connect, type GlobalFlags } from '../connect.ts';
import { printData, readFormat } from '../output.ts';

const marks = { ok: '✔', warning: '⚠', error: '✘' } as const;

function printShort(findings: readonly Finding[], pre: boolean): string {
  const lines = findings.map(
    (f) =>
      `${marks[f.level]} ${f.check}: ${f.message}\n${f.hint === undefined ? '' : `    → ${f.hint}\n`}`,
  );
  const errors = findings.filter((f) => f.level === 'error').length;
  const end = pre ? 'The mesh can be installed.' : 'The mesh is well.';
  return `${lines.join('')}\n${errors === 0 ? end : `${errors} of ${findings.length} checks failed.`}\n`;
}

interface Flags extends GlobalFlags {
  readonly pre?: boolean;
  readonly output?: string;
}

export function checkCommand(): Command {
  return new Command('check')
    .summary('is the mesh well, or can it be installed')
    .description(
      'Looks for what commonly breaks, with a hint for each. Exits with 1 if something is wrong; warnings do not count.',
    )
    .option('--pre', 'before an installation')
    .option('-o, --output <format>', 'short, json or yaml', 'short')
    .addHelpText('after', '\nExamples:\n  ambientctl check --pre\n  ambientctl check -o json\n')
    .action(async (_: unknown, self: Command) => {
      const flags = self.optsWithGlobals<Flags>();
      const format = readFormat(flags.output);
      const pre = flags.pre === true;
      const facts = await readFacts(await connect(flags), flags.istioNamespace);
      const findings = runChecks(pre ? beforeInstall : afterInstall, facts);
      process.stdout.write(printData(format, findings, () => printShort(findings, pre)));
      if (findings.some((f) => f.level === 'error')) process.exitCode = 1;
    });
}
