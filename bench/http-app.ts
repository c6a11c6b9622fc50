// The HTTP application at the far end: 1 KiB for GET, as much taken and a short answer for POST.
import { createServer } from 'node:http';

const [, , host = '127.0.0.1', port = '0'] = process.argv;
const page = Buffer.alloc(1024, 'a');
const taken = Buffer.from('ok');

const server = createServer((request, response) => {
  const body = request.method === 'POST' ? taken : page;
  request.resume();
  request.once('end', () => {
    response.writeHead(200, { 'content-type': 'text/plain', 'content-length': body.length });
    response.end(body);
  });
});
server.keepAliveTimeout = 60_000;
server.listen(Number(port), host, () => process.send?.('ready'));
process.once('disconnect', () => process.exit(0));
