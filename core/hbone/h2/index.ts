// Door of the HTTP/2 engine: connections that carry CONNECT streams.
export { code } from './frames.ts';
export type { HeaderList } from './messages.ts';
export { H2Session } from './session.ts';
export { H2Stream } from './stream.ts';
