// Starts the node proxy. Compiled code is kept beside the packages: without it every start compiles the same
// sources, and pays for the compiler with 25 MB of memory for as long as the proxy runs.
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

enableCompileCache(join(import.meta.dirname, '../node_modules/.cache/ztunnel'));
await import('./program.ts');
