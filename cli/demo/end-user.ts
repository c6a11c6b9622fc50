// The step about end users: the waypoint before one more service, where a path is for people who show a token.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { bind } from './waypoint.ts';
import type { World } from './world.ts';

const samples = join(import.meta.dirname, '../../samples/security');
const sample = (file: string): string => readFileSync(join(samples, file), 'utf8').trim();
const url = 'http://ratings:9080/ratings/7';

const rulesYaml = (jwks: string): string => `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: ratings, namespace: default}
spec:
  targetRefs: [{kind: Service, group: "", name: ratings}]
  jwtRules: [{issuer: testing@ambientlite.dev, jwks: '${jwks}'}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ratings-users, namespace: default}
spec:
  targetRefs: [{kind: Service, group: "", name: ratings}]
  action: DENY
  rules:
    - from: [{source: {notRequestPrincipals: ["*"]}}]
      to: [{operation: {paths: [/ratings/7]}}]
`;

export async function endUser(world: World, note: (line: string) => void): Promise<void> {
  await bind(world, 'ratings', 'waypoint', note);
  // In one line: the rule holds it as a quoted text.
  const keys = JSON.stringify(JSON.parse(sample('jwks.json')));
  await world.applyText(rulesYaml(keys), 'end users');
  const ask = async (...more: string[]): Promise<string> => {
    const limits = ['-sS', '--max-time', '5', '-w', ' %{http_code}'];
    return (await world.exec('deploy/curl', ['curl', ...limits, ...more, url])).out;
  };
  const bearer = (token: string): string[] => ['-H', `Authorization: Bearer ${token}`];
  const expect = async (what: string, wanted: (out: string) => boolean, ...more: string[]) => {
    const out = await world.until(what, 10_000, async () => {
      const told = await ask(...more);
      return wanted(told) ? told : undefined;
    });
    note(`${what}: ${out.slice(0, 80)}`);
  };
  const [none, good, broken] = [[], bearer(sample('demo.jwt')), bearer('no.such.token')];
  await expect('without a token', (out) => out === 'RBAC: access denied 403', ...none);
  await expect('with anna’s', (out) => out.endsWith(' 200'), ...good);
  await expect('with a broken one', (out) => out.endsWith(' 401'), ...broken);
}
