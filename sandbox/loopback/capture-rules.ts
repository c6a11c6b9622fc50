// Which calls of a captured process stop for an answer, as rules for core/linux. Pure.
import { callNumbers, errno, type TrapRule } from '../../core/linux/index.ts';
import type { SocketMeans } from './messages.ts';

const openForReading = { mask: 0o10000103, value: 0 }; // no O_WRONLY, O_RDWR, O_CREAT, O_PATH
const MSG_FASTOPEN = 0x20000000;

export function captureRules(sockets: SocketMeans): TrapRule[] {
  const n = callNumbers(process.arch);
  if (!n) return [];
  const notify = { do: 'notify' } as const;
  const rules: TrapRule[] = [
    { nr: n.connect, action: notify },
    { nr: n.bind, action: notify },
    { nr: n.openat, when: { arg: 2, ...openForReading }, action: notify },
    // Connects hidden in a send, or in a ring of requests, could not be seen: programs fall back.
    ...[
      { nr: n.sendto, arg: 3 },
      { nr: n.sendmsg, arg: 2 },
    ].map(
      ({ nr, arg }): TrapRule => ({
        nr,
        when: { arg, mask: MSG_FASTOPEN, value: MSG_FASTOPEN },
        action: { do: 'fail', errno: errno.EOPNOTSUPP },
      }),
    ),
    { nr: n.ioUringSetup, action: { do: 'fail', errno: errno.ENOSYS } },
  ];
  if (n.open !== undefined) {
    rules.push({ nr: n.open, when: { arg: 1, ...openForReading }, action: notify });
  }
  if (sockets === 'copies') {
    rules.push({ nr: n.socket, action: notify }, { nr: n.listen, action: notify });
  }
  return rules;
}
