// What Kubernetes checks beyond types: names, ports, selectors that fit, fields that must not change.
// Only the rules a user meets; pure.
import { isDeepStrictEqual } from 'node:util';
import type { ResourceInfo } from '../store/index.ts';
import {
  type FieldFault,
  forbiddenFault,
  invalidFault,
  requiredFault,
  unsupportedFault,
} from './faults.ts';
import { at, isRecord, type Json, list, number, record, text } from './json.ts';

const label = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const subdomain = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const dns1035 = /^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/;
const qualified =
  /^((?=.{1,253}\/)[a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?$/;
const labelValue = /^(?=.{0,63}$)([A-Za-z0-9]([-\w.]*[A-Za-z0-9])?)?$/;
const dataKey = /^(?!\.\.?$)[-._a-zA-Z0-9]{1,253}$/;

const subdomainHelp =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const labelHelp =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character, at most 63 in all";

function nameFault(info: ResourceInfo, name: string, field: string): FieldFault | undefined {
  if (info.group === 'rbac.authorization.k8s.io') {
    return /^[^/%]+$/.test(name) && name !== '.' && name !== '..'
      ? undefined
      : invalidFault(field, name, 'may not contain "/" or "%"');
  }
  if (info.key === 'v1/namespaces')
    return label.test(name) ? undefined : invalidFault(field, name, labelHelp);
  if (info.key === 'v1/services') {
    return dns1035.test(name)
      ? undefined
      : invalidFault(
          field,
          name,
          'a DNS-1035 label must start with a lower case letter and consist of lower case letters, digits or "-"',
        );
  }
  return subdomain.test(name) ? undefined : invalidFault(field, name, subdomainHelp);
}

function metaFaults(info: ResourceInfo, metadata: Json): FieldFault[] {
  const out: FieldFault[] = [];
  const name = text(metadata['name']);
  const prefix = text(metadata['generateName']);
  if (name === '' && prefix === '')
    out.push(requiredFault('metadata.name', 'name or generateName is required'));
  const fault = name
    ? nameFault(info, name, 'metadata.name')
    : prefix
      ? nameFault(info, `${prefix}x`, 'metadata.generateName')
      : undefined;
  if (fault) out.push(fault);
  for (const [key, value] of Object.entries(record(metadata['labels']))) {
    if (!qualified.test(key))
      out.push(
        invalidFault(
          'metadata.labels',
          key,
          'name part must consist of alphanumeric characters, "-", "_" or "."',
        ),
      );
    if (!labelValue.test(text(value))) {
      out.push(
        invalidFault(
          'metadata.labels',
          value,
          "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', at most 63",
        ),
      );
    }
  }
  let size = 0;
  for (const [key, value] of Object.entries(record(metadata['annotations']))) {
    if (!qualified.test(key.toLowerCase()))
      out.push(
        invalidFault(
          'metadata.annotations',
          key,
          'name part must consist of alphanumeric characters, "-", "_" or "."',
        ),
      );
    size += key.length + text(value).length;
  }
  if (size > 256 * 1024)
    out.push(invalidFault('metadata.annotations', size, 'must have at most 262144 bytes in all'));
  return out;
}

function portFault(field: string, value: unknown): FieldFault[] {
  const port = number(value);
  return port !== undefined && (port < 1 || port > 65535)
    ? [invalidFault(field, port, 'must be between 1 and 65535, inclusive')]
    : [];
}

const protocols = ['TCP', 'UDP', 'SCTP'];

function protocolFault(field: string, value: unknown): FieldFault[] {
  return value === undefined || protocols.includes(text(value))
    ? []
    : [unsupportedFault(field, value, protocols)];
}

function containerFaults(value: unknown, path: string, seen: Set<string>): FieldFault[] {
  const c = record(value);
  const name = text(c['name']);
  const out: FieldFault[] = [];
  if (name && !label.test(name)) out.push(invalidFault(`${path}.name`, name, labelHelp));
  if (seen.has(name)) {
    out.push({
      field: `${path}.name`,
      reason: 'FieldValueDuplicate',
      message: `Duplicate value: "${name}"`,
    });
  }
  seen.add(name);
  list(c['ports']).forEach((p, i) => {
    out.push(...portFault(`${path}.ports[${i}].containerPort`, record(p)['containerPort']));
    out.push(...protocolFault(`${path}.ports[${i}].protocol`, record(p)['protocol']));
  });
  return out;
}

function podSpecFaults(spec: Json, path: string): FieldFault[] {
  const out: FieldFault[] = [];
  if (list(spec['containers']).length === 0) out.push(requiredFault(`${path}.containers`));
  const seen = new Set<string>();
  for (const kind of ['initContainers', 'containers']) {
    list(spec[kind]).forEach((c, i) =>
      out.push(...containerFaults(c, `${path}.${kind}[${i}]`, seen)),
    );
  }
  const policies = ['Always', 'OnFailure', 'Never'];
  if (!policies.includes(text(spec['restartPolicy']))) {
    out.push(unsupportedFault(`${path}.restartPolicy`, spec['restartPolicy'], policies));
  }
  const volumes = new Set(list(spec['volumes']).map((v) => text(record(v)['name'])));
  list(spec['containers']).forEach((c, i) => {
    list(record(c)['volumeMounts']).forEach((m, j) => {
      const name = text(record(m)['name']);
      if (volumes.has(name)) return;
      out.push({
        field: `${path}.containers[${i}].volumeMounts[${j}].name`,
        reason: 'FieldValueInvalid',
        message: `Not found: "${name}"`,
      });
    });
  });
  return out;
}

function workloadFaults(object: Json): FieldFault[] {
  const spec = record(object['spec']);
  const out = podSpecFaults(record(at(spec, 'template', 'spec')), 'spec.template.spec');
  const replicas = number(spec['replicas']);
  if (replicas !== undefined && replicas < 0) {
    out.push(invalidFault('spec.replicas', replicas, 'must be greater than or equal to 0'));
  }
  const policy = at(spec, 'template', 'spec', 'restartPolicy');
  if (policy !== 'Always')
    out.push(unsupportedFault('spec.template.spec.restartPolicy', policy, ['Always']));
  const wanted = record(at(spec, 'selector', 'matchLabels'));
  const labels = record(at(spec, 'template', 'metadata', 'labels'));
  const expressions = list(at(spec, 'selector', 'matchExpressions'));
  if (Object.keys(wanted).length === 0 && expressions.length === 0) {
    out.push(
      invalidFault(
        'spec.selector',
        spec['selector'] ?? null,
        'empty selector is invalid for this kind',
      ),
    );
  } else if (Object.entries(wanted).some(([k, v]) => labels[k] !== v)) {
    out.push(
      invalidFault(
        'spec.template.metadata.labels',
        labels,
        '`selector` does not match template `labels`',
      ),
    );
  }
  return out;
}

const serviceTypes = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'];

function serviceFaults(object: Json): FieldFault[] {
  const spec = record(object['spec']);
  const ports = list(spec['ports']).map(record);
  const out: FieldFault[] = [];
  if (!serviceTypes.includes(text(spec['type'])))
    out.push(unsupportedFault('spec.type', spec['type'], serviceTypes));
  const free = spec['type'] === 'ExternalName' || spec['clusterIP'] === 'None';
  if (ports.length === 0 && !free) out.push(requiredFault('spec.ports'));
  const names = new Set<string>();
  ports.forEach((p, i) => {
    const path = `spec.ports[${i}]`;
    const name = text(p['name']);
    out.push(
      ...portFault(`${path}.port`, p['port']),
      ...(p['targetPort'] === p['port'] ? [] : portFault(`${path}.targetPort`, p['targetPort'])),
    );
    out.push(...protocolFault(`${path}.protocol`, p['protocol']));
    if (ports.length > 1 && name === '') out.push(requiredFault(`${path}.name`));
    if (name && names.has(name)) {
      out.push({
        field: `${path}.name`,
        reason: 'FieldValueDuplicate',
        message: `Duplicate value: "${name}"`,
      });
    }
    names.add(name);
  });
  return out;
}

function dataFaults(object: Json): FieldFault[] {
  const out: FieldFault[] = [];
  for (const field of ['data', 'binaryData']) {
    for (const key of Object.keys(record(object[field]))) {
      if (!dataKey.test(key))
        out.push(
          invalidFault(
            `${field}[${key}]`,
            key,
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
          ),
        );
    }
  }
  return out;
}

function secretFaults(object: Json): FieldFault[] {
  const out = dataFaults(object);
  for (const [key, value] of Object.entries(record(object['data']))) {
    if (!/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(text(value))) {
      out.push({
        field: `data[${key}]`,
        reason: 'FieldValueInvalid',
        message: 'Invalid value: must be base64',
      });
    }
  }
  return out;
}

function crdFaults(object: Json): FieldFault[] {
  const spec = record(object['spec']);
  const expected = `${text(at(spec, 'names', 'plural'))}.${text(spec['group'])}`;
  const out: FieldFault[] = [];
  if (at(object, 'metadata', 'name') !== expected) {
    out.push(
      invalidFault(
        'metadata.name',
        at(object, 'metadata', 'name'),
        `must be spec.names.plural+"."+spec.group (${expected})`,
      ),
    );
  }
  if (!['Cluster', 'Namespaced'].includes(text(spec['scope']))) {
    out.push(unsupportedFault('spec.scope', spec['scope'], ['Cluster', 'Namespaced']));
  }
  const versions = list(spec['versions']).map(record);
  if (versions.filter((v) => v['storage'] === true).length !== 1) {
    out.push(
      invalidFault(
        'spec.versions',
        versions.map((v) => v['name']),
        'must have exactly one version marked as storage version',
      ),
    );
  }
  versions.forEach((v, i) => {
    if (!isRecord(at(v, 'schema', 'openAPIV3Schema'))) {
      out.push(requiredFault(`spec.versions[${i}].schema.openAPIV3Schema`, 'schemas are required'));
    }
  });
  return out;
}

const byKind: Readonly<Record<string, (object: Json) => FieldFault[]>> = {
  'v1/pods': (object) => podSpecFaults(record(object['spec']), 'spec'),
  'v1/services': serviceFaults,
  'v1/configmaps': dataFaults,
  'v1/secrets': secretFaults,
  'apps/v1/deployments': workloadFaults,
  'apps/v1/replicasets': workloadFaults,
  'apps/v1/daemonsets': workloadFaults,
  'apiextensions.k8s.io/v1/customresourcedefinitions': crdFaults,
};

/** Faults of an object with defaults filled in. */
export function objectFaults(info: ResourceInfo, object: Json): FieldFault[] {
  return [...metaFaults(info, record(object['metadata'])), ...(byKind[info.key]?.(object) ?? [])];
}

const fixed = 'field is immutable';

/** A running pod may change only its images, deadline, tolerations and gates. */
function podChange(old: Json, next: Json): FieldFault[] {
  const frozen = (object: Json): unknown => {
    const {
      activeDeadlineSeconds: _a,
      tolerations: _t,
      schedulingGates: _g,
      ...spec
    } = record(object['spec']);
    const plain = (cs: unknown) =>
      list(cs).map((c) => ({ ...record(c), image: '', imagePullPolicy: '' }));
    return {
      ...spec,
      containers: plain(spec['containers']),
      initContainers: plain(spec['initContainers']),
      ephemeralContainers: [],
    };
  };
  return isDeepStrictEqual(frozen(old), frozen(next))
    ? []
    : [
        forbiddenFault(
          'spec',
          'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)',
        ),
      ];
}

/** Faults of a replacement: what must stay as it was. */
export function changeFaults(info: ResourceInfo, old: Json, next: Json): FieldFault[] {
  switch (info.key) {
    case 'v1/pods':
      return podChange(old, next);
    case 'apps/v1/deployments':
    case 'apps/v1/replicasets':
    case 'apps/v1/daemonsets': {
      const [before, after] = [at(old, 'spec', 'selector'), at(next, 'spec', 'selector')];
      return isDeepStrictEqual(before, after) ? [] : [invalidFault('spec.selector', after, fixed)];
    }
    case 'v1/services': {
      const [before, after] = [at(old, 'spec', 'clusterIP'), at(next, 'spec', 'clusterIP')];
      const moved = before !== undefined && before !== '' && after !== before;
      return moved && at(next, 'spec', 'type') !== 'ExternalName'
        ? [invalidFault('spec.clusterIP', after ?? '', fixed)]
        : [];
    }
    case 'v1/configmaps':
    case 'v1/secrets': {
      if (old['immutable'] !== true) return [];
      const same = ['data', 'binaryData', 'immutable'].every((f) =>
        isDeepStrictEqual(old[f], next[f]),
      );
      return same ? [] : [forbiddenFault('data', 'field is immutable when `immutable` is set')];
    }
    default:
      return [];
  }
}
