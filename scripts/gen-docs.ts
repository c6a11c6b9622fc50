// Writes docs/reference/ from the code's own tables: errors, metrics, environment, ports, CLI help,
// messages of the analysis. With
// --check it only compares; test/docs.test.ts does the same, so documentation cannot lie.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { analysisCodes, type CodeRow, renderHelp } from '../cli/index.ts';
import { type FaultRow, faults } from '../core/base/index.ts';
import type { EnvVariable } from '../core/runtime/index.ts';
import { createMetrics, type DeclaredMetric } from '../core/telemetry/index.ts';
import { configVariables as istiodVariables, istiodMetrics } from '../istiod-lite/index.ts';
import { readConfig as readAgentConfig } from '../node-agent/index.ts';
import {
  declareMetrics as waypointMetrics,
  readConfig as readWaypointConfig,
} from '../waypoint/index.ts';
import { declareMetrics, readConfig as readZtunnelConfig } from '../ztunnel/index.ts';

const folder = join(import.meta.dirname, '../docs/reference');
const notice = '<!-- Written by scripts/gen-docs.ts from the code. Do not edit. -->\n';

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function errors(): string {
  const rows = Object.entries(faults as Record<string, FaultRow>).map(([code, f]) => [
    `\`${code}\``,
    f.status === 0 ? 'none' : String(f.status),
    `\`${f.flag}\``,
    f.side,
    f.retry ? 'yes' : 'no',
    f.help,
  ]);
  const head = [
    'code',
    'CONNECT status',
    'flag',
    'side',
    'worth a retry',
    'what it means and what to do',
  ];
  return `${notice}# Reasons for refusals and failures

Every refusal has one of these codes: in \`x-ambient-reason\` on the CONNECT answer, in the log, in
\`ambient_refusals_total{reason}\`, and in the connection records of both proxies. An application sees a TCP reset.

${table(head, rows)}
`;
}

function metricTable(all: readonly DeclaredMetric[]): string {
  const rows = all.map((m) => [
    `\`${m.name}\``,
    m.type,
    (m.labels ?? []).map((l) => `\`${l}\``).join(' '),
    m.help,
  ]);
  return table(['name', 'type', 'labels', 'meaning'], rows);
}

function metrics(): string {
  const ztunnel = createMetrics();
  declareMetrics(ztunnel, 'unknown');
  const waypoint = createMetrics();
  waypointMetrics(waypoint, 'unknown');
  return `${notice}# Metrics

## ztunnel, port 15020, \`/metrics\` and \`/stats/prometheus\`

${metricTable(ztunnel.declared())}

## waypoint, port 15020, \`/metrics\` and \`/stats/prometheus\`

${metricTable(waypoint.declared())}

## istiod-lite, port 15014, \`/metrics\`

${metricTable(istiodMetrics().registry.declared())}
`;
}

function variables(all: readonly EnvVariable[]): string {
  const rows = all.map((v) => [
    `\`${v.name}\``,
    v.kind,
    v.fallback === '' ? '' : `\`${v.fallback}\``,
    v.help,
  ]);
  return table(['variable', 'kind', 'default', 'meaning'], rows);
}

function config(): string {
  return `${notice}# Environment variables

A value that cannot be read stops the program at its start, with one message that names every mistake.

## ztunnel

${variables(readZtunnelConfig({}).asked)}

## waypoint

${variables(readWaypointConfig({}).asked)}

## node-agent

${variables(readAgentConfig({}).asked)}

## istiod-lite

${variables(istiodVariables())}
`;
}

function ports(): string {
  const z = readZtunnelConfig({ PROXY_MODE: 'addressed' }).config;
  if (!z.ok) throw new Error('the default configuration of ztunnel is refused');
  const rows = [
    ['ztunnel', '15001', 'each captured pod', 'outbound traffic of the pod'],
    ['ztunnel', '15006', 'each captured pod', 'inbound plaintext'],
    ['ztunnel', '15008', 'each captured pod', 'inbound HBONE: mutual TLS 1.3 and HTTP/2 CONNECT'],
    ['ztunnel', '15053', 'each captured pod, loopback only', 'DNS of the pod'],
    ['ztunnel', '15080', 'each captured pod', 'SOCKS5, off by default'],
    ['ztunnel', String(z.value.admin.port), 'the proxy, local peers only', 'admin'],
    ['ztunnel', String(z.value.stats.port), 'the proxy', 'metrics'],
    ['ztunnel', String(z.value.readiness.port), 'the proxy', 'readiness'],
    ['waypoint', '15008', 'the waypoint', 'HBONE: requests to the services bound to it'],
    [
      'gateway',
      'of its listeners',
      'everybody',
      'HTTP, HTTPS, TCP; in the pod 10000 higher below 1024',
    ],
    ['waypoint', '15000', 'the waypoint, local peers only', 'admin'],
    ['waypoint', '15020', 'the waypoint', 'metrics'],
    ['waypoint', '15021', 'the waypoint', 'readiness'],
    ['istiod-lite', '15012', 'the control plane', 'xDS and certificates over TLS'],
    ['istiod-lite', '15014', 'the control plane', 'metrics and debug pages'],
    ['istiod-lite', '8080', 'the control plane', 'readiness and debug pages'],
  ];
  return `${notice}# Ports

${table(['program', 'port', 'bound in', 'carries'], rows)}
`;
}

async function cli(): Promise<string> {
  const sections = (await renderHelp()).map(
    ({ name, text }) => `## ${name}\n\n\`\`\`text\n${text}\n\`\`\`\n`,
  );
  return `${notice}# ambientctl\n\n${sections.join('\n')}`;
}

function analysis(): string {
  const all = Object.entries(analysisCodes as Record<string, CodeRow>);
  const sections = all.map(
    ([code, c]) =>
      `<a id="${code.toLowerCase()}"></a>\n\n## ${code} ${c.name}\n\n${c.level}. ${c.means}\n\n${c.help}\n`,
  );
  return `${notice}# Messages of ambientctl analyze

Codes with IST are Istio's and mean the same here; those with AMB are ours. \`ambientctl analyze\` exits with 79 if a
message is at or above \`--failure-threshold\` (default Error).

${sections.join('\n')}`;
}

/** File name → text. */
export async function renderDocs(): Promise<Map<string, string>> {
  return new Map([
    ['errors.md', errors()],
    ['metrics.md', metrics()],
    ['config.md', config()],
    ['ports.md', ports()],
    ['cli.md', await cli()],
    ['analyze.md', analysis()],
  ]);
}

/** Names of files whose text differs from what the code says. */
export async function staleDocs(): Promise<string[]> {
  return [...(await renderDocs())]
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
    const stale = await staleDocs();
    for (const file of stale)
      process.stderr.write(`docs/reference/${file} is stale: run npm run gen\n`);
    process.exitCode = stale.length > 0 ? 1 : 0;
  } else {
    for (const [file, text] of await renderDocs()) writeFileSync(join(folder, file), text);
  }
}
