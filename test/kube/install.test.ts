// ambientctl as a user runs it: what is installed is what is printed, twice changes nothing, what fails is named, what
// is somebody else's is left alone, and nothing remains.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Applier } from '../../cli/index.ts';
import { type KubeObject, resources } from '../../core/kube/index.ts';
import { type ApiServer, apiServers, startApiServer } from '../kit/api-server.ts';
import { eventually } from '../kit/eventually.ts';
import { applyObjects, applyYaml, objectsOf, removeNow, root } from './kit.ts';

const label = 'app.kubernetes.io/part-of=ambient-lite';

/** What `part` says holds in `whole`; more may be there. */
function subset(part: unknown, whole: unknown, at: string): void {
  if (Array.isArray(part)) {
    assert.ok(Array.isArray(whole), at);
    assert.equal(whole.length, part.length, at);
    for (const [i, p] of part.entries()) subset(p, whole[i], `${at}[${i}]`);
  } else if (typeof part === 'object' && part !== null) {
    assert.ok(typeof whole === 'object' && whole !== null, at);
    for (const [k, v] of Object.entries(part))
      subset(v, (whole as Record<string, unknown>)[k], `${at}.${k}`);
    // The API server leaves out empty texts of variables.
  } else if (part !== '' || whole !== undefined) assert.equal(whole, part, at);
}

for (const { kind, skip } of apiServers) {
  describe(`install at ${kind}`, { skip, timeout: 180_000 }, () => {
    let api: ApiServer;
    let printed: KubeObject[] = [];
    before(async () => {
      api = await startApiServer(kind);
    });
    after(() => api.stop());

    const ctl = (...args: string[]) =>
      new Promise<{ code: number; out: string; err: string }>((resolve) => {
        const all = [join(root, 'cli/main.ts'), '-c', api.kubeconfig, ...args];
        execFile(
          process.execPath,
          all,
          { timeout: 120_000, maxBuffer: 64 << 20, env: { ...process.env, NO_COLOR: '1' } },
          (error, out, err) => {
            const code = error ? (typeof error.code === 'number' ? error.code : 255) : 0;
            resolve({ code, out, err });
          },
        );
      });
    const done = async (...args: string[]): Promise<string> => {
      const { code, out, err } = await ctl(...args);
      assert.equal(code, 0, err + out);
      return out;
    };
    const stored = async (o: KubeObject): Promise<KubeObject | undefined> => {
      const r = await new Applier(api.kube).resourceOf(o);
      return api.kube.get(r, r.namespaced ? o.metadata.namespace : undefined, o.metadata.name);
    };
    const versions = (): Promise<(string | undefined)[]> =>
      Promise.all(printed.map(async (o) => (await stored(o))?.metadata.resourceVersion));
    /** Everything with the label, of every kind of the installation. */
    const ours = async (): Promise<string[]> => {
      const out: string[] = [];
      const seen = new Set<string>();
      for (const o of printed) {
        if (seen.has(o.kind ?? '')) continue;
        seen.add(o.kind ?? '');
        const r = await new Applier(api.kube).resourceOf(o).catch(() => undefined);
        if (!r) continue;
        const { items } = await api.kube.list(r, undefined, { labelSelector: label });
        out.push(...items.map((i) => `${r.kind}/${i.metadata.name}`));
      }
      return out.toSorted();
    };
    /** Plays the controllers: whatever was asked for runs. */
    const allRuns = async (): Promise<void> => {
      for (const o of printed.filter((x) => x.kind === 'Deployment' || x.kind === 'DaemonSet')) {
        const now = await stored(o);
        if (!now) continue;
        const observedGeneration = now.metadata.generation;
        const status =
          o.kind === 'Deployment'
            ? {
                observedGeneration,
                replicas: 2,
                updatedReplicas: 2,
                availableReplicas: 2,
                readyReplicas: 2,
              }
            : {
                observedGeneration,
                currentNumberScheduled: 1,
                desiredNumberScheduled: 1,
                updatedNumberScheduled: 1,
                numberMisscheduled: 0,
                numberAvailable: 1,
                numberReady: 1,
              };
        const r = o.kind === 'Deployment' ? resources.deployments : resources.daemonSets;
        await api.kube.replace(r, { ...now, status }, 'status').catch(() => {});
      }
    };

    test('a dry run stores nothing', async () => {
      printed = JSON.parse(await done('manifests', 'generate', '-o', 'json')) as KubeObject[];
      assert.ok(printed.length > 20);
      await done('install', '--dry-run');
      assert.deepEqual(await ours(), []);
    });

    test('what is installed is what manifests generate prints, and nothing else', async () => {
      await done('install', '--no-wait');
      for (const o of printed) subset(o, await stored(o), `${o.kind}/${o.metadata.name}`);
      const wanted = printed.map((o) => `${o.kind}/${o.metadata.name}`);
      assert.deepEqual(await ours(), wanted.toSorted());
    });

    test('the same again changes no object', async () => {
      const before = await versions();
      await done('install', '--no-wait');
      await done('upgrade', '--no-wait');
      assert.deepEqual(await versions(), before);
    });

    test('values arrive, and go back', async () => {
      await done(
        'install',
        '--no-wait',
        '--set',
        'image=example.com/a:1',
        '-s',
        'istiod.replicas=3',
      );
      const istiod = await api.kube.get(resources.deployments, 'istio-system', 'istiod');
      assert.match(JSON.stringify(istiod), /"replicas":3/);
      assert.match(JSON.stringify(istiod), /"image":"example\.com\/a:1"/);
      await done('install', '--no-wait');
      for (const o of printed) subset(o, await stored(o), `${o.kind}/${o.metadata.name}`);
    });

    test('a pod that does not come up is named with its reason, then the wait ends well', async () => {
      await applyYaml(
        api,
        `
apiVersion: v1
kind: Pod
metadata: {name: istiod-1, namespace: istio-system, labels: {app: istiod}}
spec: {containers: [{name: discovery, image: x}]}
status: {phase: Pending, containerStatuses: [{name: discovery, image: x, imageID: "", ready: false, restartCount: 0, state: {waiting: {reason: ImagePullBackOff, message: no such image}}}]}`,
      );
      const { code, err } = await ctl('install', '--readiness-timeout', '1s');
      assert.equal(code, 1);
      assert.match(
        err,
        /Deployment\/istiod in istio-system.*\n.*pod istiod-1: ImagePullBackOff.*no such image/,
      );
      await removeNow(api, resources.pods, {
        metadata: { namespace: 'istio-system', name: 'istiod-1' },
      });
      let over = false;
      const waiting = ctl('install').finally(() => {
        over = true;
      });
      await eventually(
        async () => {
          await allRuns();
          return over;
        },
        'the wait ends',
        60_000,
      );
      const { code: fine, out } = await waiting;
      assert.equal(fine, 0, out);
      assert.match(out, /✔ Installation complete/);
    });

    test('a kind that somebody deletes is named by check, and is back after another install', async () => {
      const name = 'ratelimitpolicies.ambientlite.dev';
      assert.match((await ctl('check')).out, /all \d+ are there/);
      await api.kube.remove(resources.customResourceDefinitions, undefined, name);
      await eventually(async () => {
        const { code, out, err } = await ctl('check');
        return code !== 0 && `${out}${err}`.includes(name);
      }, 'check names it');
      await eventually(
        async () =>
          (await api.kube.get(resources.customResourceDefinitions, undefined, name)) === undefined,
        'it is gone',
        30_000,
      );
      await done('install', '--no-wait');
      assert.match((await ctl('check')).out, /all \d+ are there/);
    });

    test('what is somebody else’s is left alone', async () => {
      const istiod = await api.kube.get(resources.deployments, 'istio-system', 'istiod');
      assert.ok(istiod);
      const labels = { 'app.kubernetes.io/part-of': 'istio' };
      const patch = { metadata: { labels } };
      const crd = 'destinationrules.networking.istio.io';
      const how = { kind: 'merge' } as const;
      await api.kube.patch(resources.deployments, 'istio-system', 'istiod', patch, how);
      await api.kube.patch(resources.customResourceDefinitions, undefined, crd, patch, how);
      const { code, err } = await ctl('install', '--no-wait');
      assert.equal(code, 1);
      assert.match(err, /Deployment\/istiod in istio-system exists and is not ambient-lite’s/);
      assert.match(await done('install', '--no-wait', '--force'), /somebody else’s and stays/);
    });

    test('uninstall waits for the last pod to leave the mesh, and --purge leaves nothing', async () => {
      await applyYaml(
        api,
        `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, annotations: {ambient.istio.io/redirection: enabled}}
spec: {containers: [{name: c, image: x}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: waypoint, namespace: shop, labels: {gateway.istio.io/managed: istio.io-mesh-controller}}`,
      );
      const refused = await ctl('uninstall', '-y');
      assert.equal(refused.code, 1);
      assert.match(refused.err, /1 pods are in the mesh, in namespaces: shop/);
      const leaving = eventually(
        async () => {
          const shop = await api.kube.get(resources.namespaces, undefined, 'shop');
          if (shop?.metadata.labels?.['istio.io/dataplane-mode'] !== undefined) return false;
          const off = { metadata: { annotations: { 'ambient.istio.io/redirection': null } } };
          await api.kube.patch(resources.pods, 'shop', 'web-0', off, { kind: 'merge' });
          return true;
        },
        'the namespace leaves, and its pod (played by the test)',
        60_000,
      );
      await done('uninstall', '--purge', '-y');
      await leaving;
      await eventually(
        async () => {
          const left = (await ours()).filter((o) => o !== 'Namespace/istio-system');
          assert.deepEqual(left, []);
          return true;
        },
        'nothing is left',
        30_000,
      );
      const home = await api.kube.get(resources.namespaces, undefined, 'istio-system');
      // No controller ends a namespace here.
      assert.ok(!home || home.metadata.deletionTimestamp !== undefined);
      assert.equal(await api.kube.get(resources.serviceAccounts, 'shop', 'waypoint'), undefined);
      const kept = 'destinationrules.networking.istio.io';
      assert.ok(await api.kube.get(resources.customResourceDefinitions, undefined, kept));
    });

    test('a namespace of another name', async () => {
      const out = await done('-i', 'mesh', 'manifests', 'generate');
      assert.ok(!out.includes('istio-system'));
      assert.match(out, /value: https:\/\/istiod\.mesh\.svc:15012/);
      await applyObjects(
        api,
        objectsOf('base/namespace.yaml').map((o) => ({ ...o, metadata: { name: 'mesh' } })),
      );
    });
  });
}
