// The application at the far end, in a process of its own: first byte `E` = echo everything, `S` = swallow
// everything and answer one byte at the end.
import { createServer } from 'node:net';

const [, , host = '127.0.0.1', port = '0'] = process.argv;

const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  socket.on('error', () => {});
  socket.once('data', (first: Buffer) => {
    const rest = first.subarray(1);
    if (first[0] === 0x45) {
      if (rest.length > 0) socket.write(rest);
      socket.pipe(socket);
      return;
    }
    socket.on('data', () => {});
    socket.on('end', () => socket.end('!'));
  });
});
server.listen(Number(port), host, () => process.send?.('ready'));
process.once('disconnect', () => process.exit(0));
