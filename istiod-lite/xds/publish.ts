// Translated outputs → encoded snapshots. Encodes only what was translated, keeps only what differs, and
// tells whether there is anything new for anybody.
import { printCidr } from '../../core/base/index.ts';
import type { PolicyKey } from '../../core/model/index.ts';
import { networkAddress, serviceKey } from '../../core/model/index.ts';
import { encode } from '../../core/rpc/index.ts';
import {
  addressType,
  authorizationType,
  encodePolicy,
  encodeService,
  encodeWorkload,
  nodeGroup,
  serviceConfigType,
  Snapshots,
} from '../../core/xds/index.ts';
import type { NamedConfig } from '../gateway/index.ts';
import type { Outputs } from '../translate/index.ts';

export class Publisher {
  readonly snapshots = new Snapshots([addressType, authorizationType, serviceConfigType]);

  /** True if the revision grew. */
  publish(out: Outputs & { readonly configs?: readonly NamedConfig[] }): boolean {
    const addresses = this.snapshots.type(addressType);
    const policies = this.snapshots.type(authorizationType);
    if (!addresses || !policies) return false;
    const configs = this.snapshots.type(serviceConfigType);
    const next = this.snapshots.revision + 1;
    let changed = false;
    const note = (did: boolean): void => {
      changed ||= did;
    };
    for (const w of out.workloads) {
      const aliases = w.addresses.map((ip) => networkAddress(w.network, ip));
      const groups = [...w.services.keys(), nodeGroup(w.node)];
      note(addresses.put(next, w.uid, encodeWorkload(w), aliases, groups));
    }
    for (const s of out.services) {
      const aliases = [
        ...s.vips.map((v) => networkAddress(v.network, v.ip)),
        ...s.cidrVips.map((v) => `${v.network}/${printCidr(v.cidr)}`),
      ];
      note(addresses.put(next, serviceKey(s), encodeService(s), aliases));
    }
    for (const name of out.removedAddresses) note(addresses.remove(next, name));
    if (out.policies) {
      const gone = new Set<string>([...policies.entries()].map((e) => e.name));
      for (const p of out.policies) {
        gone.delete(p.key satisfies PolicyKey);
        note(policies.put(next, p.key, encodePolicy(p)));
      }
      for (const name of gone) note(policies.remove(next, name));
    }
    if (out.configs && configs) {
      const gone = new Set<string>([...configs.entries()].map((e) => e.name));
      for (const c of out.configs) {
        gone.delete(c.name);
        const bytes = encode('ambientlite.waypoint.v1.ServiceConfig', c.config);
        note(configs.put(next, c.name, bytes, [c.gateway]));
      }
      for (const name of gone) note(configs.remove(next, name));
    }
    if (changed) this.snapshots.revision = next;
    return changed;
  }
}
