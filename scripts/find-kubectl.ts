// Says which kubectl the tests can use: the first on PATH that is 1.27 or newer. Exit code 1 = none.
import { execFileSync } from 'node:child_process';

const oldest = 27;

function minorOf(): number | undefined {
  try {
    const text = execFileSync('kubectl', ['version', '--client', '-o', 'json'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 20_000,
    });
    const { clientVersion } = JSON.parse(text) as { clientVersion?: { minor?: string } };
    const minor = Number.parseInt(clientVersion?.minor ?? '', 10);
    return Number.isNaN(minor) ? undefined : minor;
  } catch {
    return undefined;
  }
}

const minor = minorOf();
if (minor === undefined) process.stdout.write('no kubectl on PATH\n');
else process.stdout.write(`kubectl 1.${minor}${minor < oldest ? ' is too old' : ''}\n`);
process.exitCode = minor !== undefined && minor >= oldest ? 0 : 1;
