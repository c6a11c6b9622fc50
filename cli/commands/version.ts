// `ambientctl version`: the client's, the control plane's and the data plane's (control-plane.md 8.7).
import { Command } from 'commander';
import { type KubeClient, resources } from '../../core/kube/index.ts';
import { packageVersion } from '../../core/runtime/index.ts';
import { callPodJson } from '../admin-client.ts';
import { connect, type GlobalFlags } from '../connect.ts';
import { printData, readFormat } from '../output.ts';
import { adminPort, podStatus, ztunnelPods } from '../refs.ts';

interface Versions {
  readonly client: string;
  readonly controlPlane: readonly string[];
  readonly dataPlane: readonly { readonly version: string; readonly proxies: number }[];
}

async function controlPlane(kube: KubeClient, istioNamespace: string): Promise<string[]> {
  const { items } = await kube.list(resources.pods, istioNamespace, {
    labelSelector: 'app=istiod',
  });
  const running = items.filter((p) => podStatus(p).phase === 'Running');
  const found = new Set<string>();
  for (const p of running) {
    const ref = { namespace: istioNamespace, name: p.metadata.name };
    const answer = (await callPodJson(kube, ref, 15_014, 'GET', '/version')) as {
      version?: string;
    };
    found.add(answer.version ?? 'unknown');
  }
  return [...found];
}

async function dataPlane(kube: KubeClient, istioNamespace: string): Promise<Versions['dataPlane']> {
  const counts = new Map<string, number>();
  for (const z of await ztunnelPods(kube, istioNamespace)) {
    const dump = (await callPodJson(kube, z, adminPort, 'GET', '/config_dump')) as {
      version?: { version?: string };
    };
    const version = dump.version?.version ?? 'unknown';
    counts.set(version, (counts.get(version) ?? 0) + 1);
  }
  return [...counts].map(([version, proxies]) => ({ version, proxies }));
}

function printShort(v: Versions, istioNamespace: string): string {
  if (v.controlPlane.length === 0) {
    return `Istio is not present in the cluster: no running Istio pods in namespace "${istioNamespace}"\nclient version: ${v.client}\n`;
  }
  const data = v.dataPlane.map((d) => `data plane version: ${d.version} (${d.proxies} proxies)\n`);
  return `client version: ${v.client}\ncontrol plane version: ${v.controlPlane.join(', ')}\n${data.join('')}`;
}

export function versionCommand(): Command {
  return new Command('version')
    .summary('versions of client, control plane and data plane')
    .description('Shows the versions of client, control plane and data plane.')
    .option('-o, --output <format>', 'short, json or yaml', 'short')
    .option('--no-remote', 'the client’s alone')
    .addHelpText('after', '\nExample:\n  ambientctl version -o json\n')
    .action(async (f: { output: string; remote: boolean }, self: Command) => {
      const format = readFormat(f.output);
      const globals = self.optsWithGlobals<GlobalFlags>();
      const client = packageVersion();
      if (!f.remote) {
        process.stdout.write(printData(format, { client }, () => `client version: ${client}\n`));
        return;
      }
      const kube = await connect(globals);
      const versions: Versions = {
        client,
        controlPlane: await controlPlane(kube, globals.istioNamespace),
        dataPlane: await dataPlane(kube, globals.istioNamespace),
      };
      process.stdout.write(
        printData(format, versions, () => printShort(versions, globals.istioNamespace)),
      );
    });
}
