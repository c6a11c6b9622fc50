// What objects and dumps say beside the evidence: why a pod is not captured, which policies are not enforced as
// written, which a waypoint holds, which roots a proxy trusts.
import { type KubeClient, type KubeObject, resources } from '../../core/kube/index.ts';
import type { Dump } from '../ztunnel/dump.ts';
import type { PolicyNote } from './verdict.ts';

/** Why a pod is not captured, in plain words, from its labels. */
export async function whyNotServed(kube: KubeClient, pod: KubeObject): Promise<string> {
  const namespace = await kube.get(resources.namespaces, undefined, pod.metadata.namespace ?? '');
  const own = pod.metadata.labels?.['istio.io/dataplane-mode'];
  const its = namespace?.metadata.labels?.['istio.io/dataplane-mode'];
  if (own === 'none') return 'its label istio.io/dataplane-mode=none keeps it out';
  if ((pod['spec'] as { hostNetwork?: boolean }).hostNetwork === true)
    return 'it uses the host network';
  if (own !== 'ambient' && its !== 'ambient') {
    return `neither it nor its namespace is labelled istio.io/dataplane-mode=ambient; try: kubectl label namespace ${pod.metadata.namespace ?? ''} istio.io/dataplane-mode=ambient`;
  }
  return 'it is labelled ambient but not enrolled yet';
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

const conditionsOf = (o: KubeObject): readonly Condition[] =>
  (o['status'] as { conditions?: Condition[] } | undefined)?.conditions ?? [];

/** What the status of a policy says when it is not enforced as written. */
export async function policyNotes(
  kube: KubeClient,
  policies: readonly PolicyNote[],
): Promise<string[]> {
  const out: string[] = [];
  for (const p of policies) {
    if (p.dryRun) out.push(`${p.name} is a dry run and refuses nothing`);
    const [namespace = '', name = ''] = p.name.split('/');
    // Those that stand for a PeerAuthentication have no object of their own.
    const object = await kube.get(resources.authorizationPolicies, namespace, name);
    for (const c of object ? conditionsOf(object) : []) {
      const whole = c.status === 'True' && c.reason === 'Accepted';
      if (!whole && c.type.endsWith('Accepted')) out.push(`${p.name}: ${c.message}`);
    }
  }
  return out;
}

interface PolicySpec {
  readonly action?: string;
  readonly targetRef?: { readonly kind?: string; readonly name?: string };
  readonly targetRefs?: readonly { readonly kind?: string; readonly name?: string }[];
}

/** The policies that a waypoint holds for a service; they judge requests, which a probe does not send. */
export async function waypointPolicies(
  kube: KubeClient,
  dump: Dump,
  service: KubeObject,
): Promise<PolicyNote[]> {
  const { name, namespace = '' } = service.metadata;
  const known = dump.services.find((s) => s.name === name && s.namespace === namespace);
  const where = known?.waypoint?.destination;
  if (where === undefined) return [];
  const gateway = (where.split('/')[1] ?? '').split('.')[0] ?? '';
  const { items } = await kube.list(resources.authorizationPolicies, namespace);
  return items.flatMap((o): PolicyNote[] => {
    const spec = (o['spec'] ?? {}) as PolicySpec;
    const refs = spec.targetRefs ?? (spec.targetRef ? [spec.targetRef] : []);
    const here = refs.some(
      (t) =>
        (t.kind === 'Service' && t.name === name) || (t.kind === 'Gateway' && t.name === gateway),
    );
    if (!here) return [];
    return [
      {
        name: `${namespace}/${o.metadata.name}`,
        action: spec.action ?? 'ALLOW',
        scope: 'Waypoint',
        dryRun: o.metadata.annotations?.['istio.io/dry-run'] === 'true',
        decided: false,
      },
    ];
  });
}

/** Serial numbers of the roots a proxy trusts. */
export const rootsOf = (dump: Dump): string[] => [
  ...new Set(
    dump.certificates.flatMap((c) => (c.rootCerts ?? []).map((r) => r.serialNumber ?? '')),
  ),
];
