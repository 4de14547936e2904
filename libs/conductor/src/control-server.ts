/**
 * The control links of workers: hello and token, welcome, and then their messages as events of the
 * run.
 */
import {
  aborted,
  brief,
  createChannel,
  LIMITS,
  machineKey,
  MessageBudget,
  nextSlowRest,
  NO_REST,
  printable,
  PROTOCOL_VERSION,
  ProtocolError,
  receiveWithin,
  refusal,
  selectVersion,
  Strangers,
  type Channel,
  type Message,
  type MessageOf,
  type SendBudget,
  type SlowRest,
  type StopCode,
} from '@troupe/protocol';
import { creditedAs } from '@troupe/run';
import { TransportError, type Connection } from '@troupe/transport';
import type { BanList } from './bans.js';
import type { ConductorEvent, ControlSession, WorkerIdentity, WorkerMessage } from './events.js';
import type { Gate, Pass } from './gate.js';
import type { ReduceLink } from './reduce-link.js';
import { openSessions, sessionOf, type Roster } from './roster.js';

const ACCEPTED = ['hello', 'ready', 'decline', 'progress', 'resync', 'seeded', 'bye'] as const;
type Incoming = MessageOf<(typeof ACCEPTED)[number]>;
type ControlChannel = Channel<Incoming['type']>;

const CONTROL_RATE = { burst: LIMITS.controlBurst, perSecond: LIMITS.controlPerSecond };

const GOODBYES: Readonly<Record<Exclude<StopCode, 'dismissed'>, string>> = {
  completed: 'the run is complete',
  stopped: 'the run was stopped',
  diverged: 'the run has diverged',
};

/** It fits into the close frame of a WebSocket. */
const HELD = 'a worker at this address computed wrongly: join again, and what comes from here is audited';

export interface ControlServerOptions {
  /** Checks tokens. */
  readonly gate: Gate;
  /** See ConductorOptions. */
  readonly bans: BanList;
  readonly layoutHash: string;
  /** The part of the welcome that is the same for every worker. */
  readonly welcome: Omit<MessageOf<'welcome'>, 'type' | 'version' | 'workerId' | 'ticket'>;
  /** Where the open sessions are. It must follow the events that this server puts. */
  readonly roster: Roster;
  /** Admits and dismisses tickets at the all-reduce service. */
  readonly reduce: Pick<ReduceLink, 'admit' | 'dismiss'>;
  put(event: ConductorEvent): void;
  /** Of the process: bounds what is queued for all links together. */
  readonly budget?: SendBudget | undefined;
  /** Monotonic, ms. */
  nowMs(): number;
  /** Aborts after `ms`. */
  deadline(ms: number): AbortSignal;
  /** An unguessable text made of `bytes` random bytes. */
  secret(bytes: number): string;
}

export class ControlServer {
  readonly #options: ControlServerOptions;
  /** By address and name: workers whose link was too slow. */
  readonly #slow = new Map<string, SlowRest>();
  #joined = 0;
  /** Workers that have left, the first to leave first: the roster forgets them sooner than an audit may find a lie of theirs. */
  readonly #left = new Map<string, WorkerIdentity>();
  readonly #strangers = new Strangers(LIMITS.unauthenticatedLinks);
  /** Why the run is over. Nobody can join any more. */
  #over: string | undefined;
  /**
   * Why this coordinator is shutting down. Nobody can join, but another coordinator may resume the
   * run.
   */
  #failed: string | undefined;

  constructor(options: ControlServerOptions) {
    this.#options = options;
  }

  /** Serves one incoming link until it ends. Never rejects. */
  async serve(connection: Connection, signal: AbortSignal): Promise<void> {
    const { budget } = this.#options;
    const first = { hello: LIMITS.firstFrameBytes };
    const channel = createChannel(connection, { accepts: ACCEPTED, first, bodyBytes: () => 0, ...(budget && { budget }) });
    let name = connection.remote;
    let pass: Pass | undefined;
    try {
      const hello = await this.#authenticate(channel, this.#options.gate.addressOf(connection), signal);
      name = printable(hello.name) || connection.remote;
      pass = await this.#options.gate.admit(hello, connection);
      this.#refuseLate();
      const { remote } = channel;
      this.#refuseBanned({ name, remote });
      this.#refuseResting({ name, remote });
      const worker = {
        id: this.#newId(),
        name,
        kind: hello.kind,
        remote,
        trusted: pass.trusted,
        suspect: this.#options.bans.isHeld({ remote }),
        tokenId: pass.tokenId,
        ...creditOf(hello),
      };
      await this.#runSession(channel, pass, worker, signal);
    } catch (error) {
      if (error instanceof ProtocolError) {
        trySend(channel, refusal(error));
        // It comes back until its rest is over, and people have been told of that.
        const isNews = error.code !== 'too_slow';
        if (isNews) this.#options.put({ type: 'peerRefused', name, reason: printable(`${error.code}: ${error.message}`) });
      } else if (!(error instanceof TransportError)) throw error;
    } finally {
      pass?.release();
      channel.close('the coordinator closed this connection');
    }
  }

  /** @returns false when the worker is gone; a `workerLeft` follows */
  send(workerId: string, message: Message, body?: Uint8Array): boolean {
    const session = sessionOf(this.#options.roster, workerId);
    if (!session) return false;
    if (message.type === 'lease') session.pass.countLease();
    return trySend(session.channel, message, body);
  }

  /**
   * Dismisses one worker, which does not reconnect on its own. `ban`: an admin also wants its name refused at its
   * address from now on.
   * @returns its name, or undefined when it is not connected
   */
  remove(workerId: string, reason: string, ban: boolean): string | undefined {
    const worker = this.#options.roster.workers.get(workerId);
    if (!worker?.session) return undefined;
    if (ban) this.#options.bans.add(worker, { by: 'admin', refused: true, held: false, reason });
    worker.session.removedFor = reason;
    trySend(worker.session.channel, { type: 'stop', code: 'dismissed', reason: brief(reason) });
    worker.session.channel.close(reason);
    return worker.name;
  }

  /**
   * A volunteer lied. Its address is suspect from now on, and its name there is banned, unless others who are there have the same: many keep
   * the name that the page gives them, and a school or an office has one address.
   * @param evidence what it claimed, and what came out
   * @param farewell what its owner is told
   * @returns its name, or undefined when it is not known any more
   */
  expose(workerId: string, evidence: string, farewell: string): string | undefined {
    const { roster, bans } = this.#options;
    const liar = roster.workers.get(workerId) ?? this.#left.get(workerId);
    if (!liar) return undefined;
    bans.add(liar, { by: 'audit', refused: !this.#isShared(liar), held: true, reason: evidence });
    this.remove(workerId, farewell, false);
    this.#endUnheld();
    return liar.name;
  }

  /**
   * Ends what volunteers at a held address began before it was: the liar may be there again under any name. All of them join again by
   * themselves, as suspects; an honest one loses no more than the lease that it computes.
   */
  #endUnheld(): void {
    const { roster, bans } = this.#options;
    for (const { session, trusted, suspect = false, remote } of roster.workers.values()) {
      if (!session || trusted || suspect || session.removedFor !== undefined || !bans.isHeld({ remote })) continue;
      session.removedFor = HELD;
      session.channel.close(HELD);
    }
  }

  /**
   * Disconnects a worker whose link is too slow for a snapshot, or for the updates meanwhile. It may join again after a rest, or at once if
   * nobody else is there. Others with its address and name, as in a school or an office, are not affected.
   * @returns the rest, ms
   */
  leaveOut(workerId: string, reason: string): number {
    const { roster, nowMs } = this.#options;
    const slow = roster.workers.get(workerId);
    if (!slow) return 0;
    slow.session?.channel.close(reason);
    if (this.#isShared(slow)) return 0;
    const key = alikeKey(slow);
    const rest = nextSlowRest(this.#slow.get(key) ?? NO_REST, nowMs());
    this.#slow.delete(key);
    this.#slow.set(key, rest);
    if (this.#slow.size > LIMITS.workers) this.#slow.delete(this.#slow.keys().next().value!);
    return rest.untilMs - nowMs();
  }

  #isShared(worker: WorkerIdentity): boolean {
    const others = [...this.#options.roster.workers.values()].filter(({ id, session }) => id !== worker.id && session);
    return others.some((other) => isAlike(other, worker));
  }

  /**
   * Tells every worker that the run is over and waits, at most `deadlineMs`, until all links are
   * closed.
   */
  async dismissAll(code: Exclude<StopCode, 'dismissed'>, deadlineMs: number): Promise<void> {
    const reason = GOODBYES[code];
    this.#over = reason;
    const open = openSessions(this.#options.roster).map(({ channel }) => channel);
    for (const channel of open) {
      trySend(channel, { type: 'stop', code, reason });
      channel.close(reason);
    }
    const everyone = Promise.all(open.map((channel) => channel.closed));
    await Promise.race([everyone, aborted(this.#options.deadline(deadlineMs))]);
  }

  /**
   * Closes every link and accepts no new ones. Does not tell workers that the run is over: they
   * reconnect.
   */
  closeAll(reason: string): void {
    this.#failed = reason;
    for (const { channel } of openSessions(this.#options.roster)) channel.close(reason);
  }

  async #authenticate(channel: ControlChannel, address: string, signal: AbortSignal): Promise<MessageOf<'hello'>> {
    const stranger = this.#strangers.enter(address, this.#options.deadline(LIMITS.helloMs));
    try {
      const wait = { deadline: stranger.ended, signal, what: 'a hello' };
      return this.#check((await receiveWithin(channel, wait)).message);
    } catch (error) {
      throw stranger.ended.reason instanceof ProtocolError ? stranger.ended.reason : error;
    } finally {
      stranger.leave();
    }
  }

  #check(message: Incoming): MessageOf<'hello'> {
    if (message.type !== 'hello')
      throw new ProtocolError('unexpected_message', `a ${message.type} came before the hello`, 'Send a hello first.');
    selectVersion(message.versions);
    return message;
  }

  /** @throws ProtocolError if nobody can join now */
  #refuseLate(): void {
    if (this.#failed !== undefined)
      throw new ProtocolError('internal', this.#failed, 'See its log. Workers reconnect on their own.');
    if (this.#over !== undefined) throw new ProtocolError('run_over', this.#over, 'Start a new run or join another one.');
    if (this.#options.roster.connected >= LIMITS.workers)
      throw new ProtocolError('run_full', `the run already has ${LIMITS.workers} workers`, 'Try again later.');
  }

  #refuseBanned(worker: Pick<WorkerIdentity, 'name' | 'remote'>): void {
    if (!this.#options.bans.isRefused(worker)) return;
    throw new ProtocolError(
      'banned',
      'the organizer of this run has banned this worker',
      'Ask the organizer, or join another run.',
    );
  }

  #refuseResting(worker: Pick<WorkerIdentity, 'name' | 'remote'>): void {
    const { roster, nowMs } = this.#options;
    const restMs = (this.#slow.get(alikeKey(worker))?.untilMs ?? 0) - nowMs();
    if (restMs <= 0 || roster.connected === 0) return;
    throw new ProtocolError(
      'too_slow',
      `the link of this worker was too slow for this run, which tries it again in ${Math.ceil(restMs / 60_000)} min`,
      'Use a faster link, or join a run with --local-steps or --codec int8-both, which need less.',
    );
  }

  #newId(): string {
    return `w${++this.#joined}-${this.#options.secret(3)}`;
  }

  /** From the welcome until the worker leaves. */
  async #runSession(channel: ControlChannel, pass: Pass, worker: WorkerIdentity, signal: AbortSignal): Promise<void> {
    const { reduce, welcome, put, secret } = this.#options;
    const ticket = secret(24);
    reduce.admit(worker.id, ticket);
    const budget = new MessageBudget(CONTROL_RATE, this.#options.nowMs());
    const session: ControlSession = { channel, pass: earning(pass, budget) };
    const end = (): void => endSession(session, pass.ended.reason as ProtocolError);
    pass.ended.addEventListener('abort', end, { once: true });
    put({ type: 'workerJoined', worker, session });
    let reason = 'the connection ended';
    try {
      channel.send({ type: 'welcome', version: PROTOCOL_VERSION, workerId: worker.id, ticket, ...welcome });
      reason = await this.#receiveUntilBye(channel, worker, budget, signal);
    } catch (error) {
      reason = session.removedFor ?? printable((error as Error).message);
      throw error;
    } finally {
      pass.ended.removeEventListener('abort', end);
      put({ type: 'workerLeft', worker, reason });
      this.#remember(worker);
      reduce.dismiss(worker.id, brief(reason));
    }
  }

  #remember(worker: WorkerIdentity): void {
    this.#left.set(worker.id, worker);
    if (this.#left.size > LIMITS.rememberedWorkers) this.#left.delete(this.#left.keys().next().value!);
  }

  /** @returns the worker's own reason for leaving */
  async #receiveUntilBye(
    channel: ControlChannel,
    worker: WorkerIdentity,
    budget: MessageBudget,
    signal: AbortSignal,
  ): Promise<string> {
    const { nowMs, deadline, put } = this.#options;
    for (;;) {
      const { message } = await channel.receive(signal);
      if (message.type === 'bye') return printable(message.reason);
      put({ type: 'workerMessage', worker, message: this.#checked(message) });
      const waitMs = budget.take(nowMs());
      // Its socket is paused before much waits in memory.
      if (waitMs > 0) await Promise.race([aborted(deadline(waitMs)), channel.closed]);
    }
  }

  #checked(message: Exclude<Incoming, { type: 'bye' }>): WorkerMessage {
    switch (message.type) {
      case 'ready':
        if (message.layoutHash === this.#options.layoutHash)
          return { ...message, engine: printable(message.engine), device: printable(message.device) };
        throw new ProtocolError(
          'layout_mismatch',
          'the parameter layout of the worker differs',
          'Install the same release of Troupe on both machines.',
        );
      case 'seeded':
        return message;
      case 'progress':
        if (message.steps < this.#options.welcome.config.localSteps) return message;
        throw new ProtocolError(
          'invalid_message',
          'a worker reports more steps than a lease has',
          'Run the same release of Troupe on both sides.',
        );
      case 'decline':
      case 'resync':
        return { ...message, reason: printable(message.reason) };
      default:
        throw new ProtocolError(
          'unexpected_message',
          `a ${message.type} is not expected now`,
          'Run the same release of Troupe on both sides.',
        );
    }
  }
}

function creditOf({ credited, name, team }: MessageOf<'hello'>): Pick<WorkerIdentity, 'credit'> {
  const credit = credited ? creditedAs(name, team) : undefined;
  return credit ? { credit } : {};
}

/** Each lease asks for an answer. */
function earning(pass: Pass, budget: MessageBudget): Pick<Pass, 'countLease'> {
  return {
    countLease() {
      budget.earn(LIMITS.controlPerLease);
      pass.countLease();
    },
  };
}

/** Tells the worker why, and closes its link. Its receive loop then ends the session. */
function endSession(session: ControlSession, error: ProtocolError): void {
  session.removedFor = error.message;
  trySend(session.channel, refusal(error));
  session.channel.close(error.message);
}

/** Of all workers with the same name at the same address, or another one of its machine. */
function alikeKey({ remote, name }: Pick<WorkerIdentity, 'name' | 'remote'>): string {
  return `${machineKey(remote)} ${name}`;
}

/** A ban would concern both. */
function isAlike(a: Pick<WorkerIdentity, 'name' | 'remote'>, b: Pick<WorkerIdentity, 'name' | 'remote'>): boolean {
  return alikeKey(a) === alikeKey(b);
}

/**
 * Closes the link when it is already closed or its peer has stopped reading. Its receive loop then
 * ends the session.
 */
function trySend(channel: ControlSession['channel'], message: Message, body?: Uint8Array): boolean {
  try {
    channel.send(message, body);
    return true;
  } catch (error) {
    const stuck = error instanceof ProtocolError && error.code === 'limit_exceeded';
    if (!stuck && !(error instanceof TransportError)) throw error;
    channel.close(error.message);
    return false;
  }
}
