// Which names a wildcard host stands for, and which of them its namespace says something narrower of.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type MeshView, namespacedHost, type Service } from '../../core/model/index.ts';
import { defaultCluster } from './cluster.ts';
import { forName, nameUnder } from './wildcard.ts';

const rows: readonly (readonly [string, string | undefined])[] = [
  ['a.example.com', 'a.example.com'],
  ['A.Example.COM.', 'a.example.com'],
  ['a.example.com:8443', 'a.example.com'],
  ['a.b.example.com', 'a.b.example.com'],
  ['_x-1.example.com', '_x-1.example.com'],
  ['example.com', undefined],
  ['.example.com', undefined],
  ['a..example.com', undefined],
  ['evilexample.com', undefined],
  ['a.example.com.evil.org', undefined],
  ['*.example.com', undefined],
  ['a b.example.com', undefined],
  ['a\u0000.example.com', undefined],
  ['a@b.example.com', undefined],
  ['ä.example.com', undefined],
  [`${'a'.repeat(64)}.example.com`, undefined],
  [`${'a.'.repeat(125)}example.com`, undefined],
  ['127.0.0.1', undefined],
  ['[::1]', undefined],
  ['', undefined],
];
for (const [authority, wanted] of rows) {
  test(`K9 ${JSON.stringify(authority.slice(0, 30))} under *.example.com: ${wanted ?? 'none'}`, () =>
    assert.equal(nameUnder('*.example.com', authority), wanted));
}

describe('the cluster of a name', () => {
  const known = (...hosts: string[]): MeshView =>
    ({
      service: (key: string) =>
        hosts.some((h) => key === `shop/${h}`) ? ({} as Service) : undefined,
    }) as unknown as MeshView;
  const wild = defaultCluster(namespacedHost('shop', '*.example.com'), 80);

  test('is the wildcard’s own, with the name', () => {
    const c = forName(known('*.example.com'), wild, 'a.example.com');
    assert.deepEqual([c?.key, c?.name, c?.policy.idleMs], [wild.key, 'a.example.com', 60_000]);
  });
  test('is not there for what the namespace names itself, exactly or by a narrower pattern', () => {
    assert.equal(forName(known('a.example.com'), wild, 'a.example.com'), undefined);
    assert.equal(forName(known('*.b.example.com'), wild, 'a.b.example.com'), undefined);
    assert.ok(forName(known('*.com', 'b.example.com'), wild, 'a.example.com'));
  });
  test('is as it was where the host is no wildcard', () => {
    const plain = defaultCluster(namespacedHost('shop', 'web.example.com'), 80);
    assert.equal(forName(known(), plain, 'anything'), plain);
  });
});
