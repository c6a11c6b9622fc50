// The tests beside the code, all in one process: to start one for each of them, and to load the same modules again, cost
// more than the tests. Each can still be run alone.
import { globSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');
const folders =
  'core,certs,ztunnel,waypoint,node-agent,ratelimit,istiod-lite,sandbox,cli,samples,bench,scripts';
const files = globSync(`{${folders}}/**/*.test.ts`, { cwd: root });
for (const file of files.toSorted()) await import(join(root, file));
