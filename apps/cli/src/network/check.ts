/** `troupe doctor --network`: the steps from this machine into a run, in the order in which a worker takes them. */
import type { NetworkView } from '@troupe/run';
import { lookUpHost, measureConnection, type Environment } from '@troupe/transport/websocket';
import type { NodeRtc } from '@troupe/transport/webrtc-node';
import { attempt } from './attempt.js';
import { checkToken, measureLatency, measureWebSocket } from './coordinator.js';
import type { DirectFacts, Finding, ServerFacts } from './facts.js';
import {
  allReduceFinding,
  channelFinding,
  connectionFinding,
  latencyFinding,
  nameFinding,
  serverFinding,
  tokenFinding,
  webSocketFinding,
} from './findings.js';
import { judge, type Verdict } from './verdict.js';
import { measureChannel, measureServers } from './webrtc.js';

/** For each step. */
const STEP_MS = 5_000;
/** For a STUN or TURN server, which answers at once or not at all. */
const SERVER_MS = 3_000;
/** On a busy machine the library gives up an attempt now and then, though nothing is blocked. */
const CHANNEL_TRIES = 3;

export interface NetworkTarget {
  /** "wss://host:7070/control". */
  readonly address: string;
  readonly token: string | undefined;
}

export interface NetworkPorts {
  /** Names the proxies. */
  readonly env: Environment;
  readonly signal: AbortSignal;
  /** Monotonic, ms. */
  readonly nowMs: () => number;
  /** Undefined where the WebRTC library is not installed. */
  readonly findRtc: () => Promise<NodeRtc | undefined>;
  /** Hears of each finding at once. */
  readonly onFinding: (finding: Finding) => void;
}

export interface NetworkReport {
  readonly findings: readonly Finding[];
  readonly verdict: Verdict;
}

type StepPorts = NetworkPorts & { readonly timeoutMs: number };

/** Joins nothing. @throws the reason of the signal */
export async function checkNetwork(target: NetworkTarget, given: NetworkPorts): Promise<NetworkReport> {
  const findings: Finding[] = [];
  const ports: StepPorts = {
    ...given,
    timeoutMs: STEP_MS,
    onFinding(finding) {
      findings.push(finding);
      given.onFinding(finding);
    },
  };
  const reached = await reachCoordinator(new URL(target.address), ports);
  const view = reached ? await askCoordinator(target, ports) : undefined;
  const direct = view && (await measureDirect(view, ports));
  return { findings, verdict: judge(findings, direct) };
}

/** @returns whether a WebSocket opens */
async function reachCoordinator(url: URL, ports: StepPorts): Promise<boolean> {
  const { signal, onFinding } = ports;
  const name = await attempt(signal, () => lookUpHost(url, ports));
  if (!name.ok || name.value) onFinding(nameFinding(url.hostname, name as Parameters<typeof nameFinding>[1]));
  if (!name.ok) return false;
  const connection = await attempt(signal, () => measureConnection(url, ports));
  onFinding(connectionFinding(connection));
  if (!connection.ok) return false;
  const webSocket = await attempt(signal, () => measureWebSocket(url.href, ports));
  onFinding(webSocketFinding(webSocket));
  return webSocket.ok;
}

/** @returns what the coordinator tells those that may join; undefined if it does not */
async function askCoordinator({ address, token }: NetworkTarget, ports: StepPorts): Promise<NetworkView | undefined> {
  const { signal, onFinding } = ports;
  const base = address.replace(/^ws/, 'http').replace(/\/control$/, '');
  const membership = await checkToken(base, token, ports);
  onFinding(tokenFinding(membership));
  const view = membership.kind === 'accepted' ? membership.view : undefined;
  if (view) {
    // A path is at the host of the coordinator.
    const service = new URL(view.reduceAddress, address).href;
    onFinding(allReduceFinding(service, await attempt(signal, () => measureWebSocket(service, ports))));
  }
  onFinding(latencyFinding(await attempt(signal, () => measureLatency(base, ports))));
  return view;
}

async function measureDirect({ topology, iceServers }: NetworkView, ports: StepPorts): Promise<DirectFacts> {
  const channel = await measureLibrary(ports);
  ports.onFinding(channelFinding(channel));
  const servers = iceServers && (await measureServers(iceServers, { ...ports, timeoutMs: SERVER_MS }));
  servers?.forEach((server: ServerFacts) => ports.onFinding(serverFinding(server)));
  return { topology, channel, servers };
}

async function measureLibrary({ findRtc, signal, timeoutMs, nowMs }: StepPorts): Promise<DirectFacts['channel']> {
  const rtc = await findRtc();
  if (!rtc) return undefined;
  const once = () => attempt(signal, () => measureChannel(rtc, timeoutMs, nowMs, signal));
  try {
    let channel = await once();
    for (let tries = 1; tries < CHANNEL_TRIES && !channel.ok; tries++) channel = await once();
    return channel;
  } finally {
    rtc.close();
  }
}
