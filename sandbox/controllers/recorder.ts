// Events for people (`kubectl describe`): one object per (who, reason, message), counted, and
// bounded in number.
import type { KubeObject, Store } from '../contract.ts';
import { keys, timeText } from '../objects.ts';

export interface Recorder {
  event(
    about: { apiVersion: string; kind: string; metadata: KubeObject['metadata'] },
    type: 'Normal' | 'Warning',
    reason: string,
    message: string,
  ): void;
}

const mostEvents = 1_000;

export function createRecorder(store: Store, component: string, now: () => number): Recorder {
  let written = 0;
  return {
    event(about, type, reason, message) {
      const { name, uid } = about.metadata;
      const namespace = about.metadata.namespace ?? 'default';
      const time = timeText(now());
      const id = `${name}.${hash(`${uid}\0${reason}\0${message}`)}`;
      const counted = store.modify(keys.events, namespace, id, (event) => {
        event['count'] = Number(event['count'] ?? 1) + 1;
        event['lastTimestamp'] = time;
      });
      if (counted) return;
      store.create(keys.events, {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { name: id, namespace },
        involvedObject: {
          apiVersion: about.apiVersion,
          kind: about.kind,
          name,
          namespace: about.metadata.namespace,
          uid,
        },
        type,
        reason,
        message: message.slice(0, 1_024),
        source: { component, host: 'sandbox' },
        reportingComponent: component,
        reportingInstance: 'sandbox',
        firstTimestamp: time,
        lastTimestamp: time,
        count: 1,
      });
      if (++written % 100 === 0) prune(store);
    },
  };
}

function prune(store: Store): void {
  const events = store.list(keys.events).items;
  const stamp = (e: KubeObject): string => {
    const time = e['lastTimestamp'];
    return typeof time === 'string' ? time : '';
  };
  events.sort((a, b) => stamp(a).localeCompare(stamp(b)));
  for (const event of events.slice(0, Math.max(0, events.length - mostEvents))) {
    store.remove(keys.events, event.metadata.namespace, event.metadata.name);
  }
}

/** FNV-1a, 64 bits as 16 hexadecimal digits: a name, not a safeguard. */
function hash(text: string): string {
  let h = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(text)) {
    h = BigInt.asUintN(64, (h ^ BigInt(byte)) * 0x100000001b3n);
  }
  return h.toString(16).padStart(16, '0');
}
