// Both ends of a delta stream against each other, without IO: order, reconnects, NACKs, names on demand
// (ztunnel-protocol.md 7.3–7.6, control-plane.md 4.4).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { RequestOf } from '../rpc/index.ts';
import {
  addressType,
  authorizationType,
  DeltaClientState,
  type DeltaRequest,
  type DeltaResponse,
  DeltaServerState,
  type Heard,
  nodeGroup,
  type Snapshot,
  Snapshots,
} from './index.ts';
import { maxNames } from './delta-server-state.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const full = (r: DeltaRequest): RequestOf<'deltaAggregatedResources'> =>
  ({
    resourceNamesSubscribe: [],
    resourceNamesUnsubscribe: [],
    initialResourceVersions: {},
    responseNonce: '',
    ...r,
  }) as unknown as RequestOf<'deltaAggregatedResources'>;

/** A control plane: policies, and workloads whose content is the list of policies they name. */
class Plane {
  readonly snapshots: Snapshots;
  constructor(journalLimit?: number) {
    this.snapshots = new Snapshots([addressType, authorizationType], journalLimit);
  }
  get policies(): Snapshot {
    return this.snapshots.type(authorizationType) as Snapshot;
  }
  get addresses(): Snapshot {
    return this.snapshots.type(addressType) as Snapshot;
  }
  publish(work: (revision: number) => void): void {
    const next = this.snapshots.revision + 1;
    work(next);
    this.snapshots.revision = next;
  }
  policy(name: string, content = name): void {
    this.publish((r) => this.policies.put(r, name, bytes(content)));
  }
  workload(name: string, ...names: string[]): void {
    this.publish((r) => this.addresses.put(r, name, bytes(names.join(','))));
  }
  /** Deletes a policy and, in the same revision, its mention. */
  drop(name: string): void {
    this.publish((r) => {
      this.policies.remove(r, name);
      for (const w of this.addresses.entries()) {
        const named = Buffer.from(w.bytes)
          .toString()
          .split(',')
          .filter((n) => n !== '');
        if (named.includes(name)) {
          this.addresses.put(r, w.name, bytes(named.filter((n) => n !== name).join(',')));
        }
      }
    });
  }
}

/** One proxy and its stream; messages wait in two queues until they are delivered. */
class Link {
  readonly client = new DeltaClientState([addressType, authorizationType]);
  readonly held = new Map<string, Map<string, string>>([
    [addressType, new Map()],
    [authorizationType, new Map()],
  ]);
  readonly plane: Plane;
  readonly refuse: (name: string, content: string) => boolean;
  server = new DeltaServerState('s0');
  toClient: DeltaResponse[] = [];
  toServer: DeltaRequest[] = [];
  seen: string[] = [];
  #streams = 0;

  constructor(plane: Plane, refuse: (name: string, content: string) => boolean = () => false) {
    this.plane = plane;
    this.refuse = refuse;
    this.connect();
  }

  connect(): void {
    this.server = new DeltaServerState(`s${++this.#streams}`);
    this.toClient = [];
    this.toServer = this.client.open({ id: 'n' });
  }

  look(): void {
    // As the control plane's shell does: addresses are not told before policies are asked for.
    if (!this.server.has(authorizationType)) return;
    for (
      let r = this.server.next(this.plane.snapshots);
      r && r !== 'resync';
      r = this.server.next(this.plane.snapshots)
    ) {
      this.toClient.push(r);
    }
  }

  deliverToServer(): Heard | undefined {
    const r = this.toServer.shift();
    const heard = r && this.server.hear(full(r), this.plane.snapshots);
    this.look();
    return heard;
  }

  deliverToClient(): void {
    const r = this.toClient.shift();
    if (!r) return;
    const typeUrl = r.typeUrl ?? '';
    const held = this.held.get(typeUrl);
    const accepted: { name: string; version: string }[] = [];
    const rejected: { name: string; reason: string }[] = [];
    for (const { name = '', version = '', resource } of r.resources ?? []) {
      const content = Buffer.from(resource?.value ?? new Uint8Array()).toString();
      this.seen.push(name);
      if (this.refuse(name, content)) rejected.push({ name, reason: 'no' });
      else {
        held?.set(name, content);
        accepted.push({ name, version });
      }
    }
    const removed = [...(r.removedResources ?? [])];
    for (const n of removed) {
      this.seen.push(`-${n}`);
      held?.delete(n);
    }
    this.toServer.push(
      this.client.settle({ typeUrl, nonce: r.nonce ?? '', accepted, removed, rejected }),
    );
  }

  settle(): void {
    this.look();
    while (this.toServer.length + this.toClient.length > 0) {
      this.deliverToServer();
      this.deliverToClient();
    }
  }

  /** Names that a held workload names and that are not held. */
  windows(): string[] {
    const policies = this.held.get(authorizationType);
    return [...(this.held.get(addressType)?.entries() ?? [])].flatMap(([w, names]) =>
      names
        .split(',')
        .filter((n) => n !== '' && !policies?.has(n))
        .map((n) => `${w} names ${n}`),
    );
  }

  same(): void {
    for (const [type, held] of this.held) {
      const want = [...(this.plane.snapshots.type(type)?.entries() ?? [])].map((e) => [
        e.name,
        Buffer.from(e.bytes).toString(),
      ]);
      assert.deepEqual(new Map(held), new Map(want as [string, string][]), type);
    }
  }

  take(): string[] {
    return this.seen.splice(0);
  }
}

describe('the order of a push', () => {
  test('policies, then addresses, then removed policies', () => {
    const plane = new Plane();
    const link = new Link(plane);
    plane.policy('p1');
    plane.workload('w', 'p1');
    link.settle();
    assert.deepEqual(link.take(), ['p1', 'w']);
    plane.publish((r) => {
      plane.addresses.put(r, 'w', bytes('p2'));
      plane.policies.remove(r, 'p1');
      plane.policies.put(r, 'p2', bytes('p2'));
    });
    link.settle();
    assert.deepEqual(link.take(), ['p2', 'w', '-p1']);
  });

  const name = fc.constantFrom('p1', 'p2', 'p3');
  const step = fc.oneof(
    fc.tuple(fc.constant('policy' as const), name, fc.constantFrom('x', 'y')),
    fc.tuple(fc.constant('drop' as const), name),
    fc.tuple(
      fc.constant('workload' as const),
      fc.constantFrom('w1', 'w2'),
      fc.subarray(['p1', 'p2', 'p3']),
    ),
    fc.tuple(fc.constant('gone' as const), fc.constantFrom('w1', 'w2')),
    fc.tuple(fc.constant('toClient' as const)),
    fc.tuple(fc.constant('toServer' as const)),
    fc.tuple(fc.constant('look' as const)),
    fc.tuple(fc.constant('reconnect' as const)),
  );

  test('no workload is ever held without the policies it names, whatever order things happen in', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const plane = new Plane();
        const link = new Link(plane);
        for (const s of steps) {
          switch (s[0]) {
            case 'policy':
              plane.policy(s[1], s[2]);
              break;
            case 'drop':
              plane.drop(s[1]);
              break;
            case 'workload':
              plane.workload(s[1], ...s[2].filter((n) => plane.policies.get(n)));
              break;
            case 'gone':
              plane.publish((r) => plane.addresses.remove(r, s[1]));
              break;
            case 'toClient':
              link.deliverToClient();
              break;
            case 'toServer':
              link.deliverToServer();
              break;
            case 'look':
              link.look();
              break;
            case 'reconnect':
              link.connect();
              break;
          }
          assert.deepEqual(link.windows(), []);
        }
        link.settle();
        assert.deepEqual(link.windows(), []);
        link.same();
      }),
      { numRuns: 600 },
    );
  });
});

describe('one stream', () => {
  test('the first request of a type is always answered, later ones only with news', () => {
    const link = new Link(new Plane());
    link.settle();
    assert.equal(link.client.synced, true, 'Z34 an empty set counts');
    link.look();
    assert.deepEqual(link.toClient, []);
  });

  test('a slow client skips revisions', () => {
    const plane = new Plane();
    const link = new Link(plane);
    link.settle();
    plane.workload('w', '');
    link.look();
    for (const content of ['a', 'b', 'c'])
      plane.publish((r) => plane.addresses.put(r, 'w', bytes(content)));
    link.look();
    assert.equal(link.toClient.length, 1, 'one response is unacknowledged');
    link.settle();
    assert.deepEqual(link.take(), ['w', 'w']);
    link.same();
  });

  test('equal content is no news', () => {
    const plane = new Plane();
    const link = new Link(plane);
    plane.policy('p');
    link.settle();
    link.take();
    plane.policy('p');
    link.settle();
    assert.deepEqual(link.take(), []);
  });

  test('K34 a stale acknowledgement is ignored', () => {
    const plane = new Plane();
    const server = new DeltaServerState('s');
    server.hear(full({ typeUrl: addressType }), plane.snapshots);
    const first = server.next(plane.snapshots);
    assert.ok(first && first !== 'resync');
    const ack = (responseNonce: string) =>
      server.hear(full({ typeUrl: addressType, responseNonce }), plane.snapshots).kind;
    assert.equal(ack('s-999'), 'stale');
    plane.workload('w');
    assert.equal(server.next(plane.snapshots), undefined, 'still waiting');
    assert.equal(ack(first.nonce ?? ''), 'ack');
    assert.equal(ack(first.nonce ?? ''), 'stale', 'the same one twice');
    const second = server.next(plane.snapshots);
    assert.ok(second && second !== 'resync' && second.resources?.length === 1);
  });

  test('K6 unknown types are told apart and keep no state', () => {
    const server = new DeltaServerState('s');
    const heard = server.hear(
      full({ typeUrl: 'type.googleapis.com/envoy.Cluster' }),
      new Plane().snapshots,
    );
    assert.equal(heard.kind, 'unknown-type');
    assert.deepEqual(server.status(), []);
  });

  test('a client that is too far behind is asked to come again, and then has everything', () => {
    const plane = new Plane(20);
    const link = new Link(plane);
    link.settle();
    for (let i = 0; i < 60; i++) plane.workload(`w${i}`);
    assert.equal(link.server.next(plane.snapshots), 'resync');
    link.connect();
    link.settle();
    link.same();
  });
});

describe('reconnects and refusals', () => {
  test('F2 nothing changed: versions are echoed and nothing is sent again', () => {
    const plane = new Plane();
    const link = new Link(plane);
    plane.policy('p');
    plane.workload('w', 'p');
    link.settle();
    link.take();
    link.connect();
    link.settle();
    assert.deepEqual(link.take(), []);
  });

  test('F2 a restarted control plane with the same content sends nothing', () => {
    const make = () => {
      const plane = new Plane();
      plane.policy('p');
      plane.workload('w', 'p');
      return plane;
    };
    const link = new Link(make());
    link.settle();
    link.take();
    (link as { plane: Plane }).plane = make();
    link.connect();
    link.settle();
    assert.deepEqual(link.take(), []);
  });

  test('Z35 what was removed meanwhile is kept during the gap and removed after it', () => {
    const plane = new Plane();
    const link = new Link(plane);
    plane.policy('p');
    plane.workload('w', 'p');
    plane.workload('v');
    link.settle();
    link.connect();
    plane.publish((r) => plane.addresses.remove(r, 'v'));
    plane.drop('p');
    assert.equal(link.held.get(addressType)?.size, 2);
    link.take();
    link.settle();
    assert.deepEqual(link.take(), ['w', '-v', '-p']);
    link.same();
  });

  test('F4 a refused resource keeps its former version, the others of the batch are held', () => {
    const plane = new Plane();
    let bad = 'w2!';
    const link = new Link(plane, (_name, content) => content === bad);
    plane.workload('w1', 'a');
    plane.workload('w2', 'b');
    link.settle();
    plane.publish((r) => {
      plane.addresses.put(r, 'w1', bytes('c'));
      plane.addresses.put(r, 'w2', bytes(bad));
    });
    link.settle();
    assert.deepEqual(Object.fromEntries(link.held.get(addressType) ?? []), { w1: 'c', w2: 'b' });
    link.take();
    link.look();
    assert.deepEqual(link.toClient, [], 'a NACK gets no answer');
    bad = '';
    link.connect();
    link.settle();
    assert.deepEqual(link.take(), ['w2'], 'sent again after a reconnect');
    link.same();
  });

  test('the NACK names every refused resource with its reason', () => {
    const client = new DeltaClientState([addressType]);
    const request = client.settle({
      typeUrl: addressType,
      nonce: 'n1',
      accepted: [{ name: 'a', version: '1' }],
      removed: [],
      rejected: [
        { name: 'b', reason: 'x' },
        { name: 'c', reason: 'y' },
      ],
    });
    assert.equal(request.responseNonce, 'n1');
    assert.deepEqual(request.errorDetail, { message: 'b: x; c: y' });
    assert.equal(client.synced, false, 'a refused first answer does not count (7.3.6)');
    assert.deepEqual([...client.held(addressType)], [['a', '1']]);
  });

  test('requests open in the order Address, Authorization, with what is held (7.3.1)', () => {
    const client = new DeltaClientState([addressType, authorizationType]);
    client.settle({
      typeUrl: addressType,
      nonce: '',
      accepted: [{ name: 'a', version: '1' }],
      removed: [],
      rejected: [],
    });
    assert.deepEqual(
      client.open({ id: 'n' }).map((r) => [r.typeUrl, r.initialResourceVersions]),
      [
        [addressType, { a: '1' }],
        [authorizationType, {}],
      ],
    );
  });
});

describe('4.4 on demand', () => {
  const onDemand = {
    typeUrl: addressType,
    resourceNamesSubscribe: ['*'],
    resourceNamesUnsubscribe: ['*'],
  };

  /** A server with a first empty answer given, and a way to ask it. */
  function open(plane: Plane, first: DeltaRequest = onDemand, own?: string) {
    const server = new DeltaServerState('s');
    if (own !== undefined) server.include(own);
    const names = (r: DeltaResponse | 'resync' | undefined): string[] | undefined => {
      if (r === undefined || r === 'resync') return undefined;
      server.hear(full({ typeUrl: addressType, responseNonce: r.nonce ?? '' }), plane.snapshots);
      return [
        ...(r.resources ?? []).map((x) => x.name ?? ''),
        ...(r.removedResources ?? []).map((n) => `-${n}`),
      ].toSorted();
    };
    const say = (r: DeltaRequest = {}): string[] | undefined => {
      server.hear(full({ typeUrl: addressType, ...r }), plane.snapshots);
      return names(server.next(plane.snapshots));
    };
    return { first: say(first), say, next: () => names(server.next(plane.snapshots)), server };
  }

  function shop(): Plane {
    const plane = new Plane();
    plane.publish((r) => {
      plane.addresses.put(r, 'ns/web', bytes('s'), ['/10.9.0.1']);
      plane.addresses.put(r, 'uid1', bytes('1'), ['/10.0.0.1'], ['ns/web', nodeGroup('n1')]);
      plane.addresses.put(r, 'uid2', bytes('2'), ['/10.0.0.2'], ['ns/web', nodeGroup('n2')]);
      plane.addresses.put(r, 'uid3', bytes('3'), ['/10.0.0.3'], [nodeGroup('n2')]);
    });
    return plane;
  }

  const rows: readonly [string, string, string[]][] = [
    ['by uid', 'uid3', ['uid3']],
    ['by address', '/10.0.0.3', ['uid3']],
    ['a service brings its workloads', 'ns/web', ['ns/web', 'uid1', 'uid2']],
    ['… by VIP too', '/10.9.0.1', ['ns/web', 'uid1', 'uid2']],
    ['a workload does not bring its service', '/10.0.0.1', ['uid1']],
    ['an unknown name is answered as removed', '/10.7.7.7', ['-/10.7.7.7']],
  ];
  for (const [what, name, want] of rows) {
    test(`K32 ${what}`, () => {
      const s = open(shop());
      assert.deepEqual(s.first, []);
      assert.deepEqual(s.say({ resourceNamesSubscribe: [name] }), want);
    });
  }

  test('the workloads of the client’s own node come unasked', () => {
    assert.deepEqual(open(shop(), onDemand, nodeGroup('n2')).first, ['uid2', 'uid3']);
  });

  test('answers carry aliases; wildcard ones do not', () => {
    const plane = shop();
    const server = new DeltaServerState('s');
    server.hear(full({ typeUrl: addressType, resourceNamesSubscribe: ['uid1'] }), plane.snapshots);
    const r = server.next(plane.snapshots);
    assert.ok(r && r !== 'resync');
    assert.deepEqual(r.resources?.[0]?.aliases, ['/10.0.0.1']);
  });

  test('what was found by address or service is told when it changes and when it goes', () => {
    const plane = shop();
    const s = open(plane);
    s.say({ resourceNamesSubscribe: ['/10.0.0.3'] });
    plane.publish((r) => plane.addresses.put(r, 'uid3', bytes('33'), ['/10.0.0.3']));
    assert.deepEqual(s.next(), ['uid3']);
    plane.publish((r) => plane.addresses.remove(r, 'uid3'));
    assert.deepEqual(s.next(), ['-uid3']);
    s.say({ resourceNamesSubscribe: ['ns/web'] });
    plane.publish((r) => plane.addresses.put(r, 'uid4', bytes('4'), [], ['ns/web']));
    assert.deepEqual(s.next(), ['uid4'], 'a new workload of a subscribed service');
  });

  test('a name that was missing is sent once it exists', () => {
    const plane = new Plane();
    const s = open(plane);
    s.say({ resourceNamesSubscribe: ['/10.0.0.1'] });
    plane.publish((r) => plane.addresses.put(r, 'uid1', bytes('1'), ['/10.0.0.1']));
    assert.deepEqual(s.next(), ['uid1']);
  });

  test('K33 after unsubscribing there are no updates', () => {
    const plane = shop();
    const s = open(plane);
    s.say({ resourceNamesSubscribe: ['uid3'] });
    assert.equal(s.say({ resourceNamesUnsubscribe: ['uid3'] }), undefined);
    plane.publish((r) => plane.addresses.put(r, 'uid3', bytes('x'), ['/10.0.0.3']));
    assert.equal(s.next(), undefined);
    plane.publish((r) => plane.addresses.remove(r, 'uid3'));
    assert.equal(s.next(), undefined);
  });

  test('K32 a reconnect names what is held: changes and removals of it are told', () => {
    const plane = shop();
    const version = plane.addresses.get('uid3')?.version ?? '';
    const s = open(plane, {
      ...onDemand,
      initialResourceVersions: { uid3: version, uid2: 'old', gone: 'v' },
    });
    assert.deepEqual(s.first, ['-gone', 'uid2']);
  });

  test('from names to wildcard: everything', () => {
    const s = open(shop());
    assert.deepEqual(s.say({ resourceNamesSubscribe: ['*'] }), ['ns/web', 'uid1', 'uid2', 'uid3']);
  });

  test('K6 names of one stream are bounded', () => {
    const plane = shop();
    const s = open(plane);
    const many = Array.from({ length: maxNames + 50 }, (_, i) => `n${i}`);
    const answer = s.say({ resourceNamesSubscribe: many });
    assert.equal(answer?.length, maxNames);
  });
});
