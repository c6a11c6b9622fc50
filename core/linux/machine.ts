// Whether this process can be a machine of network namespaces: as root, as root of a user namespace it
// was started in, or by starting a program in a user namespace of its own (sandbox.md D17, 2b).
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { netToolsAvailable } from './net-tools.ts';
import { namespacesAvailable } from './netns.ts';

const limitMs = 15_000;

export type MachineMeans =
  /** This process itself can. */
  | { readonly kind: 'own' }
  /** A program started with `unshareArgs` can. */
  | { readonly kind: 'user-namespace' }
  | { readonly kind: 'none'; readonly reason: string };

/**
 * Arguments of `unshare`: user, network, mount and process namespaces whose end is the end of everything
 * in them. A shell is their first process, because somebody must take in what its parent has left.
 */
export const unshareArgs = (command: readonly string[]): string[] => [
  '-Urnmpf',
  '--mount-proc',
  '--kill-child',
  'sh',
  '-c',
  '"$@" & wait $!',
  'sh',
  ...command,
];

/** What the rules of pods and nodes need of the kernel. */
const trialRules = `table inet trial {
  chain out {
    type nat hook output priority -100; policy accept;
    tcp dport 1 meta mark & 0xfff == 0x539 redirect to :15001
    udp dport 53 redirect to :15053
  }
  chain raw {
    type filter hook output priority -300; policy accept;
    udp dport 53 ct zone set 1
  }
  chain back {
    type route hook output priority -150; policy accept;
    ct mark & 0xfff == 0x111 meta mark set ct mark
  }
}
`;

/** Tries, and takes everything away again. The reason names what is missing and how to get it. */
export function machineMeans(): MachineMeans {
  if (process.platform !== 'linux') return { kind: 'none', reason: 'this is not Linux' };
  const tools = netToolsAvailable();
  if (!tools.ok) return { kind: 'none', reason: tools.reason };
  if (namespacesAvailable().ok) {
    const failed = trial(['-n', 'nft', '-f', '-']);
    if (failed === undefined) {
      const home = makeHome();
      return home === undefined ? { kind: 'own' } : { kind: 'none', reason: home };
    }
    return { kind: 'none', reason: kernelReason(failed) };
  }
  const inside = ['sh', '-c', 'mount -t tmpfs tmpfs /run && nft -f -'];
  const failed = trial(['-Urnmpf', '--mount-proc', '--kill-child', ...inside]);
  if (failed === undefined) return { kind: 'user-namespace' };
  const denied = /unshare|uid_map|setgroups|mount/.test(failed);
  return { kind: 'none', reason: denied ? userReason(failed) : kernelReason(failed) };
}

function trial(args: readonly string[]): string | undefined {
  const run = spawnSync('unshare', args, {
    input: trialRules,
    encoding: 'utf8',
    timeout: limitMs,
    killSignal: 'SIGKILL',
  });
  if (run.error) return `unshare: ${run.error.message}`;
  return run.status === 0 ? undefined : run.stderr.trim().split('\n')[0] || `code ${run.status}`;
}

const kernelReason = (said: string): string =>
  `the kernel does not take nftables rules (${said}); it needs nf_tables with nat, redirect, mark and ` +
  'zones (modprobe nf_tables nft_redir nft_ct), and the capability NET_ADMIN';

const userReason = (said: string): string =>
  `network namespaces need root, and ordinary users may not make user namespaces here (${said}). Run as ` +
  'root, or allow them: sysctl user.max_user_namespaces=15000, on Debian kernel.unprivileged_userns_clone=1, ' +
  'on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0, in a container --privileged';

// In a user namespace /run and /etc belong to somebody else. Both are given a new top in this mount
// namespace; /etc shows what was there before, but for the two files that `ip netns exec` binds over.
const homeScript = `set -e
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/netns /run/etc
mount --rbind /etc /run/etc
mount -t tmpfs -o mode=755 tmpfs /etc
for file in /run/etc/* /run/etc/.[!.]*; do
  if [ -L "$file" ]; then cp -P "$file" /etc/
  elif [ -e "$file" ]; then ln -s "$file" "/etc/\${file##*/}"
  fi
done
rm -f /etc/hosts /etc/resolv.conf /etc/netns
printf '127.0.0.1\\tlocalhost\\n::1\\tlocalhost\\n' > /etc/hosts
: > /etc/resolv.conf
mkdir /etc/netns
: > /run/.namespaces
`;

/** Why `ip netns` will not work, or `undefined`. Changes nothing outside of a user namespace. */
function makeHome(): string | undefined {
  const writable = (folder: string): boolean => {
    try {
      fs.mkdirSync(folder, { recursive: true });
      fs.accessSync(folder, fs.constants.W_OK);
      return true;
    } catch {
      return false;
    }
  };
  if (!inUserNamespace()) {
    return writable('/run/netns') ? undefined : '/run/netns cannot be written';
  }
  // Not by what can be written: the machine's own root may write its folders from here, and has no loopback yet.
  if (fs.existsSync('/run/.namespaces')) return undefined;
  const run = spawnSync('sh', ['-c', homeScript], { encoding: 'utf8', timeout: limitMs });
  if (run.status === 0) return undefined;
  return `this user namespace has no mount namespace of its own (unshare -Urnm): ${run.stderr.trim()}`;
}

/** Whether this process's root is not the machine's. */
function inUserNamespace(): boolean {
  try {
    return !/^\s*0\s+0\s+4294967295\s*$/.test(fs.readFileSync('/proc/self/uid_map', 'utf8'));
  } catch {
    return false;
  }
}
