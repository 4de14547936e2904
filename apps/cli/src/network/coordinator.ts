/** Asks a coordinator over HTTP and WebSocket, as workers reach it, without joining. */
import { brief, printable } from '@troupe/protocol';
import { connectWebSocket, createFetch, type Environment } from '@troupe/transport/websocket';
import type { LatencyFacts, Problem } from './facts.js';
import type { Membership } from './findings.js';
import { readNetworkView } from './view.js';

const LATENCY_REQUESTS = 10;

export interface CoordinatorPorts {
  /** Names the proxies. */
  readonly env: Environment;
  readonly signal: AbortSignal;
  /** For each request. */
  readonly timeoutMs: number;
  /** Monotonic, ms. */
  readonly nowMs: () => number;
}

/**
 * Opens a link and closes it before it says anything, so no worker joins.
 * @returns how long that took, ms
 * @throws TransportError
 */
export async function measureWebSocket(address: string, { env, signal, timeoutMs, nowMs }: CoordinatorPorts): Promise<number> {
  const startedMs = nowMs();
  const link = await connectWebSocket(address, { env, signal, connectTimeoutMs: timeoutMs });
  const ms = nowMs() - startedMs;
  link.close('only a check of the network');
  await link.closed;
  return ms;
}

/** @param base "http://host:7070/prefix" */
export async function checkToken(base: string, token: string | undefined, ports: CoordinatorPorts): Promise<Membership> {
  if (token === undefined) return { kind: 'noToken' };
  try {
    const response = await ask(`${base}/api/network`, ports, { authorization: `Bearer ${token}` });
    return membershipOf(response.status, await response.text());
  } catch (error) {
    ports.signal.throwIfAborted();
    return { kind: 'unknown', ...withoutAnswer(base, error as Error) };
  }
}

function ask(url: string, { env, signal, timeoutMs }: CoordinatorPorts, headers: Record<string, string>): Promise<Response> {
  return createFetch(env)(url, { headers, signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]) });
}

/** Of the answer to GET /api/network. */
export function membershipOf(status: number, text: string): Membership {
  const answer = parse(text);
  if (status === 200) {
    const view = readNetworkView(answer);
    if (view) return { kind: 'accepted', view };
  }
  const { code, message, remedy } = (answer ?? {}) as Partial<Record<string, unknown>>;
  if (code === 'no_such_path') return { kind: 'unknown', ...OTHER_RELEASE };
  const isRefused = status === 401 || code === 'wrong_scope';
  // The coordinator knows more about a signed token: it has expired, for example.
  if (typeof message === 'string' && typeof remedy === 'string' && code !== 'wrong_token')
    return { kind: isRefused ? 'refused' : 'unknown', message: brief(printable(message)), remedy: brief(printable(remedy)) };
  if (isRefused) return { kind: 'refused', ...WRONG_TOKEN };
  return {
    kind: 'unknown',
    message: `not checked: /api/network is answered with HTTP ${status}, and not by a coordinator`,
    remedy: 'If there is a proxy in front of the coordinator, it must pass on all paths: see deploy/README.md.',
  };
}

const WRONG_TOKEN: Problem = {
  message: 'the coordinator refuses the token',
  remedy: 'Use the token that the coordinator printed when it started, or its link for volunteers: --token TOKEN.',
};

const OTHER_RELEASE: Problem = {
  message: 'not checked: the coordinator is of a release that does not know this check',
  remedy: 'Install the same release of Troupe on both machines.',
};

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Something other than a coordinator has answered.
    return undefined;
  }
}

function withoutAnswer(base: string, error: Error): Problem {
  const why =
    error.name === 'TimeoutError' ? 'no answer in time' : ((error.cause as Error | undefined)?.message ?? error.message);
  return {
    message: `not checked: ${base}/api/network cannot be read: ${why}`,
    remedy: 'Run the command again. If there is a proxy in front of the coordinator, it must pass on all paths.',
  };
}

/** The first request may open a connection, and does not count. @throws LatencyUnknown, an error with a remedy */
export async function measureLatency(base: string, ports: CoordinatorPorts): Promise<LatencyFacts> {
  const times: number[] = [];
  try {
    for (let i = 0; i <= LATENCY_REQUESTS; i++) {
      const startedMs = ports.nowMs();
      await (await ask(`${base}/healthz`, ports, {})).arrayBuffer();
      if (i > 0) times.push(ports.nowMs() - startedMs);
    }
  } catch (error) {
    ports.signal.throwIfAborted();
    throw new LatencyUnknown(times.length, error as Error);
  }
  const sorted = times.sort((a, b) => a - b);
  return { medianMs: sorted[Math.floor(sorted.length / 2)], mostMs: sorted.at(-1)!, requests: sorted.length };
}

class LatencyUnknown extends Error {
  override readonly name = 'LatencyUnknown';
  readonly remedy = 'Run the command again. If requests fail each time, workers will lose their links too.';
  constructor(answered: number, cause: Error) {
    super(`a request was not answered, after ${answered} that were: ${cause.message}`, { cause });
  }
}
