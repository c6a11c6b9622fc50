// The phase that reads end users' tokens; what it refuses, it refuses in Envoy's words (waypoint-l7.md 7.2).
import type { WaypointContext } from '../context.ts';
import { authenticate, type TokenRules } from '../l7/token-rules.ts';
import { statusOf } from '../l7/token.ts';
import type { Exchange, LocalReply, RequestHead } from './exchange.ts';
import { reply } from './local-reply.ts';

const maxRealmPath = 256;

/** Text of the caller inside quotes. */
const quoted = (s: string): string => s.replaceAll(/["\\]/g, encodeURIComponent);

function refusal(head: RequestHead, text: string): LocalReply {
  const status = statusOf(text);
  const realm = `http://${quoted(head.authority)}${quoted(head.path.slice(0, maxRealmPath))}`;
  return reply(status, text, '-', `jwt_authn_access_denied{${text.replaceAll(' ', '_')}}`, {
    reason: 'TOKEN_REFUSED',
    ...(status === 401 && {
      headers: [['www-authenticate', `Bearer realm="${realm}", error="invalid_token"`]],
    }),
  });
}

export async function checkTokens(
  ctx: WaypointContext,
  x: Exchange,
  rules: TokenRules,
): Promise<LocalReply | undefined> {
  const result = await authenticate(rules, x.head, ctx.clock.now());
  if (!result.ok) return refusal(x.head, result.refusal);
  x.head = result.carrier;
  x.upstream = result.carrier;
  x.user = result.user;
  return undefined;
}
