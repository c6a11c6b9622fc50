// Prints what the image holds of npm packages, as CycloneDX 1.5 JSON, from package-lock.json: name, version, licence,
// checksum. Development packages, those that carry Node, and those for other systems are left out, as in the Dockerfile.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

interface Locked {
  readonly version?: string;
  readonly license?: string;
  readonly integrity?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
}

const root = join(import.meta.dirname, '..');
const read = (file: string): unknown => JSON.parse(readFileSync(join(root, file), 'utf8'));

/** Optional packages that the image has: a native part for each of its platforms. */
const ofImage = /koffi-linux-(x64|arm64)$/;

/** `sha512-…` in base64 → what CycloneDX calls a hash. */
function hashOf(integrity: string): { alg: string; content: string } | undefined {
  const [alg, content] = integrity.split('-');
  if (alg !== 'sha512' || content === undefined) return undefined;
  return { alg: 'SHA-512', content: Buffer.from(content, 'base64').toString('hex') };
}

export function makeSbom(): object {
  const { name, version } = read('package.json') as { name: string; version: string };
  const { packages } = read('package-lock.json') as { packages: Record<string, Locked> };
  const components = Object.entries(packages)
    .filter(([path, p]) => path !== '' && !p.dev && (!p.optional || ofImage.test(path)))
    .map(([path, p]) => {
      const own = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
      const hash = p.integrity === undefined ? undefined : hashOf(p.integrity);
      return {
        type: 'library',
        name: own,
        version: p.version,
        purl: `pkg:npm/${own.replace('@', '%40')}@${p.version}`,
        ...(p.license !== undefined && { licenses: [{ license: { name: p.license } }] }),
        ...(hash && { hashes: [hash] }),
      };
    });
  return {
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    version: 1,
    metadata: { component: { type: 'application', name, version } },
    components,
  };
}

if (import.meta.main) process.stdout.write(`${JSON.stringify(makeSbom(), null, 2)}\n`);
