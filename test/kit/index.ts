// Door of test/kit for the measurements, which stage the same things.
export { type ApiServer, startApiServer } from './api-server.ts';
export { backs, testService, testWorkload } from './mesh.ts';
export { type NodeAgent, startNodeAgent } from './node-agent.ts';
