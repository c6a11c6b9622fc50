// What a RateLimitPolicy may say: the one source of the types that are read, of their check, and of the CRD
// (manifests/crds/ambientlite.dev.yaml, by `npm run gen`). Pure.
import { shape } from '../../core/base/index.ts';
import type { KubeObject } from '../../core/kube/index.ts';

const { about, flag, listOf, oneOf, record, text, whole } = shape;

export const maxLimits = 32;
const most = 1_000_000_000;

const unit = oneOf('Second', 'Minute', 'Hour', 'Day');
export type RateUnit = shape.ReadOf<typeof unit>;

const key = record(
  { type: oneOf('Identity', 'Path', 'Method', 'Address', 'Header', 'Claim') },
  {
    name: about(
      'Of the header, or of the claim of a checked token (a.b is b in a).',
      text({ max: 256 }),
    ),
  },
);
export type RateKey = shape.ReadOf<typeof key>;

export const rateLimit = record(
  { requests: whole(1, most) },
  {
    name: about(
      'Told to callers in RateLimit headers.',
      text({ max: 63, pattern: '^[a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?$' }),
    ),
    unit: about('Time in which so many requests may come; Second if not set.', unit),
    burst: about(
      'Requests at once after a pause; as many as `requests` if not set. Not with `shared`.',
      whole(1, most),
    ),
    by: about(
      'One count for each value of all of these; one for all requests if not set. A value that is missing counts as one of its own.',
      listOf(key, { max: 8 }),
    ),
    paths: about(
      'Only these; exact, prefix* or *suffix.',
      listOf(text({ min: 1, max: 1024 }), { max: 64 }),
    ),
    methods: listOf(text({ min: 1, max: 64 }), { max: 64 }),
  },
);

export const sharedCounter = record(
  {
    service: about('namespace/hostname or hostname', text({ min: 1, max: 320 })),
    port: whole(1, 65_535),
  },
  {
    timeout: about('20ms if not set', text()),
    failureMode: about('When it gives no answer; Open if not set.', oneOf('Open', 'Closed')),
  },
);

const targetRef = record(
  { kind: text({ min: 1, max: 63 }), name: text({ min: 1, max: 253 }) },
  { group: text({ max: 253 }) },
);

const rateLimitSpec = about(
  'How many requests a waypoint lets through. Over several limits, a request is charged to all or to none.',
  record(
    {
      targetRefs: about(
        'Services of this namespace, a Gateway of it, or (in the root namespace) a GatewayClass.',
        listOf(targetRef, { min: 1, max: 16 }),
      ),
      limits: listOf(rateLimit, { min: 1, max: maxLimits }),
    },
    {
      dryRun: about('Counted and shown, refuses nobody.', flag),
      shared: about(
        'A service of the mesh that counts for all replicas (envoy.service.ratelimit.v3); each replica counts for itself if not set.',
        sharedCounter,
      ),
    },
  ),
);

/** The kinds of our own group, as an API server takes them. */
export const ownKinds = (): KubeObject[] => [
  {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: {
      name: 'ratelimitpolicies.ambientlite.dev',
      labels: { 'app.kubernetes.io/part-of': 'ambient-lite' },
    },
    spec: {
      group: 'ambientlite.dev',
      scope: 'Namespaced',
      names: {
        kind: 'RateLimitPolicy',
        listKind: 'RateLimitPolicyList',
        plural: 'ratelimitpolicies',
        singular: 'ratelimitpolicy',
        shortNames: ['rlp'],
        categories: ['ambient-lite'],
      },
      versions: [
        {
          name: 'v1alpha1',
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: [
            { name: 'Dry run', type: 'boolean', jsonPath: '.spec.dryRun' },
            { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
          ],
          schema: {
            openAPIV3Schema: {
              type: 'object',
              required: ['spec'],
              properties: {
                spec: rateLimitSpec.schema,
                status: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
              },
            },
          },
        },
      ],
    },
  },
];
