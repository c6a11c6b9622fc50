// Runs the steps of a story in order: a progress line and the evidence of each, a stop at the first that
// fails, and the whole as one value (sandbox.md D18).

export interface StepResult {
  readonly id: string;
  readonly title: string;
  readonly ok: boolean;
  readonly seconds: number;
  readonly evidence: readonly string[];
  readonly error?: string;
}

export interface StoryResult {
  readonly ok: boolean;
  readonly seconds: number;
  readonly driver: string;
  readonly steps: readonly StepResult[];
}

export interface Step {
  readonly id: string;
  readonly title: string;
  /** Throws if what it must show is not so. `note` adds a line of evidence. */
  run(note: (line: string) => void): Promise<void>;
}

export interface Screen {
  line(text: string): void;
  readonly colour: boolean;
}

const paint = (screen: Screen, code: string, text: string): string =>
  screen.colour ? `\u001b[${code}m${text}\u001b[0m` : text;

const took = (from: number): number => Math.round((performance.now() - from) / 10) / 100;

export async function runStory(
  steps: readonly Step[],
  driver: () => string,
  screen: Screen,
): Promise<StoryResult> {
  const began = performance.now();
  const results: StepResult[] = [];
  for (const [i, step] of steps.entries()) {
    screen.line(paint(screen, '1', `[${i + 1}/${steps.length}] ${step.title}`));
    const from = performance.now();
    const evidence: string[] = [];
    const note = (line: string): void => {
      evidence.push(line);
      screen.line(`      ${line}`);
    };
    let error: string | undefined;
    try {
      await step.run(note);
    } catch (e) {
      error = e instanceof Error ? e.message : String(e);
    }
    const seconds = took(from);
    const ok = error === undefined;
    results.push({
      id: step.id,
      title: step.title,
      ok,
      seconds,
      evidence,
      ...(!ok && { error: error ?? '' }),
    });
    screen.line(
      ok
        ? paint(screen, '32', `      ✔ ${seconds} s`)
        : paint(screen, '31', `      ✘ ${error ?? ''}`),
    );
    if (!ok) break;
  }
  const ok = results.length === steps.length && results.every((r) => r.ok);
  return { ok, seconds: took(began), driver: driver(), steps: results };
}

export function printSummary(r: StoryResult): string {
  const width = Math.max(...r.steps.map((s) => s.title.length));
  const rows = r.steps.map(
    (s) => `  ${s.ok ? '✔' : '✘'} ${s.title.padEnd(width)}  ${s.seconds.toFixed(2).padStart(6)} s`,
  );
  const total = `${r.ok ? 'All steps ok' : 'Failed'} in ${r.seconds.toFixed(1)} s, driver ${r.driver}`;
  return `\n${rows.join('\n')}\n\n${total}\n`;
}
