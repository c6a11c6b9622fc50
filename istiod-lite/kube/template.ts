// The Deployment that Gateways are served by: read once at the start, with the patches that were asked for.
import { readFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { parse } from 'yaml';
import { mergeJson, type Template } from '../gateway/index.ts';

const packageRoot = join(import.meta.dirname, '../..');

/** The namespace that the files name. */
const writtenNamespace = 'istio-system';

/**
 * Throws with the file's name if one cannot be read. A given image takes the place of the first container's, the
 * control plane's namespace that of the written one.
 */
export function readTemplate(
  files: readonly string[],
  { namespace = writtenNamespace, image = '' } = {},
): Template {
  const parts = files.map((file): unknown => {
    try {
      const text = readFileSync(isAbsolute(file) ? file : join(packageRoot, file), 'utf8');
      return parse(text.replaceAll(writtenNamespace, namespace));
    } catch (error) {
      throw new Error(`cannot read the waypoint template ${file}`, { cause: error });
    }
  });
  const template = parts.reduce<unknown>((all, part) => mergeJson(all, part), {}) as Template;
  const pod = template['spec'] as
    | { template?: { spec?: { containers?: { image?: string }[] } } }
    | undefined;
  const container = pod?.template?.spec?.containers?.[0];
  if (image !== '' && container) container.image = image;
  return template;
}
