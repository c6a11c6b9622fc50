// `ambientctl ratelimit-server`: the service by which waypoints hold limits together.
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { parseAuthority } from '../../core/base/index.ts';
import { systemClock, systemRandom } from '../../core/runtime/index.ts';
import { createLog } from '../../core/telemetry/index.ts';
import { MemoryStore, RedisStore, startRateLimitServer } from '../../ratelimit/index.ts';
import { CliError } from '../errors.ts';

interface Flags {
  readonly listen: string;
  readonly redis?: string;
  readonly passwordFile?: string;
}

function hostPort(flag: string, text: string): { host: string; port: number } {
  const found = parseAuthority(text);
  if (!found) throw new CliError(`${flag} must be host:port, is "${text}"`);
  return { host: found.kind === 'ip' ? found.ip : found.host, port: found.port };
}

export function ratelimitServerCommand(): Command {
  return new Command('ratelimit-server')
    .summary('count requests for all waypoints')
    .description(
      'Serves envoy.service.ratelimit.v3, so that all replicas of a waypoint hold one limit. Limits come with the question. Plaintext: run it as a service of the mesh.',
    )
    .option('--listen <host:port>', 'where to serve', '0.0.0.0:8081')
    .option('--redis <host:port>', 'count in a store that speaks the Redis protocol; else here')
    .option('--password-file <file>', 'file with the password of the store')
    .addHelpText('after', '\nExample:\n  ambientctl ratelimit-server --redis redis:6379\n')
    .action(async (f: Flags) => {
      const log = createLog('ratelimit', { level: 'info' });
      const shared = { clock: systemClock, log };
      const { passwordFile: file } = f;
      const password = file === undefined ? undefined : readFileSync(file, 'utf8').trim();
      const store =
        f.redis === undefined
          ? new MemoryStore(systemClock)
          : new RedisStore({
              ...hostPort('--redis', f.redis),
              ...shared,
              random: systemRandom,
              password,
              timeoutMs: 100,
            });
      const server = await startRateLimitServer({
        ...hostPort('--listen', f.listen),
        ...shared,
        store,
      });
      log.info('serving', { port: server.port, store: f.redis ?? 'memory' });
      await new Promise<void>((resolve) => {
        for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
      });
      await server.stop(2_000);
      store.stop();
    });
}
