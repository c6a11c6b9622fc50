// Who and what a person means, found in a mesh: pods by name, deployments by their workload name, services.
// Pure; no API server is asked, so it works on a file too.
import { type IpAddress, parseAuthority, parsePort } from '../../core/base/index.ts';
import { type MeshView, type Service, serviceKey, type Workload } from '../../core/model/index.ts';
import { CliError } from '../errors.ts';
import { parseReference, type Reference } from '../refs.ts';

const named = (r: Reference): string => `"${r.name}" in namespace "${r.namespace}"`;

function serviceOf(mesh: MeshView, r: Reference): Service | undefined {
  return [...mesh.services()].find((s) => s.name === r.name && s.namespace === r.namespace);
}

function workloadOf(mesh: MeshView, r: Reference): Workload | undefined {
  const here = [...mesh.workloads()].filter((w) => w.namespace === r.namespace);
  const pod =
    r.kind === 'deployment' || r.kind === 'daemonset'
      ? undefined
      : here.find((w) => w.name === r.name);
  if (pod || r.kind === 'pod') return pod;
  const owned = here.filter((w) => w.workloadName === r.name);
  return owned.find((w) => w.status === 'Healthy') ?? owned[0];
}

/** The service a reference means. */
export function findService(mesh: MeshView, text: string, namespace: string): Service | undefined {
  return serviceOf(mesh, parseReference(text, namespace));
}

/** The workload a reference means; of a service, one of its endpoints. Throws CliError if there is none. */
export function findWorkload(mesh: MeshView, text: string, namespace: string): Workload {
  const r = parseReference(text, namespace);
  const service = r.kind === 'service' ? serviceOf(mesh, r) : undefined;
  if (r.kind === 'service') {
    const [first] = service ? mesh.endpoints(serviceKey(service)).keys() : [];
    const behind = first && mesh.workload(first);
    if (!behind) throw new CliError(`the mesh knows no endpoint of service ${named(r)}`);
    return behind;
  }
  const found = workloadOf(mesh, r);
  if (!found) throw new CliError(`the mesh knows no workload ${named(r)}`);
  return found;
}

export interface Destination {
  /** As a person would call it. */
  readonly label: string;
  readonly ip: IpAddress;
  readonly port: number;
  readonly service: Service | undefined;
  readonly workload: Workload | undefined;
}

function splitPort(text: string): { ref: string; port: number | undefined } {
  const colon = text.lastIndexOf(':');
  if (colon < 0) return { ref: text, port: undefined };
  const port = parsePort(text.slice(colon + 1));
  if (port === undefined) throw new CliError(`"${text}": "${text.slice(colon + 1)}" is no port`);
  return { ref: text.slice(0, colon), port };
}

function ofService(service: Service, port: number | undefined): Destination {
  const chosen = port ?? service.ports[0]?.servicePort;
  const [vip] = service.vips;
  if (chosen === undefined) throw new CliError(`service "${service.name}" has no port`);
  if (!service.ports.some((p) => p.servicePort === chosen)) {
    const known = service.ports.map((p) => p.servicePort).join(', ');
    throw new CliError(`service "${service.name}" has no port ${chosen}; it has ${known}`);
  }
  if (!vip) throw new CliError(`service "${service.name}" has no address; name one of its pods`);
  const label = `${service.name}.${service.namespace}`;
  return { label, ip: vip.ip, port: chosen, service, workload: undefined };
}

function ofWorkload(w: Workload, port: number | undefined): Destination {
  const mapped = [...w.services.values()]
    .flatMap((ports) => [...ports.values()])
    .find((p) => p > 0);
  const chosen = port ?? mapped;
  const [ip] = w.addresses;
  if (chosen === undefined)
    throw new CliError(`no port of "${w.name}" is known; write ${w.name}:PORT`);
  if (ip === undefined) throw new CliError(`"${w.name}" has no address`);
  return { label: `${w.name}.${w.namespace}`, ip, port: chosen, service: undefined, workload: w };
}

/** `svc/x[:port]`, `pod/x[:port]`, `deploy/x[:port]`, `ip:port`, or a bare name (service first). */
export function findDestination(mesh: MeshView, text: string, namespace: string): Destination {
  const authority = text.includes('/') ? undefined : parseAuthority(text);
  if (authority?.kind === 'ip') {
    return {
      label: text,
      ip: authority.ip,
      port: authority.port,
      service: undefined,
      workload: undefined,
    };
  }
  const { ref, port } = splitPort(text);
  const r = parseReference(ref, namespace);
  const service = r.kind === 'service' || r.kind === 'any' ? serviceOf(mesh, r) : undefined;
  if (service) return ofService(service, port);
  if (r.kind === 'service') throw new CliError(`the mesh knows no service ${named(r)}`);
  return ofWorkload(findWorkload(mesh, ref, namespace), port);
}
