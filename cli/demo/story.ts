// The story: from plaintext to proven mutual TLS because a namespace was labelled, then policy at both
// ends, then plaintext refused. Each step shows its evidence and fails if it cannot.
import type { Report } from '../verify/verdict.ts';
import { endUser } from './end-user.ts';
import { backToL4, canary } from './waypoint.ts';
import type { Step } from './runner.ts';
import type { RequestLoop, World } from './world.ts';

const page = 'http://productpage:9080/productpage';
const outsiderYaml = `
apiVersion: v1
kind: Namespace
metadata: {name: outside}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: outsider, namespace: outside}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: outsider, namespace: outside}
spec:
  selector: {matchLabels: {app: outsider}}
  template:
    metadata: {labels: {app: outsider}}
    spec:
      serviceAccountName: outsider
      terminationGracePeriodSeconds: 0
      containers:
        - {name: curl, image: curlimages/curl, command: [/bin/sh, -c, "while :; do sleep 3600; done"]}
`;
export const allowPolicyYaml = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: details-viewer, namespace: default}
spec:
  selector: {matchLabels: {app: details}}
  action: ALLOW
  rules:
    - from: [{source: {principals: [cluster.local/ns/default/sa/bookinfo-productpage]}}]
`;
const strictYaml = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
`;

function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

const curl = (url: string): string[] => [
  'curl',
  '-sS',
  '-o',
  '/dev/null',
  '-w',
  '%{http_code}',
  '--max-time',
  '5',
  url,
];

function proofLines(r: Report): string[] {
  return r.legs.flatMap((leg) => [
    `${leg.protocol} ${leg.tls?.version ?? ''} ${leg.tls?.cipher ?? ''} ALPN ${leg.tls?.alpn ?? ''}`,
    `from ${leg.local?.identity ?? '?'} (serial ${leg.local?.serial.slice(0, 12) ?? '?'}…)`,
    `to   ${leg.peer?.identity ?? '?'} (serial ${leg.peer?.serial.slice(0, 12) ?? '?'}…)`,
  ]);
}

export interface StoryDeps {
  /** Starts the sandbox; its result is used by every later step. */
  start(note: (line: string) => void): Promise<World>;
}

/** State that later steps take from earlier ones. */
interface Stage {
  world: World;
  before: Map<string, string>;
  loop: RequestLoop;
}

export function story(deps: StoryDeps): Step[] {
  const stage: Partial<Stage> = {};
  const have = <K extends keyof Stage>(key: K): Stage[K] => {
    const value = stage[key];
    if (value === undefined) throw new Error(`an earlier step did not leave its ${key}`);
    return value as Stage[K];
  };
  return [
    {
      id: 'up',
      title: 'Start a mesh on this machine: API, control plane, node proxy',
      async run(note) {
        stage.world = await deps.start(note);
        const status = await stage.world.status();
        note(`API ${status.api}, driver ${status.driver}, capture by ${status.means}`);
        for (const m of status.mesh) note(`${m.name} at ${m.ip}, process ${m.pid ?? '?'}`);
      },
    },
    {
      id: 'deploy',
      title: 'Deploy the bookstore and a client',
      run: (note) => deploy(have('world'), note),
    },
    {
      id: 'plaintext',
      title: 'A request works, in plaintext, and the verifier says so',
      run: (note) => plaintext(have('world'), note),
    },
    {
      id: 'enrol',
      title: 'Label the namespace; nothing restarts, no request fails',
      async run(note) {
        const world = have('world');
        stage.before = await world.processes('default');
        stage.loop = await world.loop('deploy/curl', page);
        await enrol(world, stage.before, stage.loop, note);
      },
    },
    {
      id: 'mtls',
      title: 'The same request is mutual TLS now: proven by a real connection',
      run: (note) => proveMtls(have('world'), note),
    },
    {
      id: 'policy',
      title: 'A policy lets the product page read details, and refuses curl',
      run: (note) => policy(have('world'), note),
    },
    {
      id: 'strict',
      title: 'STRICT refuses plaintext from outside the mesh',
      run: (note) => strict(have('world'), note),
    },
    {
      id: 'canary',
      title: 'A waypoint sends one request of ten to another version',
      run: (note) => canary(have('world'), note),
    },
    {
      id: 'end-user',
      title: 'It asks for an end user’s token on one path',
      run: (note) => endUser(have('world'), note),
    },
    {
      id: 'l4',
      title: 'Without the waypoint it is L4 again',
      run: (note) => backToL4(have('world'), note),
    },
    {
      id: 'loop',
      title: 'The request loop ran through all of it',
      async run(note) {
        const loop = have('loop');
        await have('world').until('25 requests', 15_000, () => Promise.resolve(loop.ok >= 25));
        loop.stop();
        note(`${loop.ok} requests answered, ${loop.failed.length} failed`);
        check(loop.failed.length === 0, `requests failed: ${loop.failed.slice(0, 5).join('; ')}`);
        const after = await have('world').processes('default');
        for (const [name, process] of have('before')) {
          check(
            after.get(name) === process,
            `${name} was ${process}, is ${after.get(name) ?? 'gone'}`,
          );
        }
        note(`${have('before').size} pods, same processes as before the label`);
      },
    },
  ];
}

type Note = (line: string) => void;

async function deploy(world: World, note: Note): Promise<void> {
  await world.applyFile('samples/bookinfo/platform/kube/bookinfo.yaml');
  await world.applyFile('samples/curl/curl.yaml');
  await world.applyText(outsiderYaml, 'outsider');
  const count = await world.available('default', 30_000);
  await world.available('outside', 15_000);
  note(`${count} deployments of namespace default are ready, and one outside it`);
  for (const [name, process] of await world.processes('default')) note(`${name}  ${process}`);
}

async function plaintext(world: World, note: Note): Promise<void> {
  const answer = await world.until('the product page', 10_000, async () => {
    const r = await world.exec('deploy/curl', ['curl', '-sS', '--max-time', '5', page]);
    return r.code === 0 && r.out.includes('Simple Bookstore App') ? r : undefined;
  });
  note(`curl ${page} → ${/<title>.*<\/title>/.exec(answer.out)?.[0] ?? ''}`);
  const report = await world.verify('deploy/curl', 'svc/productpage');
  note(`verify mtls: ${report.verdict}`);
  for (const e of report.evidence) note(e.text);
  check(report.verdict === 'plaintext', `the verifier says ${report.verdict}, expected plaintext`);
}

async function enrol(
  world: World,
  before: Map<string, string>,
  loop: RequestLoop,
  note: Note,
): Promise<void> {
  await world.until('requests', 10_000, () => Promise.resolve(loop.ok >= 3));
  const early = loop.ok;
  await world.label('default', { 'istio.io/dataplane-mode': 'ambient' });
  note('kubectl label namespace default istio.io/dataplane-mode=ambient');
  const pods = await world.until('every pod enrolled', 20_000, async () => {
    const status = await world.status();
    const mine = status.pods.filter((p) => p.namespace === 'default');
    return mine.every((p) => p.enrolled) ? mine : undefined;
  });
  const mark = loop.ok;
  await world.until('requests after enrolment', 10_000, () => Promise.resolve(loop.ok >= mark + 5));
  const after = await world.processes('default');
  for (const [name, process] of before) {
    check(after.get(name) === process, `${name} was ${process}, is ${after.get(name) ?? 'gone'}`);
  }
  note(`${pods.length} pods enrolled, same process ids, no restart`);
  note(`${loop.ok - early} requests during it, ${loop.failed.length} failed`);
  check(loop.failed.length === 0, `requests failed: ${loop.failed.slice(0, 5).join('; ')}`);
}

async function proveMtls(world: World, note: Note): Promise<void> {
  const report = await world.until('mutual TLS', 10_000, async () => {
    const r = await world.verify('deploy/curl', 'svc/productpage');
    return r.verdict === 'mtls' ? r : undefined;
  });
  note(`verify mtls: ${report.verdict}`);
  for (const line of proofLines(report)) note(line);
  for (const e of report.evidence.filter((x) => x.kind === 'record')) note(e.text);
}

async function policy(world: World, note: Note): Promise<void> {
  const details = 'http://details:9080/details/0';
  const first = await world.exec('deploy/curl', curl(details));
  check(first.out === '200', `before the policy curl got ${first.out} from details`);
  note('before: curl reads details, HTTP 200');
  await world.applyText(allowPolicyYaml, 'details-viewer');
  const denied = await world.until('the policy to refuse curl', 10_000, async () => {
    const r = await world.exec('deploy/curl', curl(details));
    return r.code !== 0 ? r : undefined;
  });
  note(`after: curl is refused, exit code ${denied.code} (connection reset)`);
  check(denied.code === 56, `curl ended with ${denied.code}, expected 56 (connection reset)`);
  const { near, far } = await world.refusal('curl', 'details');
  check(far !== undefined && near !== undefined, 'the refusal is not recorded at both ends');
  const by = (p: string | undefined): string => (p === undefined ? '' : ` by ${p}`);
  note(`at details: ${far.reason ?? ''}${by(far.policy)}, saw ${far.source.identity ?? '?'}`);
  note(
    `at curl:    ${near.reason ?? ''}${by(near.policy)} (same trace ${far.trace.slice(0, 12)}…)`,
  );
  const whole = await world.exec('deploy/curl', ['curl', '-sS', '--max-time', '5', page]);
  check(whole.out.includes('William Shakespeare'), 'the product page cannot read details any more');
  note('the product page still shows the details');
}

async function strict(world: World, note: Note): Promise<void> {
  const url = 'http://productpage.default:9080/productpage';
  const ask = () => world.exec('deploy/outsider', curl(url), 'outside');
  const open = await ask();
  check(open.out === '200', `before STRICT the outsider got ${open.out} (exit ${open.code})`);
  note('before: a pod outside the mesh reads the page in plaintext, HTTP 200');
  await world.applyText(strictYaml, 'strict');
  const refused = await world.until('STRICT to refuse plaintext', 10_000, async () => {
    const r = await ask();
    return r.code !== 0 ? r : undefined;
  });
  check(refused.code === 56, `curl ended with ${refused.code}, expected 56 (connection reset)`);
  note(`after: refused, exit code ${refused.code} (connection reset)`);
  const report = await world.verify('deploy/curl', 'svc/productpage');
  check(report.verdict === 'mtls', `inside the mesh the verdict is ${report.verdict}`);
  check(report.plaintext.accepted === false, 'the verifier says plaintext is still accepted');
  note(
    `verify mtls --strict: ${report.verdict}, plaintext refused by ${report.plaintext.decidedBy}`,
  );
}
