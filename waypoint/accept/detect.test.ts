import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Detected, detect } from './detect.ts';

const rows: readonly (readonly [string, Detected])[] = [
  ['', 'more'],
  ['G', 'more'],
  ['GET /', 'http1'],
  ['DELETE / HTTP/1.1\r\n', 'http1'],
  ['PURGE / HTTP/1.1\r\n', 'http1'],
  ['PURGE /', 'more'],
  ['PRI * HT', 'more'],
  ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'http2'],
  ['PRI * HTTP/1.1\r\n', 'http1'],
  ['\x16\x03\x01', 'tcp'],
  ['hello\r\n', 'tcp'],
  ['*1\r\n$4\r\nPING\r\n', 'tcp'],
  ['EHLO mail\r\n', 'tcp'],
];

for (const [text, wanted] of rows) {
  test(`${JSON.stringify(text)} is ${wanted}`, () =>
    assert.equal(detect(Buffer.from(text, 'latin1')), wanted));
}
