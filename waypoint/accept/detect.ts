// What the first bytes say: HTTP/1.x, HTTP/2, or anything else (waypoint-l7.md 2.2). Pure.
export type Detected = 'http1' | 'http2' | 'tcp' | 'more';

const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const methods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'];
/** A request line longer than this is somebody else's protocol. */
const longestLine = 8192;

export function detect(bytes: Uint8Array): Detected {
  const text = Buffer.from(bytes.subarray(0, longestLine)).toString('latin1');
  if (text === '') return 'more';
  if (text.startsWith(preface)) return 'http2';
  if (preface.startsWith(text)) return 'more';
  if (methods.some((m) => text.startsWith(`${m} `))) return 'http1';
  if (methods.some((m) => `${m} `.startsWith(text))) return 'more';
  const end = text.indexOf('\n');
  if (end >= 0)
    return /^[A-Za-z!#$%&'*+.^_`|~-]+ \S+ HTTP\/1\.[01]\r?$/.test(text.slice(0, end))
      ? 'http1'
      : 'tcp';
  if (bytes.length >= longestLine) return 'tcp';
  return /^[A-Za-z!#$%&'*+.^_`|~-]+( |$)[!-~ ]*\r?$/.test(text) ? 'more' : 'tcp';
}
