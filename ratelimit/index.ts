// Door of ratelimit: limits that several waypoints hold together.
export { RedisStore } from './redis-store.ts';
export { type RateLimitServerOptions, startRateLimitServer } from './serve.ts';
export { MemoryStore, type Store } from './store.ts';
