// The search through a node's /proc, in a folder that looks like one (control-plane.md 1.5).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { procFinder, recordFinder } from './netns-finder.ts';

const proc = fs.mkdtempSync(path.join(tmpdir(), 'ambient-proc-'));
after(() => fs.rmSync(proc, { recursive: true, force: true }));

/** `netns` is a file here; what is opened is what the link leads to. */
function put(pid: number | string, netns: string, cgroup: string, started: number): void {
  const folder = path.join(proc, String(pid));
  const target = path.join(proc, netns);
  fs.writeFileSync(target, netns);
  fs.mkdirSync(path.join(folder, 'ns'), { recursive: true });
  fs.symlinkSync(target, path.join(folder, 'ns/net'));
  fs.writeFileSync(path.join(folder, 'cgroup'), `0::/${cgroup}\n`);
  const fields = ['S', ...Array.from({ length: 18 }, () => '0'), String(started), '0'];
  fs.writeFileSync(path.join(folder, 'stat'), `${pid} (a) b) ${fields.join(' ')}\n`);
}
const read = (fd: number | undefined): string | undefined => {
  if (fd === undefined) return undefined;
  const text = fs.readFileSync(fd, 'utf8');
  fs.closeSync(fd);
  return text;
};

const uid = '12345678-aaaa-bbbb-cccc-123456789012';
put(1, 'host', 'init.scope', 1);
put(200, 'pod', `kubepods/burstable/pod${uid}/abc`, 50);
put(201, 'nested', `kubepods/burstable/pod${uid}/abc`, 60);
put(150, 'host', `kubepods/pod${uid}/shim`, 40);
put(300, 'other', 'kubepods/pod99999999-0000-0000-0000-000000000000/x', 10);
put(400, 'systemd', 'kubepods-pod11111111_2222_3333_4444_555555555555.slice/cri-x', 10);
fs.mkdirSync(path.join(proc, '999'));
fs.writeFileSync(path.join(proc, 'meminfo'), '');

test('the namespace of the pod’s oldest process that is not the host’s', () => {
  assert.equal(read(procFinder(proc).find(uid)), 'pod');
});

test('systemd writes the uid with underscores', () => {
  assert.equal(read(procFinder(proc).find('11111111-2222-3333-4444-555555555555')), 'systemd');
});

test('no process, processes of the host alone: none', () => {
  assert.equal(procFinder(proc).find('00000000-0000-0000-0000-000000000001'), undefined);
  put(500, 'host', 'kubepods/podaaaaaaaa-0000-0000-0000-000000000000/x', 10);
  assert.equal(procFinder(proc).find('aaaaaaaa-0000-0000-0000-000000000000'), undefined);
});

test('the runner’s record: a link by uid, or none', () => {
  const folder = path.join(proc, 'records');
  fs.mkdirSync(folder);
  fs.symlinkSync(path.join(proc, 'pod'), path.join(folder, uid));
  assert.equal(read(recordFinder(folder).find(uid)), 'pod');
  assert.equal(recordFinder(folder).find('nobody'), undefined);
});
