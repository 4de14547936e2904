/** What was measured, in words. */
import { installationAt } from '@troupe/config/installation';
import { PROTOCOL_VERSION } from '@troupe/protocol';
import type { NetworkView } from '@troupe/run';
import type { IceAnswer } from '@troupe/transport/webrtc-node';
import type { LookedUp, Reached } from '@troupe/transport/websocket';
import type { ChannelFacts, Finding, LatencyFacts, Level, Outcome, Problem, ServerFacts } from './facts.js';

export function nameFinding(host: string, outcome: Outcome<LookedUp>): Finding {
  return finding('name', outcome, 'fault', ({ addresses, ms }) => `${host} is ${addresses.join(', ')} (${inMs(ms)})`);
}

export function connectionFinding(outcome: Outcome<Reached>): Finding {
  return finding('connection', outcome, 'fault', ({ tcpMs, proxy, tls }) =>
    [
      proxy === undefined ? `TCP in ${inMs(tcpMs)}` : `TCP to ${proxy} in ${inMs(tcpMs)}`,
      ...(tls === undefined ? [] : [`${tls.version} in ${inMs(tls.ms)}`]),
    ].join(', '),
  );
}

export function webSocketFinding(outcome: Outcome<number>): Finding {
  return finding('WebSocket', outcome, 'fault', (ms) => `opened in ${inMs(ms)}`);
}

/** @param address where workers find it */
export function allReduceFinding(address: string, outcome: Outcome<number>): Finding {
  return finding('all-reduce', outcome, 'fault', (ms) => `${address} opened in ${inMs(ms)}`);
}

export function latencyFinding(outcome: Outcome<LatencyFacts>): Finding {
  return finding(
    'latency',
    outcome,
    'limit',
    ({ medianMs, mostMs, requests }) =>
      `${inMs(medianMs)} for a request and its answer (median of ${requests}; at most ${inMs(mostMs)})`,
  );
}

/** How the coordinator answered to the token. */
export type Membership =
  | { readonly kind: 'accepted'; readonly view: NetworkView }
  | { readonly kind: 'noToken' }
  | ({ readonly kind: 'refused' } & Problem)
  /** The token was not checked. */
  | ({ readonly kind: 'unknown' } & Problem);

export function tokenFinding(membership: Membership): Finding {
  switch (membership.kind) {
    case 'accepted':
      return versionFinding(membership.view);
    case 'noToken':
      return {
        check: 'token',
        level: 'skipped',
        text: 'not checked, and neither is WebRTC: no token was given',
        remedy: 'Give the link for volunteers, or the token that the coordinator prints: --token TOKEN, or TROUPE_TOKEN.',
      };
    case 'refused':
      return { check: 'token', level: 'fault', text: membership.message, remedy: membership.remedy };
    case 'unknown':
      return { check: 'token', level: 'limit', text: membership.message, remedy: membership.remedy };
    default:
      return membership satisfies never;
  }
}

function versionFinding({ protocolVersion: theirs }: NetworkView): Finding {
  if (theirs === PROTOCOL_VERSION)
    return { check: 'token', level: 'ok', text: `accepted; both sides speak protocol version ${theirs}` };
  return {
    check: 'token',
    level: 'fault',
    text: `accepted, but the coordinator speaks protocol version ${theirs}, and this machine ${PROTOCOL_VERSION}`,
    remedy: `Update Troupe on ${theirs > PROTOCOL_VERSION ? 'this machine' : 'the machine of the coordinator'}.`,
  };
}

/** In the way of this copy of Troupe. */
export const INSTALL_WEBRTC = installationAt(import.meta.url).install('node-datachannel');

/** @param outcome undefined: the library is not installed */
export function channelFinding(outcome: Outcome<ChannelFacts> | undefined): Finding {
  if (outcome === undefined) {
    return {
      check: 'WebRTC',
      level: 'limit',
      text: 'the package node-datachannel is not installed, or has no build for this machine',
      remedy: `Install it: ${INSTALL_WEBRTC}`,
    };
  }
  return finding(
    'WebRTC',
    outcome,
    'limit',
    ({ ms, addresses }) =>
      `a data channel within this machine opened over UDP in ${inMs(ms)}; addresses: ${addresses.join(', ')}`,
  );
}

export function serverFinding({ url, place, answer, overTcp }: ServerFacts): Finding {
  if (answer === undefined) return { check: url, level: 'skipped', text: 'not checked: it uses TLS over UDP' };
  const { text, remedy } = describeAnswer(answer, place.isTurn);
  const also = overTcp === undefined ? '' : hasAnswered(overTcp) ? '; over TCP it answers' : '; nor does it over TCP';
  return {
    check: url,
    level: answer.kind === 'answered' ? 'ok' : 'limit',
    text: text + also,
    ...(remedy === undefined ? {} : { remedy }),
  };
}

/** Whether anything came back, be it a refusal. */
export function hasAnswered(answer: IceAnswer | undefined): boolean {
  return answer !== undefined && answer.kind !== 'silent' && answer.kind !== 'unreachable';
}

function describeAnswer(answer: IceAnswer, isTurn: boolean): { readonly text: string; readonly remedy?: string } {
  switch (answer.kind) {
    case 'answered': {
      const { ms, seenAs, relay } = answer;
      const parts = [seenAs && `it sees this machine as ${seenAs}`, relay && `it relays from ${relay}`];
      return { text: [`answers in ${inMs(ms)}`, ...parts.filter(Boolean)].join('; ') };
    }
    case 'refused':
      return {
        text: `answers, and refuses the credentials (${answer.code})`,
        remedy:
          'The organizer must give the coordinator the static-auth-secret of the TURN server in TROUPE_TURN_SECRET, and check that the ' +
          'clocks of both machines agree.',
      };
    case 'failed':
      return {
        text: `answers, and ${isTurn ? 'gives no relay' : 'tells no address'} (${answer.code}${answer.reason && ` ${answer.reason}`})`,
        remedy: 'The organizer must look in the log of the server; it may be full (user-quota, total-quota).',
      };
    case 'silent':
      return { text: 'does not answer' };
    case 'unreachable':
      return { text: `cannot be reached: ${answer.reason}` };
    default:
      return answer satisfies never;
  }
}

function finding<T>(check: string, outcome: Outcome<T>, failure: Level, describe: (value: T) => string): Finding {
  if (outcome.ok) return { check, level: 'ok', text: describe(outcome.value) };
  const { message, remedy } = outcome.problem;
  return { check, level: failure, text: message, remedy };
}

function inMs(ms: number): string {
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}
