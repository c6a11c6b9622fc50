// Traps of the runtime, held over the sources where that is the honest way to hold them (checklist 2.9). A new place
// that a row looks for says here why it is harmless.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

const root = join(import.meta.dirname, '..');
const product = globSync('{core,certs,ztunnel,waypoint,istiod-lite,node-agent,ratelimit}/**/*.ts', {
  cwd: root,
}).filter((f) => !/\.test\.ts$|\.gen\.ts$|testkit\.ts$/.test(f));

/** Without comments; lines stay where they are. */
const bare = (text: string): string =>
  text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:'"`\\])\/\/.*$/gm, '$1');
const read = (file: string): string => bare(readFileSync(join(root, file), 'utf8'));
const sources = new Map(product.map((file) => [file, read(file)]));

/** `file: text` of everything in the product that `pattern` finds. */
const places = (pattern: RegExp): string[] =>
  [...sources].flatMap(([file, text]) =>
    [...text.matchAll(pattern)].map((m) => `${file}: ${(m[1] ?? m[0]).trim()}`),
  );
const notAmong = (found: readonly string[], allowed: Readonly<Record<string, string>>): string[] =>
  found.filter((f) => !Object.hasOwn(allowed, f));

test('the sources were found', () => assert.ok(sources.size > 200));

describe('R1 sockets and streams', () => {
  const makes =
    /\b((?:net|tls|http|https|http2)\.(?:connect|createConnection|request|createServer|createSecureServer)\(|new (?:net\.|tls\.)?(?:TLS)?Socket\()/g;
  test('R1 whoever makes one hears its errors', () => {
    const files = new Set(places(makes).map((p) => p.split(':')[0] ?? ''));
    assert.ok(files.size > 8, [...files].join());
    const deaf = [...files].filter(
      (f) => !/\.(?:on|once)\('(?:error|tlsClientError)'/.test(sources.get(f) ?? ''),
    );
    // Its socket goes to core/runtime's dial, which listens before it connects.
    assert.deepEqual(deaf, ['ztunnel/sockets.ts']);
  });
});

describe('R3 objects as maps', () => {
  // A key of somebody else's, written into an object: names that every object has would be overwritten or lost.
  const harmless: Record<string, string> = {
    'core/telemetry/log.ts: out[k] =': 'keys are words of our own log lines',
    'core/base/shape.ts: out[name] =': 'names of our own schema',
    'core/hbone/headers.ts: found[field] =': 'fields out of a table',
    'core/hbone/h2/messages.ts: list[name] =': 'an object without a prototype',
    'waypoint/http/headers.ts: out[name] =': 'an object without a prototype',
    'waypoint/upstream/upstreams.ts: fields[name] =': 'an object without a prototype',
    'waypoint/http/check-plan.ts: headers[partialHeader] =': 'a constant',
    'waypoint/balance/priority.ts: loads[first] =': 'a list',
    'waypoint/report.ts: out[name] =': 'one of three words',
    'istiod-lite/gateway/deploy-plan.ts: out[key] =': 'a copy that is only written out as JSON',
    'istiod-lite/gateway/destination-rules.ts: out[name] =': 'one of five words',
    'istiod-lite/keys/key-set.ts: out[name] =': 'members of a key that are listed',
    'core/dns/message.ts: bytes[this.length] =': 'a buffer',
    'waypoint/balance/consistent.ts: table[w.place] =': 'a list',
  };
  test('R3 only where the keys are ours', () => {
    const found = places(/\b([a-z]\w*\[(?!(?:i|j|n|at|index)\])[a-z][\w.]*\] =)[^=]/gi);
    assert.ok(found.length > 8);
    assert.deepEqual(notAmong(found, harmless), []);
    for (const file of [
      'core/hbone/h2/messages.ts',
      'waypoint/http/headers.ts',
      'waypoint/upstream/upstreams.ts',
    ])
      assert.match(sources.get(file) ?? '', /Object\.create\(null\)/);
  });
});

describe('R4 regular expressions', () => {
  // Each inner choice begins with a character that no other can begin with, so that there is one way to match.
  const linear: Record<string, string> = {
    'istiod-lite/gateway/access.ts: /^request\\.auth\\.claims(\\[[^[\\]]+\\])+$/': 'brackets',
    'waypoint/l7/access.ts: /^request\\.auth\\.claims((?:\\[[^[\\]]+\\])+)$/': 'brackets',
    'waypoint/l7/token.ts: /"(?:[^"\\\\]|\\\\.)*"(\\s*:)?|[{}[\\]]/gs': 'a backslash or none',
    'waypoint/accept/sni.ts: /^[a-z0-9_-]+(\\.[a-z0-9_-]+)*$/': 'a dot',
    'core/dns/message.ts: /(?:\\\\.|[^.])+/gs': 'nothing follows that could fail',
  };
  test('R4 none repeats what repeats', () => {
    const all = places(
      /(?:[(=,:[!&|?]|return)\s*(\/(?![*/])(?:[^/\\\n[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*)/g,
    );
    assert.ok(all.length > 60, String(all.length));
    const nested = all.filter((p) => /\)(?:[*+]|\{\d+,\d*\})/.test(p));
    assert.deepEqual(notAmong(nested, linear), []);
  });
  test('R4 none is made of text at run time, but of schemas of our own', () => {
    assert.deepEqual(places(/new RegExp\([^)]*/g), ["core/base/shape.ts: new RegExp(pattern, 'u'"]);
  });
});

test('R5 secrets are compared in constant time', () => {
  const secret = String.raw`[\w.#]*(?:secret|password|hmac|bearer|apikey|admintoken|digest)`;
  const other = String.raw`(?!'|undefined|null|true|false|\d)`;
  const found = places(
    new RegExp(`(\\b${secret}\\s*[!=]==\\s*${other}\\S+|[!=]==\\s*${secret}\\b)`, 'gi'),
  );
  assert.deepEqual(found, []);
  // The one secret that is looked at here and not at the API server.
  assert.match(read('sandbox/api/tokens.ts'), /isAdmin: .*timingSafeEqual\(/);
});

describe('R6 what is gathered', () => {
  const bounded: Record<string, string> = {
    'core/hbone/h2/blocks.ts': 'frames and bytes of a header block are limited',
    'core/hbone/h2/frames.ts': 'a frame is limited before its payload is read',
    'core/hbone/h2/hpack.ts': 'what we send',
    'core/hbone/h2/wire.ts': 'what we send: one frame',
    'core/kube/rest.ts': 'answerLimitBytes',
    'core/linux/filter.ts': 'what we send',
    'core/runtime/mesh-sync.ts': 'mostBytes',
    'core/runtime/ops-server.ts': 'maxBodyBytes',
    'istiod-lite/keys/fetch.ts': 'maxBytes',
    'waypoint/accept/peek.ts': 'as many bytes as tell a protocol',
    'waypoint/accept/sni.ts': 'what was peeked at',
    'waypoint/http/external.ts': 'maxRequestBytes of the provider',
    'waypoint/http/side-call.ts': 'limit',
    'waypoint/plugins/frames.ts': 'limit',
    'waypoint/plugins/host.ts': 'what our own waypoint sends',
    'waypoint/tunnel-socket.ts': 'what one write gathers',
  };
  test('R6 whoever joins buffers has a limit for them', () => {
    const files = new Set(places(/Buffer\.concat\(/g).map((p) => p.split(':')[0] ?? ''));
    assert.ok(files.size > 8);
    assert.deepEqual(notAmong([...files], bounded), []);
  });
});
