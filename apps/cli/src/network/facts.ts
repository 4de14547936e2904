/** What `troupe doctor --network` measures. */
import type { NetworkView } from '@troupe/run';
import type { IceAnswer, IceUrl } from '@troupe/transport/webrtc-node';

/** An error in words, as all errors of Troupe have them. */
export interface Problem {
  readonly message: string;
  readonly remedy: string;
}

export type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: Problem };

export interface LatencyFacts {
  readonly medianMs: number;
  readonly mostMs: number;
  readonly requests: number;
}

export interface ChannelFacts {
  readonly ms: number;
  /** Under which this machine offers itself to others. */
  readonly addresses: readonly string[];
}

/** One STUN or TURN server of the run. */
export interface ServerFacts {
  readonly url: string;
  readonly place: IceUrl;
  /** Undefined: it is not asked, because it uses TLS over UDP. */
  readonly answer: IceAnswer | undefined;
  /** How it answers over TCP, when it does not over UDP. */
  readonly overTcp?: IceAnswer;
}

/** What decides whether this machine gets direct links to other workers. */
export interface DirectFacts {
  readonly topology: NetworkView['topology'];
  /** Undefined: the WebRTC library is not installed. */
  readonly channel: Outcome<ChannelFacts> | undefined;
  /** Undefined: a separate all-reduce service has them. */
  readonly servers: readonly ServerFacts[] | undefined;
}

/**
 * `ok`: as it should be · `fault`: a worker could not join · `limit`: a worker could join, and something else does not work · `skipped`:
 * not checked.
 */
export type Level = 'ok' | 'fault' | 'limit' | 'skipped';

/** One line for people and one entry for programs. */
export interface Finding {
  /** What was checked: "latency", or the URL of a server. */
  readonly check: string;
  readonly level: Level;
  readonly text: string;
  readonly remedy?: string;
}
