// Every message of `ambientctl analyze`: Istio's own codes where they mean the same here (control-plane.md 8.6),
// ours, prefix AMB, where Istio has none. The first digit of ours: 1 waypoints and routes, 2 policies,
// 3 workloads and services, 4 what lies outside, 5 kinds.

export type Level = 'Error' | 'Warning' | 'Info';

export interface CodeRow {
  readonly name: string;
  readonly level: Level;
  /** What it means. */
  readonly means: string;
  /** What to do. */
  readonly help: string;
}

const row = (level: Level, name: string, means: string, help: string): CodeRow => ({
  level,
  name,
  means,
  help,
});
const error = row.bind(undefined, 'Error');
const warning = row.bind(undefined, 'Warning');
const info = row.bind(undefined, 'Info');

export const codes = {
  IST0101: error(
    'ReferencedResourceNotFound',
    'Something that is referred to does not exist.',
    'Correct the name or the namespace, or create what is missing.',
  ),
  IST0102: info(
    'NamespaceNotInjected',
    'Workloads of the namespace are not in the mesh: their traffic is neither encrypted nor judged.',
    'Run kubectl label namespace NAME istio.io/dataplane-mode=ambient, or label it none to say that this is meant.',
  ),
  IST0106: error(
    'SchemaValidationError',
    'A field holds what it cannot hold.',
    'Correct the field. Until then the rest is read so that more is refused, never less.',
  ),
  IST0107: warning(
    'MisplacedAnnotation',
    'The annotation is not read on this kind of object.',
    'Move it to one of the kinds that the message names.',
  ),
  IST0108: warning(
    'UnknownAnnotation',
    'No part of the mesh reads this annotation.',
    'Check the spelling, or remove it.',
  ),
  IST0109: error(
    'ConflictingMeshGatewayVirtualServiceHosts',
    'Several VirtualServices route the same host; only the oldest is used.',
    'Merge them into one.',
  ),
  IST0112: error(
    'VirtualServiceDestinationPortSelectorRequired',
    'The destination has several ports and the route names none.',
    'Add destination.port.number.',
  ),
  IST0118: info(
    'PortNameIsNotUnderNamingConvention',
    'Neither the name of the port nor appProtocol says the protocol; a waypoint has to guess it from the first bytes.',
    'Name it PROTOCOL or PROTOCOL-SUFFIX (http, http2, grpc, tcp, tls, …), or set appProtocol.',
  ),
  IST0122: warning(
    'InvalidRegexp',
    'A regular expression cannot be read, so the match never holds.',
    'Correct the expression.',
  ),
  IST0123: warning(
    'NamespaceMultipleInjectionLabels',
    'The namespace asks for sidecars and for ambient at once; a pod with a sidecar is not captured.',
    'Keep one of the labels.',
  ),
  IST0125: warning(
    'InvalidAnnotation',
    'The value of the annotation cannot be read; it counts as absent.',
    'Use one of the values that the message names.',
  ),
  IST0127: warning(
    'NoMatchingWorkloadsFound',
    'The selector matches no workload, so the object does nothing.',
    'Compare the selector with the labels of the pods in the same namespace.',
  ),
  IST0128: warning(
    'NoServerCertificateVerificationDestinationLevel',
    'TLS is asked for, but without caCertificates the certificate of the other side is not checked.',
    'Set caCertificates or credentialName.',
  ),
  IST0129: warning(
    'NoServerCertificateVerificationPortLevel',
    'TLS is asked for on a port, but without caCertificates the certificate of the other side is not checked.',
    'Set caCertificates or credentialName.',
  ),
  IST0130: warning(
    'VirtualServiceUnreachableRule',
    'A rule is never used: one before it takes everything it could match.',
    'Put the more special rule first, or remove it.',
  ),
  IST0131: info(
    'VirtualServiceIneffectiveMatch',
    'A match repeats one of an earlier rule.',
    'Remove the repetition.',
  ),
  IST0134: warning(
    'ServiceEntryAddressesRequired',
    'A TCP port of an entry without addresses: no address tells its traffic from other traffic.',
    'Set addresses, or let the control plane give some (resolution other than NONE, no opt-out label).',
  ),
  IST0135: info(
    'DeprecatedAnnotation',
    'The annotation still works and has a successor.',
    'Use what the message names.',
  ),
  IST0136: info(
    'AlphaAnnotation',
    'The annotation belongs to a feature that may change.',
    'Know that it may change; nothing else to do.',
  ),
  IST0144: warning(
    'InvalidApplicationUID',
    'The application runs as user 1337, which the mesh uses for proxies.',
    'Choose another runAsUser.',
  ),
  IST0166: warning(
    'IneffectiveSelector',
    'The selector picks pods of a waypoint or gateway, where policies attach by targetRefs only.',
    'Use targetRefs with the Gateway, or with the Service behind it.',
  ),
  IST0171: warning(
    'NegativeConditionStatus',
    'A controller has written into the status that it cannot do what is asked.',
    'Read the reason and the message of the condition.',
  ),
  IST0173: error(
    'DestinationRuleSubsetNotSelectPods',
    'A subset selects no workload; requests routed to it fail with 503.',
    'Correct the labels of the subset, deploy such workloads, or remove it.',
  ),
  IST0174: warning(
    'UnknownDestinationRuleHost',
    'No service of the mesh has this host.',
    'Correct the host; write the full name for a service of another namespace.',
  ),

  AMB0101: error(
    'WaypointNotFound',
    'istio.io/use-waypoint names a Gateway that does not exist: L7 policy is not enforced, or traffic is refused where it would be skipped.',
    'Create it with ambientctl waypoint apply, correct the name, or label none.',
  ),
  AMB0102: warning(
    'WaypointNotReady',
    'The waypoint exists and takes no traffic yet.',
    'See ambientctl waypoint status.',
  ),
  AMB0103: error(
    'WaypointAttachmentDenied',
    'The waypoint’s listener does not let this namespace attach.',
    'Set allowedRoutes.namespaces.from on its HBONE listener.',
  ),
  AMB0104: warning(
    'WaypointTrafficTypeMismatch',
    'The waypoint is not for this kind of traffic (istio.io/waypoint-for).',
    'Label the Gateway istio.io/waypoint-for=all, or use another waypoint.',
  ),
  AMB0105: info(
    'WaypointUnused',
    'Nothing uses the waypoint.',
    'Label a namespace or service with istio.io/use-waypoint, or delete it.',
  ),
  AMB0106: warning(
    'RouteWithoutWaypoint',
    'Routes, traffic policies and L7 rules of a service without a waypoint do nothing: node proxies work on L4.',
    'Label the service or its namespace with istio.io/use-waypoint.',
  ),
  AMB0107: warning(
    'MixedRouteKinds',
    'A VirtualService and Gateway API routes speak for the same service; which one wins is easily mistaken.',
    'Use one kind for a service.',
  ),

  AMB0201: warning(
    'HttpAttributeAtL4',
    'A policy that node proxies enforce has HTTP attributes, which they cannot judge: such an ALLOW rule allows nothing, such a DENY rule denies more.',
    'Deploy a waypoint and attach the policy with targetRefs.',
  ),
  AMB0202: error(
    'ActionUnsupported',
    'Node proxies enforce ALLOW and DENY only; this policy does nothing.',
    'Deploy a waypoint and attach the policy with targetRefs.',
  ),
  AMB0203: error(
    'EmptySelector',
    'A selector without labels selects no workload; left out it would select all of the namespace.',
    'Remove the selector, or give it labels.',
  ),
  AMB0204: warning(
    'IdentityNotFound',
    'A rule names an account or namespace that does not exist, so it matches nobody.',
    'Correct the name; kubectl get serviceaccounts lists what there is.',
  ),
  AMB0205: warning(
    'WaypointIdentityMissing',
    'Traffic to these workloads comes from their waypoint, and the policies of the node proxy refuse its identity.',
    'Allow the principal of the waypoint too.',
  ),
  AMB0206: error(
    'PrincipalMalformed',
    'A principal is written TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT, without spiffe://; this one matches nobody.',
    'Correct the principal.',
  ),
  AMB0207: warning(
    'ConflictingPolicies',
    'A DENY policy refuses everything that this ALLOW policy allows.',
    'Narrow one of the two.',
  ),
  AMB0208: warning(
    'PeerAuthenticationShadowed',
    'Another PeerAuthentication of the same level is older and wins; this one does nothing.',
    'Keep one of them.',
  ),
  AMB0209: info(
    'DisableMeansPermissive',
    'Mutual TLS cannot be switched off in ambient mode: DISABLE means PERMISSIVE.',
    'Write PERMISSIVE.',
  ),
  AMB0210: warning(
    'PeerAuthenticationIneffective',
    'A part of the PeerAuthentication is not read where it stands.',
    'A selector works outside the root namespace; portLevelMtls needs a selector.',
  ),
  AMB0211: warning(
    'StrictWithUnenrolledCallers',
    'STRICT refuses plaintext, and there are workloads outside the mesh that can send nothing else.',
    'Enrol them first, or allow the port with portLevelMtls.',
  ),
  AMB0212: warning(
    'PolicyOnUnenrolledWorkloads',
    'The policy selects workloads that are not in the mesh, where nobody enforces it.',
    'Label their namespace istio.io/dataplane-mode=ambient.',
  ),
  AMB0213: error(
    'TargetNotAllowed',
    'The policy cannot be attached to such a target from here.',
    'A GatewayClass is a target in the root namespace only, and only one of waypoints.',
  ),
  AMB0214: warning(
    'TargetNotBound',
    'The policy is attached to a service that has no waypoint, so nobody enforces it.',
    'Label the service or its namespace with istio.io/use-waypoint.',
  ),
  AMB0215: error(
    'PluginUnreadable',
    'A plugin of a waypoint, or the list of them, cannot be read; unless it fails open, what needs it is refused.',
    'Correct the list in plugins.yaml; docs/security/plugins.md has its fields.',
  ),

  AMB0301: warning(
    'PodNotEnrolled',
    'The labels ask for the mesh and the pod is not captured: it talks plaintext.',
    'Look at the node agent of its node; restarting the pod enrols it again.',
  ),
  AMB0302: info(
    'PodNotCapturable',
    'The namespace is in the mesh and this workload cannot be: it uses the host network or has a sidecar.',
    'Know that its traffic is plaintext, also towards STRICT workloads, which refuse it.',
  ),
  AMB0303: error(
    'DuplicateAddress',
    'Two pods claim the same address. Neither is reachable through the mesh, so that nobody answers under another’s name.',
    'Delete the stale pod.',
  ),
  AMB0304: warning(
    'UnknownDataplaneMode',
    'istio.io/dataplane-mode is ambient or none; any other value means none.',
    'Correct the value.',
  ),
  AMB0305: warning(
    'NetworkPolicyBlocksHbone',
    'Traffic of the mesh arrives on port 15008, and a NetworkPolicy does not let it in.',
    'Allow TCP 15008 beside the ports of the application.',
  ),
  AMB0306: warning(
    'TargetPortUnresolved',
    'The targetPort is a name that no selected workload gives to a port.',
    'Name the container port, or write its number.',
  ),

  AMB0401: error(
    'ServiceEntryUnusable',
    'The entry is not sent to any proxy.',
    'Correct what the message names.',
  ),
  AMB0402: warning(
    'WildcardWithoutWaypoint',
    'A host that starts with *. can be told apart by a waypoint only.',
    'Label the entry or its namespace with istio.io/use-waypoint.',
  ),
  AMB0403: warning(
    'ServiceEntryTrespass',
    'The entry claims the address of a service of another namespace; it is heard of in its own namespace only.',
    'Use another address.',
  ),
  AMB0404: warning(
    'HostShadowed',
    'Another object speaks for the host: a Service, or an older ServiceEntry of the namespace.',
    'Remove one of them.',
  ),
  AMB0405: info(
    'ExportToIgnored',
    'Proxies of ambient mode do not read exportTo: everybody sees the object.',
    'Do not rely on it to hide anything.',
  ),

  AMB0501: warning(
    'KindIneffective',
    'Nothing in this mesh reads objects of this kind.',
    'Remove it; see docs/out-of-scope.md.',
  ),
} as const satisfies Record<string, CodeRow>;

export type Code = keyof typeof codes;

export const isCode = (text: string): text is Code => Object.hasOwn(codes, text);

/** Where more is said about a code. */
export function codeUrl(code: Code): string {
  return code.startsWith('IST')
    ? `https://istio.io/latest/docs/reference/config/analysis/${code.toLowerCase()}/`
    : `docs/reference/analyze.md#${code.toLowerCase()}`;
}
