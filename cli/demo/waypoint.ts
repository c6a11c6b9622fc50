// The steps about a waypoint: it comes, a route sends one of ten requests to another version, and back to L4 it goes.
import { resources } from '../../core/kube/index.ts';
import { field, list, text } from '../../istiod-lite/index.ts';
import type { World } from './world.ts';

type Note = (line: string) => void;

const gatewayYaml = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: default, labels: {istio.io/waypoint-for: service}}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
`;
const routeYaml = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: default}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews, port: 9080}]
  rules:
    - backendRefs:
        - {name: reviews-v1, port: 9080, weight: 90}
        - {name: reviews-v2, port: 9080, weight: 10}
`;
const asked = 100;
/** Of a hundred requests by 90 to 10: outside of it once in 30,000 runs. */
const fair = { least: 75, most: 99 };

/** Makes the waypoint, and waits until it serves. */
async function comes(world: World, note: Note): Promise<void> {
  await world.applyText(gatewayYaml, 'waypoint');
  const address = await world.until('the waypoint', 30_000, async () => {
    const gateway = await world.kube.get(resources.gateways, 'default', 'waypoint');
    const programmed = list(field(gateway, 'status', 'conditions')).some(
      (c) => field(c, 'type') === 'Programmed' && field(c, 'status') === 'True',
    );
    return programmed && text(field(list(field(gateway, 'status', 'addresses'))[0], 'value'));
  });
  note(`gateway waypoint: class istio-waypoint, address ${address}, PROGRAMMED True`);
}

/** Binds a Service to the waypoint, or frees it. */
export async function bind(
  world: World,
  service: string,
  waypoint: string | null,
  note: Note,
): Promise<void> {
  const metadata = { labels: { 'istio.io/use-waypoint': waypoint } };
  await world.kube.patch(resources.services, 'default', service, { metadata }, { kind: 'merge' });
  const label = `istio.io/use-waypoint${waypoint === null ? '-' : `=${waypoint}`}`;
  note(`kubectl label service ${service} ${label}`);
}

/** How many of a hundred requests, each on a connection of its own, each version has answered. */
async function split(world: World): Promise<Map<string, number>> {
  const url = `http://reviews:9080/reviews/[1-${asked}]`;
  const { out } = await world.exec('deploy/curl', ['curl', '-sS', '-H', 'connection: close', url]);
  const counts = new Map<string, number>();
  for (const [version] of out.matchAll(/reviews-v\d/g))
    counts.set(version, (counts.get(version) ?? 0) + 1);
  return counts;
}

const shown = (counts: Map<string, number>): string =>
  [...counts]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([version, n]) => `${version} ${n}`)
    .join(', ');

export async function canary(world: World, note: Note): Promise<void> {
  await comes(world, note);
  await bind(world, 'reviews', 'waypoint', note);
  await world.applyFile('samples/bookinfo/platform/kube/bookinfo-versions.yaml');
  await world.applyText(routeYaml, 'route');
  note('HTTPRoute reviews: reviews-v1 weight 90, reviews-v2 weight 10');
  const counts = await world.until('nothing for v3', 20_000, async () => {
    const found = await split(world);
    const all = (found.get('reviews-v1') ?? 0) + (found.get('reviews-v2') ?? 0);
    return all === asked && !found.has('reviews-v3') ? found : undefined;
  });
  note(`${asked} requests: ${shown(counts)}`);
  const first = counts.get('reviews-v1') ?? 0;
  if (first < fair.least || first > fair.most) {
    throw new Error(`${first} of ${asked} went to v1, expected ${fair.least} to ${fair.most}`);
  }
}

export async function backToL4(world: World, note: Note): Promise<void> {
  await bind(world, 'reviews', null, note);
  await bind(world, 'ratings', null, note);
  const counts = await world.until('requests for v3', 20_000, async () => {
    const found = await split(world);
    return found.has('reviews-v3') ? found : undefined;
  });
  await world.kube.remove(resources.gateways, 'default', 'waypoint');
  await world.until('the end of the waypoint', 30_000, async () => {
    const pods = await world.processes('default');
    return ![...pods.keys()].some((name) => name.startsWith('waypoint-'));
  });
  note('the waypoint is deleted, its pod is gone');
  note(`${asked} requests: ${shown(counts)}`);
}
