// Door of core/proto: the wire as data.
export { descriptor } from './descriptor.gen.ts';
export * from './types.gen.ts';
