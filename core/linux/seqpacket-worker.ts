// Worker thread that waits on one SOCK_SEQPACKET socket, which Node's event loop cannot: it accepts, or
// it receives, and posts what came. The main thread ends it by shutting the socket down.
import { parentPort, workerData } from 'node:worker_threads';
import { libc } from './calls.ts';
import { errno, SOCK_CLOEXEC } from './numbers.ts';
import { receivePacket } from './seqpacket-calls.ts';
import type { SeqpacketJob, SeqpacketReport } from './seqpacket.ts';

const port = parentPort;
if (!port) throw new Error('seqpacket-worker.ts runs as a worker thread');
const report = (message: SeqpacketReport): void => port.postMessage(message);
const { fd, job } = workerData as SeqpacketJob;

if (job === 'accept') {
  for (;;) {
    const accepted = libc().accept4(fd, SOCK_CLOEXEC);
    if (accepted >= 0) report({ kind: 'accepted', fd: accepted });
    else if (accepted !== -errno.EINTR && accepted !== -errno.EAGAIN) {
      report({ kind: 'end', errno: accepted === -errno.EINVAL ? 0 : -accepted });
      break;
    }
  }
} else {
  for (;;) {
    const packet = receivePacket(fd);
    if (typeof packet === 'object') report({ kind: 'packet', packet });
    else {
      report({ kind: 'end', errno: packet === undefined ? 0 : -packet });
      break;
    }
  }
}
