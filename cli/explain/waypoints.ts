// The waypoints before a service, and what they hold: from the pods that serve, or from a file.
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { KubeClient } from '../../core/kube/index.ts';
import { findGateway, type MeshView, type Service, serviceKey } from '../../core/model/index.ts';
import { callPodJson, type PodRef } from '../admin-client.ts';
import { CliError } from '../errors.ts';
import { adminPort } from '../refs.ts';

export interface WaypointFlags {
  readonly waypointDump?: string;
}

const another = (value: string, before: readonly string[] = []): string[] => [...before, value];

/** What is said of a request, the same in every command. */
export function withRequestOptions(command: Command): Command {
  return command
    .option('--method <method>', 'judge a request with this method at the waypoint')
    .option('--path <path>', 'its path')
    .option('--host <host>', 'its host; default the service’s')
    .option('--header <name:value>', 'one of its headers; may be repeated', another)
    .option('--claims <json>', 'claims of its checked token, iss and sub among them')
    .option('--waypoint-dump <file>', 'a config dump of the waypoint instead of a live one');
}

/** The pods of the waypoint that a service asks for, ready ones first. */
export function waypointPods(mesh: MeshView, service: Service): PodRef[] {
  const found = service.waypoint && findGateway(mesh, service.waypoint);
  if (found?.kind === 'workload') return [found.workload];
  if (found?.kind !== 'service') return [];
  return [...mesh.endpoints(serviceKey(found.service)).values()]
    .toSorted((a, b) => Number(b.healthy) - Number(a.healthy))
    .flatMap((e) => mesh.workload(e.workload) ?? [])
    .map(({ namespace, name }) => ({ namespace, name }));
}

export interface WaypointDump {
  /** `name.namespace` of the pod. */
  readonly waypoint: string;
  readonly dump: unknown;
}

const nameOf = (pod: PodRef): string => `${pod.name}.${pod.namespace}`;

/** As if the waypoint's `pod` had been asked. */
export function readWaypointDump(file: string, pod: PodRef): WaypointDump {
  try {
    return { waypoint: nameOf(pod), dump: JSON.parse(readFileSync(file, 'utf8')) };
  } catch (error) {
    const why = error instanceof Error ? error.message : 'failed';
    throw new CliError(`cannot read ${file}: ${why}`);
  }
}

export async function fetchWaypointDump(kube: KubeClient, pod: PodRef): Promise<WaypointDump> {
  const dump = await callPodJson(kube, pod, adminPort, 'GET', '/config_dump');
  return { waypoint: nameOf(pod), dump };
}
