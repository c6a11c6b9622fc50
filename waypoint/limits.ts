// What one stream may make us hold: together at most 1 MiB, whoever is slow. Windows are what a peer may send before we
// have passed it on, so a window is memory.

/** Of a tunnel's stream; smaller than a node proxy's, which pumps between sockets alone. */
export const tunnelWindow = 512 << 10;
/** Of an HTTP/2 stream inside a tunnel. */
export const innerWindow = 256 << 10;
/** Of an HTTP/2 connection inside a tunnel: its streams share it. */
export const innerConnectionWindow = 512 << 10;
