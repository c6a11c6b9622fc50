// The capture without the kernel's help: pods' programs get environment variables that make curl and
// Node go where decide.ts would send them (sandbox.md 2a). Other programs are not captured.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  type Capture,
  type Launched,
  type LaunchSpec,
  launchPlain,
  type Means,
} from './capture.ts';
import type { CaptureView } from './decide.ts';
import { curlConfig, viewFile } from './preload-view.ts';

const preload = pathToFileURL(path.join(import.meta.dirname, 'preload.ts')).href;

export class PreloadCapture implements Capture {
  readonly means: Means;
  readonly #folders = new Map<string, string>(); // pod address → its folder

  constructor(reason: string) {
    this.means = {
      kind: 'preload',
      reason: `environment variables for curl and Node alone: ${reason}`,
    };
  }

  async launch(spec: LaunchSpec): Promise<Launched> {
    const folder = this.#folders.get(spec.ip);
    if (!spec.captured || folder === undefined) return launchPlain(spec);
    const options = [spec.env['NODE_OPTIONS'], `--import=${preload}`].filter(Boolean).join(' ');
    const env = {
      ...spec.env,
      CURL_HOME: folder,
      SANDBOX_VIEW: path.join(folder, 'view.json'),
      NODE_OPTIONS: options,
    };
    return launchPlain({ ...spec, env });
  }

  async setView(view: CaptureView): Promise<void> {
    this.#folders.clear();
    for (const pod of view.pods.values()) {
      const folder = path.dirname(pod.hosts);
      this.#folders.set(pod.ip, folder);
      const hosts = fs.existsSync(pod.hosts) ? fs.readFileSync(pod.hosts, 'utf8') : '';
      replace(path.join(folder, '.curlrc'), curlConfig(view, pod, hosts));
      replace(path.join(folder, 'view.json'), JSON.stringify(viewFile(view, pod)));
    }
  }

  forget(): void {}

  async stop(): Promise<void> {}
}

function replace(file: string, text: string): void {
  fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  fs.writeFileSync(`${file}.new`, text, { mode: 0o600 });
  fs.renameSync(`${file}.new`, file);
}
