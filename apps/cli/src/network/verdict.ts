/** What the findings mean for a worker on this machine. It claims no more than was measured. */
import type { DirectFacts, Finding, ServerFacts } from './facts.js';
import { hasAnswered, INSTALL_WEBRTC } from './findings.js';

/**
 * How gradients reach workers of other networks. `unused`: the run has no direct links · `noWebRtc`: not from this machine · `unknown`:
 * that was not checked · `local`: directly within this machine's network alone · `direct`: directly where both routers allow it · `relayed`: directly or
 * through a TURN server · `udpBlocked`, `silent`: through the coordinator, because UDP does not pass, or because no server answers.
 */
export type DirectPath = 'unused' | 'noWebRtc' | 'unknown' | 'local' | 'direct' | 'relayed' | 'udpBlocked' | 'silent';

export interface Verdict {
  readonly canJoin: boolean;
  /** Undefined: a worker could not join, or the token was not checked. */
  readonly direct?: DirectPath;
  readonly text: string;
  readonly remedy?: string;
}

type Path = Required<Pick<Verdict, 'direct' | 'text'>> & Pick<Verdict, 'remedy'>;

/** @param direct undefined: it was not measured */
export function judge(findings: readonly Finding[], direct: DirectFacts | undefined): Verdict {
  const fault = findings.find(({ level }) => level === 'fault');
  if (fault) return { canJoin: false, text: `A worker on this machine could not join: ${fault.text}.`, ...remedyOf(fault) };
  const token = findings.find(({ check, level }) => check === 'token' && level !== 'ok');
  if (token || !direct) {
    return {
      canJoin: true,
      text: 'A worker on this machine reaches the coordinator. Whether it may join was not checked.',
      ...remedyOf(token),
    };
  }
  const path = judgePath(direct);
  return { canJoin: true, ...path, text: `A worker on this machine can join. ${path.text}` };
}

function remedyOf(finding: Finding | undefined): Pick<Verdict, 'remedy'> {
  return finding?.remedy === undefined ? {} : { remedy: finding.remedy };
}

const THROUGH_COORDINATOR = 'Gradients go through the coordinator, and nothing is lost.';

function judgePath({ topology, channel, servers }: DirectFacts): Path {
  if (topology === 'star')
    return {
      direct: 'unused',
      text: 'The coordinator sums all gradients of this run (--topology star), so no direct links are needed.',
    };
  if (channel === undefined) {
    return {
      direct: 'noWebRtc',
      text: `It cannot open direct links over WebRTC, because the package node-datachannel is missing. ${THROUGH_COORDINATOR}`,
      remedy: `For direct links, install it: ${INSTALL_WEBRTC}`,
    };
  }
  if (!channel.ok) {
    const text = `It cannot open direct links over WebRTC, which does not even work within this machine. ${THROUGH_COORDINATOR}`;
    return { direct: 'noWebRtc', text, remedy: 'Check that a firewall on this machine lets Node send and receive UDP.' };
  }
  if (servers === undefined)
    return {
      direct: 'unknown',
      text: 'WebRTC works here. The STUN and TURN servers belong to a separate all-reduce service, and were not checked.',
    };
  return servers.length === 0 ? withoutServers() : judgeServers(servers);
}

function withoutServers(): Path {
  return {
    direct: 'local',
    text:
      'With --webrtc it can exchange gradients directly with workers of its own network. With those behind other routers, gradients go ' +
      'through the coordinator, because the run names no STUN server.',
    remedy: 'For direct links between networks, the organizer can start the coordinator with --ice-servers stun:HOST:3478.',
  };
}

function judgeServers(servers: readonly ServerFacts[]): Path {
  const overUdp = servers.filter(({ place }) => place.transport === 'udp');
  if (overUdp.some(({ answer }) => hasAnswered(answer))) return judgeOpenUdp(overUdp);
  const relay = servers.find(({ place, answer }) => place.isTurn && place.transport !== 'udp' && answer?.kind === 'answered');
  const blocked = overUdp.find(({ overTcp }) => hasAnswered(overTcp));
  if (blocked) return judgeBlockedUdp(blocked, relay);
  return {
    direct: 'silent',
    text: `${noAnswer(overUdp)} ${THROUGH_COORDINATOR}${relay ? ` ${browserRelay(relay)}` : ''}`,
    remedy:
      'The organizer must check that the STUN and TURN servers run, and that their UDP ports are open: see deploy/README.md.',
  };
}

function noAnswer(overUdp: readonly ServerFacts[]): string {
  if (overUdp.length === 0) return 'The run names no STUN or TURN server over UDP, and workers in Node use no others.';
  return 'No STUN or TURN server of the run answers over UDP: they are down, or something on the way blocks UDP.';
}

/** Another port or protocol would not help a worker in Node, which uses UDP alone. */
function judgeBlockedUdp({ place: { host } }: ServerFacts, relay: ServerFacts | undefined): Path {
  const text = `UDP does not pass between this machine and ${host}, which answers over TCP: a firewall blocks it. ${THROUGH_COORDINATOR}`;
  if (relay) return { direct: 'udpBlocked', text: `${text} ${browserRelay(relay)}` };
  return {
    direct: 'udpBlocked',
    text,
    remedy:
      'For direct links, open UDP in the firewall of this network, or of the server. Browsers can also use a TURN server that takes TCP: ' +
      "the organizer names it with --ice-servers 'turn:HOST:443?transport=tcp'. Workers in Node use UDP alone.",
  };
}

function browserRelay({ url }: ServerFacts): string {
  return `Browsers on this machine can use the relay ${url}.`;
}

/** @param servers of which at least one has answered */
function judgeOpenUdp(servers: readonly ServerFacts[]): Path {
  const turn = servers.filter(({ place }) => place.isTurn);
  if (turn.some(({ answer }) => answer?.kind === 'answered')) {
    const text =
      'UDP passes. With --webrtc it can exchange gradients directly with workers whose routers allow it; for the others, a TURN server ' +
      'gives it a relay.';
    return { direct: 'relayed', text };
  }
  const text =
    'UDP passes. With --webrtc it can exchange gradients directly with workers whose routers allow it; with the others, they go through ' +
    `the coordinator, because ${turn.length > 0 ? 'no TURN server gives this machine a relay' : 'the run names no TURN server'}.`;
  return { direct: 'direct', text, remedy: relayRemedy(turn) };
}

function relayRemedy(turn: readonly ServerFacts[]): string {
  if (turn.length === 0)
    return 'For links between all networks, the organizer can add a TURN server: --ice-servers stun:HOST:3478,turn:HOST:3478, see deploy/README.md.';
  return turn.some(({ answer }) => answer?.kind === 'refused')
    ? 'The organizer must check that TROUPE_TURN_SECRET is the static-auth-secret of the TURN server, and that their clocks agree.'
    : 'The organizer must check that the TURN server runs, and that its UDP port is open: see deploy/README.md.';
}
