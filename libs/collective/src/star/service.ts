import {
  aborted,
  createChannel,
  LIMITS,
  PROTOCOL_VERSION,
  ProtocolError,
  receiveWithin,
  refusal,
  sameText,
  selectVersion,
  Strangers,
  type Channel,
  type Message,
  type MessageOf,
  type ProtocolErrorCode,
  type SendBudget,
  type Stranger,
} from '@troupe/protocol';
import { hostOf, TransportError, type Connection } from '@troupe/transport';
import { isLinkFailure } from '../errors.js';
import type { KeptSnapshot } from '../port.js';
import { refused } from './handshake.js';
import { createHub } from './hub.js';
import type { NewLink } from './links.js';
import { createReducer, type ReducerParts } from './reducer.js';
import { unexpected, type RunServer, type ServerOptions } from './run-server.js';

export interface StarServiceOptions extends ServerOptions {
  /** Of the process: bounds what is queued for all links together. */
  readonly budget?: SendBudget;
  /** Links at a time on which nobody has been admitted. Default: LIMITS.unauthenticatedLinks. */
  readonly strangers?: number | undefined;
  /** Somebody has been admitted on this link. */
  onAdmitted?(link: Connection): void;
  /** Links with the same answer count together until somebody is admitted. Default: their addresses. */
  addressOf?(link: Connection): string;
}

/**
 * The star: every worker and the coordinator have one link to this service, which decides what counts, sums it, and sends the same
 * update to all. It serves one run at a time, as long as the run's coordinator (host) is connected. With reducers, each of them sums a
 * range of the parameters; a service that is told so by another is such a reducer.
 */
export interface StarService {
  /**
   * Serves one incoming connection to its end; the first message says what it is: a worker, a coordinator, or the service that this
   * one sums a range for. Never rejects: an error of one connection closes that one, with the reason, and is logged. An abort closes
   * it too.
   */
  serve(connection: Connection, signal: AbortSignal, origin?: LinkOrigin): Promise<void>;
  /**
   * Offers the service at the other end of this link to sum ranges of its run, and does so until the link ends or `signal` aborts. Workers
   * that it admits are then served. Rejects with what ends the link: CollectiveError `refused`, TransportError, ProtocolError.
   */
  offer(connection: Connection, offer: Omit<MessageOf<'offer'>, 'type' | 'versions'>, signal: AbortSignal): Promise<void>;
  /** Workers that have links to this service, which sums for them, may take pieces of this snapshot; undefined: of none. */
  keep(snapshot: KeptSnapshot | undefined): void;
}

/** Whether this side knows whose link it is; it then is no stranger's. Default: it does not. */
export interface LinkOrigin {
  readonly isExpected: boolean;
}

export function createStarService(options: StarServiceOptions): StarService {
  return new Service(options);
}

/** What a host, or the service of a reducer, says. */
const ORDERS = [
  ...(['host', 'assign', 'admit', 'dismiss', 'subscribe', 'peers', 'range', 'openRound', 'grant', 'rule'] as const),
  ...(['passedRange', 'add', 'drop', 'copy', 'finish', 'iceServers', 'signal'] as const),
];

/** What a link begins with, and the most bytes of its frame. A coordinator and a reducer name addresses. */
const FIRST = {
  join: LIMITS.firstFrameBytes,
  host: LIMITS.frameBytes,
  offer: 4 * LIMITS.firstFrameBytes,
  assign: LIMITS.firstFrameBytes,
};

/** The run that a connection has joined; it decides the body length of the next message. */
interface Session {
  run?: RunServer;
}

class Service implements StarService {
  readonly #options: StarServiceOptions;
  #run: RunServer | undefined;
  readonly #strangers: Strangers;
  #kept: KeptSnapshot | undefined;

  constructor(options: StarServiceOptions) {
    this.#options = options;
    this.#strangers = new Strangers(options.strangers ?? LIMITS.unauthenticatedLinks);
  }

  async serve(connection: Connection, signal: AbortSignal, origin?: LinkOrigin): Promise<void> {
    const session: Session = {};
    const { budget } = this.#options;
    const channel = createChannel(connection, {
      accepts: [
        ...(['join', 'gradientRange', 'contribution', 'linked', 'introduce', 'signal', 'lacking', 'received'] as const),
        ...(['wantPiece', 'offer', 'assigned', 'copied', 'held', 'measured', 'updateRange'] as const),
        ...ORDERS,
      ],
      ...(!origin?.isExpected && { first: FIRST }),
      bodyBytes: (message) => bodyBytes(session, message),
      // No deadline for transfers: a gradient may leave while the engine computes the rest of it, and heartbeats find dead links.
      ...(budget && { budget }),
    });
    const stop = () => channel.close('the all-reduce service is stopping');
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    const stranger = this.#enter(connection, origin);
    const evict = () => {
      const { reason } = stranger.ended as { readonly reason: unknown };
      if (reason instanceof ProtocolError) this.#refuse(channel, reason);
    };
    stranger.ended.addEventListener('abort', evict, { once: true });
    try {
      const { message } = await channel.receive(stranger.ended);
      const link = { channel, connection, onAdmitted: () => this.#admit(connection, stranger) };
      if (message.type === 'join' || message.type === 'offer') await this.#serveWorker(link, session, message);
      else if (message.type === 'host' || message.type === 'assign') await this.#serveHost(link, session, message);
      else throw unexpected(message, 'a connection begins with join, offer, host or assign');
    } catch (error) {
      // One that made room has been told so.
      if (!(stranger.ended.reason instanceof ProtocolError)) this.#refuse(channel, error);
    } finally {
      stranger.leave();
      signal.removeEventListener('abort', stop);
    }
  }

  #admit(connection: Connection, stranger: Stranger): void {
    stranger.leave();
    this.#options.onAdmitted?.(connection);
  }

  /** The link may have to make room for another until somebody is admitted on it. */
  #enter(connection: Connection, origin: LinkOrigin | undefined): Stranger {
    const { deadline, addressOf = ({ remote }) => hostOf(remote) } = this.#options;
    const inTime = deadline(LIMITS.helloMs);
    return origin?.isExpected === true
      ? { ended: inTime, leave: () => undefined }
      : this.#strangers.enter(addressOf(connection), inTime);
  }

  keep(snapshot: KeptSnapshot | undefined): void {
    this.#kept = snapshot;
  }

  async offer(connection: Connection, offer: Omit<MessageOf<'offer'>, 'type' | 'versions'>, signal: AbortSignal): Promise<void> {
    const session: Session = {};
    const { budget, deadline } = this.#options;
    const channel = createChannel(connection, {
      accepts: ['refuse', ...ORDERS],
      bodyBytes: (message) => bodyBytes(session, message),
      ...(budget && { budget }),
    });
    const stop = () => channel.close('this worker no longer sums');
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    try {
      channel.send({ type: 'offer', versions: [PROTOCOL_VERSION], ...offer });
      const { message } = await receiveWithin(channel, {
        deadline: deadline(LIMITS.answerMs),
        signal,
        what: 'the answer to offer',
      });
      if (message.type === 'refuse') throw refused(message);
      if (message.type !== 'assign') throw unexpected(message, 'a service answers offer with assign');
      selectVersion(message.versions);
      await this.#follow(channel, session, message);
    } catch (error) {
      channel.close(error instanceof Error ? error.message : String(error));
      throw error;
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  async #serveWorker(link: NewLink, session: Session, join: MessageOf<'join'> | MessageOf<'offer'>): Promise<void> {
    selectVersion(join.versions);
    const run = this.#run;
    if (run?.hello.runId !== join.runId) {
      throw new ProtocolError(
        'run_over',
        `run ${join.runId} has no coordinator at this service`,
        'Join the run again through its coordinator.',
      );
    }
    session.run = run;
    await (join.type === 'join' ? run.serveMember(link, join) : run.servePeer(link, join));
  }

  async #serveHost({ channel, onAdmitted }: NewLink, session: Session, hello: RunServer['hello']): Promise<void> {
    selectVersion(hello.versions);
    if (!sameText(hello.token, this.#options.token)) {
      // Guessing takes a link a second for each attempt.
      await aborted(this.#options.deadline(LIMITS.wrongTokenMs));
      throw new ProtocolError(
        'wrong_token',
        'the token is wrong',
        'Start the coordinator with the token of the all-reduce service.',
      );
    }
    if (this.#run) requireOwner(this.#run, hello);
    onAdmitted();
    await this.#follow(channel, session, hello);
  }

  async #follow(channel: Channel, session: Session, hello: RunServer['hello']): Promise<void> {
    const run = this.#takeRun(channel, hello);
    session.run = run;
    try {
      const what = hello.type === 'host' ? 'coordinator connected' : 'reducer';
      this.#options.log({ level: 'info', text: `run ${hello.runId}: ${what} from ${channel.remote}` });
      await run.serveHost();
    } finally {
      if (this.#run === run) this.#run = undefined;
      run.end();
    }
  }

  /** @throws OptimError `out_of_memory` */
  #takeRun(host: Channel, hello: RunServer['hello']): RunServer {
    const previous = this.#run;
    if (previous) {
      // A coordinator may come back before this side notices that its old link is dead.
      previous.host.close('the same coordinator connected again');
      this.#run = undefined;
      previous.end();
    }
    const parts: ReducerParts = {
      serve: (connection, signal) => this.serve(connection, signal, { isExpected: true }),
      kept: () => this.#kept,
    };
    this.#run = hello.type === 'host' ? createHub(hello, host, this.#options) : createReducer(hello, host, this.#options, parts);
    return this.#run;
  }

  #refuse(channel: Channel, error: unknown): void {
    if (error instanceof TransportError && error.code !== 'aborted') {
      this.#options.log({ level: 'info', text: `${channel.remote} disconnected: ${error.message}` });
      return;
    }
    const reason = explain(error);
    const { code, message, remedy } = reason;
    // A crowd of strangers shall not fill the log as well.
    const level = code === 'run_full' ? 'info' : 'warn';
    this.#options.log({ level, text: `${channel.remote} is refused (${code}): ${message}`, remedy });
    try {
      channel.send(refusal(reason));
    } catch (cause) {
      if (!isLinkFailure(cause)) throw cause;
    }
    channel.close(message);
  }
}

/**
 * The coordinator that is connected keeps the service: if two of the same run took it from each other, neither would complete a round.
 * @throws ProtocolError `taken`
 */
function requireOwner({ hello: { type, runId, owner } }: RunServer, hello: RunServer['hello']): void {
  if (runId === hello.runId && owner === hello.owner && type === hello.type) return;
  const other = owner === hello.owner ? `another part of run ${runId}` : `another coordinator of run ${runId}`;
  const who = runId === hello.runId ? other : `run ${runId}`;
  const remedy =
    owner === hello.owner
      ? 'Name each all-reduce service once.'
      : 'Stop that coordinator first, or start a second service on another port. If it crashed, its link ends within 20 s.';
  throw new ProtocolError('taken', `this service is taken by ${who}`, remedy);
}

interface Explanation {
  readonly code: ProtocolErrorCode;
  readonly message: string;
  readonly remedy: string;
}

function explain(error: unknown): Explanation {
  if (error instanceof ProtocolError) return error;
  if (error instanceof TransportError) {
    return {
      code: 'unexpected_message',
      message: 'no join, host or assign message came in time',
      remedy: 'Check that the address belongs to an all-reduce service.',
    };
  }
  const remedy = error instanceof Error && 'remedy' in error ? String(error.remedy) : 'This is a bug in the service: report it.';
  return { code: 'internal', message: error instanceof Error ? error.message : String(error), remedy };
}

function bodyBytes({ run }: Session, message: Message): number {
  if (run) return run.bodyBytes(message);
  if (!['contribution', 'gradientRange', 'passedRange', 'copied', 'measured', 'updateRange'].includes(message.type)) return 0;
  throw unexpected(message, 'a worker joins first');
}
