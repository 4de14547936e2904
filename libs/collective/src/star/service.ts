import {
  createChannel,
  isLostRace,
  LIMITS,
  openTransfer,
  ProtocolError,
  refusal,
  sameText,
  selectVersion,
  type Channel,
  type Message,
  type MessageOf,
  type ProtocolErrorCode,
  type SendBudget,
} from '@troupe/protocol';
import { TransportError, type Connection } from '@troupe/transport';
import { updateBytes } from '../codec.js';
import { contributionBytes } from '../contribution.js';
import type { Intake } from '../intake.js';
import { createReduction, type EncodedUpdate, type Reduction, type ReductionConfig } from '../reduction.js';

/** A line for the log of the service. */
export interface ServiceNote {
  readonly level: 'info' | 'warn';
  readonly text: string;
  readonly remedy?: string;
}

export interface StarServiceOptions {
  /** The secret that coordinators must send. */
  readonly token: string;
  readonly log: (note: ServiceNote) => void;
  /** Makes a signal that aborts after `ms`, such as AbortSignal.timeout. */
  readonly deadline: (ms: number) => AbortSignal;
  /** A clock, ms, for `serviceMs` in `counted`; absent: that is 0. */
  readonly nowMs?: () => number;
  /** Bytes queued for one worker before it is dropped as stuck. Default: four updates, at least LIMITS.updateBacklogBytes. */
  readonly bufferedBytes?: number;
  /** Of the process: bounds what is queued for all links together. */
  readonly budget?: SendBudget;
}

/**
 * The star: every worker and the coordinator have one link to this service, which runs the reduction and sends the same update to all.
 * It serves one run at a time, as long as the run's coordinator (host) is connected.
 */
export interface StarService {
  /**
   * Serves one incoming connection to its end; the first message says whether it is a worker or a coordinator. Never rejects: an
   * error of one connection closes that one, with the reason, and is logged. An abort closes it too.
   */
  serve(connection: Connection, signal: AbortSignal): Promise<void>;
}

export function createStarService(options: StarServiceOptions): StarService {
  return new Service(options);
}

interface Member {
  readonly workerId: string;
  readonly channel: Channel;
  readonly connection: Connection;
  /** Whether it receives updates. */
  wanted: boolean;
}

/** One run, while its host is connected. */
interface Run {
  readonly config: ReductionConfig;
  readonly owner: string;
  readonly host: Channel;
  readonly reduction: Reduction;
  readonly bufferedBytes: number;
  readonly tickets: Map<string, string>;
  readonly members: Map<string, Member>;
  /** The round of the next update. */
  nextRound: number;
  /** Time to send the last update to one worker, ms. */
  sendMs: number;
  /** Wakes those that wait for an order of the host; called at each of its messages and when the run ends. */
  readonly waiting: Set<() => void>;
}

/** The run that a connection has joined; it decides the body length of the next message. */
interface Session {
  run?: Run;
}

class Service implements StarService {
  readonly #options: StarServiceOptions;
  #run: Run | undefined;

  constructor(options: StarServiceOptions) {
    this.#options = options;
  }

  async serve(connection: Connection, signal: AbortSignal): Promise<void> {
    const session: Session = {};
    const { budget } = this.#options;
    const channel = createChannel(connection, {
      accepts: ['join', 'contribution', 'host', 'admit', 'dismiss', 'subscribe', 'openRound', 'grant'],
      bodyBytes: (message) => bodyBytes(session, message),
      deadline: this.#options.deadline,
      ...(budget && { budget }),
    });
    const stop = () => channel.close('the all-reduce service is stopping');
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    try {
      const { message } = await channel.receive(this.#options.deadline(LIMITS.helloMs));
      if (message.type === 'join') await this.#serveWorker(channel, connection, session, message);
      else if (message.type === 'host') await this.#serveHost(channel, message);
      else throw unexpected(message, 'a connection begins with join or host');
    } catch (error) {
      this.#refuse(channel, error);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  async #serveHost(channel: Channel, hello: MessageOf<'host'>): Promise<void> {
    const version = selectVersion(hello.versions);
    if (!sameText(hello.token, this.#options.token)) {
      throw new ProtocolError(
        'wrong_token',
        'the token is wrong',
        'Start the coordinator with the token of the all-reduce service.',
      );
    }
    const run = this.#takeRun(channel, hello);
    try {
      channel.send({ type: 'hosted', version });
      this.#options.log({ level: 'info', text: `run ${hello.runId}: coordinator connected from ${channel.remote}` });
      for (;;) {
        this.#onOrder(run, (await channel.receive()).message);
        for (const wake of run.waiting) wake();
      }
    } finally {
      this.#endRun(run);
    }
  }

  /** @throws ProtocolError `taken` when another host is connected; OptimError `out_of_memory` */
  #takeRun(host: Channel, hello: MessageOf<'host'>): Run {
    const previous = this.#run;
    if (previous) {
      requireOwner(previous, hello);
      // A coordinator may come back before this side notices that its old link is dead.
      previous.host.close('the same coordinator connected again');
      this.#endRun(previous);
    }
    const { type: _type, versions: _versions, token: _token, owner, ...config } = hello;
    const run: Run = {
      config,
      owner,
      host,
      reduction: createReduction(config),
      bufferedBytes: this.#options.bufferedBytes ?? Math.max(LIMITS.updateBacklogBytes, 4 * updateBytes(config)),
      tickets: new Map(),
      members: new Map(),
      nextRound: 0,
      sendMs: 0,
      waiting: new Set(),
    };
    this.#run = run;
    return run;
  }

  /** Idempotent. Workers find the run again through its coordinator, so their links close too. */
  #endRun(run: Run): void {
    if (this.#run === run) this.#run = undefined;
    run.tickets.clear();
    for (const { channel } of run.members.values())
      channel.close('the coordinator left the all-reduce service; join again through it');
    run.members.clear();
    for (const wake of run.waiting) wake();
  }

  #onOrder(run: Run, message: Message): void {
    switch (message.type) {
      case 'admit':
        run.tickets.set(message.workerId, message.ticket);
        return;
      case 'dismiss':
        run.tickets.delete(message.workerId);
        run.members.get(message.workerId)?.channel.close(message.reason);
        run.members.delete(message.workerId);
        return;
      case 'subscribe':
        return this.#subscribe(run, message);
      case 'openRound':
        run.nextRound = Math.max(run.nextRound, message.round);
        return run.reduction.openRound(message);
      case 'grant':
        return run.reduction.grant(message);
      default:
        throw unexpected(message, 'a coordinator sends admit, dismiss, subscribe, openRound and grant');
    }
  }

  /** The worker learns on its own link, in order with the updates, from which round on it receives them. */
  #subscribe(run: Run, { workerId, wanted }: MessageOf<'subscribe'>): void {
    const member = run.members.get(workerId);
    if (!member || member.wanted === wanted) return;
    member.wanted = wanted;
    const { channel } = member;
    this.#deliver(channel, () => channel.send({ type: 'subscription', wanted, round: run.nextRound }));
  }

  async #serveWorker(channel: Channel, connection: Connection, session: Session, join: MessageOf<'join'>): Promise<void> {
    const version = selectVersion(join.versions);
    const { workerId } = join;
    const run = await this.#admitted(join);
    const member: Member = { workerId, channel, connection, wanted: true };
    run.members.get(workerId)?.channel.close('the same worker joined again');
    run.members.set(workerId, member);
    session.run = run;
    try {
      channel.send({ type: 'joined', version, round: run.nextRound });
      for (;;) {
        const { message, body } = await channel.receiveStreamed();
        if (message.type !== 'contribution') throw unexpected(message, 'a worker sends contributions');
        const intake = run.reduction.intake(message.streams.length);
        for (let piece = await body.next(); piece; piece = await body.next()) intake.take(piece);
        await this.#granted(run, message);
        this.#reduce(run, member, message, intake);
      }
    } finally {
      if (run.members.get(workerId) === member) run.members.delete(workerId);
    }
  }

  /** The run that this worker may join. Its ticket travels on the host's link and may arrive a moment later than the worker. */
  async #admitted(join: MessageOf<'join'>): Promise<Run> {
    const run = this.#run;
    if (run?.config.runId !== join.runId) {
      throw new ProtocolError(
        'run_over',
        `run ${join.runId} has no coordinator at this service`,
        'Join the run again through its coordinator.',
      );
    }
    const deadline = this.#options.deadline(LIMITS.helloMs);
    while (!run.tickets.has(join.workerId) && !deadline.aborted && this.#run === run) await nextOrder(run, deadline);
    const ticket = run.tickets.get(join.workerId);
    if (ticket !== undefined && sameText(ticket, join.ticket)) return run;
    throw new ProtocolError(
      'wrong_token',
      `the ticket of worker ${join.workerId} is not valid`,
      'Join the run again through its coordinator.',
    );
  }

  /** Waits a moment for the grant, which travels on the host's link and may arrive after the contribution. */
  async #granted(run: Run, { round, leaseId }: MessageOf<'contribution'>): Promise<void> {
    if (!run.reduction.mayBeGranted(round, leaseId)) return;
    const deadline = this.#options.deadline(LIMITS.grantMs);
    while (run.reduction.mayBeGranted(round, leaseId) && !deadline.aborted && this.#run === run) await nextOrder(run, deadline);
  }

  #reduce(run: Run, member: Member, contribution: MessageOf<'contribution'>, body: Intake): void {
    const { workerId } = member;
    const { leaseId, round, streams, tokens, lossSum, computeMs } = contribution;
    const startMs = this.#nowMs();
    const verdict = run.reduction.add(workerId, contribution, body);
    const serviceMs = this.#nowMs() - startMs + run.sendMs;
    const { result, reason } = verdict;
    this.#deliver(member.channel, () => member.channel.send({ type: 'contributionResult', leaseId, round, result, reason }));
    if (verdict.result !== 'counted') {
      if (!isLostRace(result)) {
        const text = `worker ${workerId}, round ${round}: contribution refused (${result}): ${reason}`;
        this.#options.log({ level: 'warn', text });
      }
      this.#deliver(run.host, () =>
        run.host.send({ type: 'rejected', round, leaseId, workerId, computeMs, result: verdict.result, reason }),
      );
      return;
    }
    const work = { streams, tokens, lossSum, computeMs, serviceMs };
    const counted: MessageOf<'counted'> = { type: 'counted', round, leaseId, workerId, ...work };
    this.#deliver(run.host, () => run.host.send(counted, verdict.endStates));
    if (verdict.update) this.#broadcast(run, verdict.update);
  }

  /** Every chunk goes to all before the next is coded, so that all step at the same time. */
  #broadcast(run: Run, { message, chunks, encode }: EncodedUpdate): void {
    run.nextRound = message.round + 1;
    const members = this.#receivers(run);
    const receivers = new Set([run.host, ...members]);
    const transfer = openTransfer(message, updateBytes(run.config));
    let sendMs = 0;
    const send = (frame: Uint8Array) => {
      const startMs = this.#nowMs();
      for (const channel of receivers) {
        if (!this.#deliver(channel, () => channel.sendEncoded([frame]))) receivers.delete(channel);
      }
      sendMs += this.#nowMs() - startMs;
    };
    send(transfer.head);
    for (const chunk of chunks) {
      const { frame, payload } = transfer.chunk(chunk.bytes);
      encode(chunk, payload);
      send(frame);
    }
    run.sendMs = sendMs / Math.max(members.length, 1);
  }

  #nowMs(): number {
    return this.#options.nowMs?.() ?? 0;
  }

  /** The members that are subscribed. Drops those for which too much waits. */
  #receivers(run: Run): Channel[] {
    const unstuck: Channel[] = [];
    for (const { workerId, channel, connection, wanted } of run.members.values()) {
      if (!wanted) continue;
      if (connection.bufferedBytes <= run.bufferedBytes) {
        unstuck.push(channel);
        continue;
      }
      run.members.delete(workerId);
      const text = `worker ${workerId} is dropped: ${connection.bufferedBytes} bytes wait for it, over ${run.bufferedBytes}`;
      this.#options.log({
        level: 'warn',
        text,
        remedy: 'Its link is too slow for this model: use a faster link, or --codec fp16.',
      });
      channel.close('too slow: updates pile up; join again over a faster link');
    }
    return unstuck;
  }

  /**
   * A broken or stuck link is closed here, and its own serve() ends; it must not disturb the link that sends.
   * @returns whether it was sent
   */
  #deliver(channel: Channel, send: () => void): boolean {
    try {
      send();
      return true;
    } catch (error) {
      const stuck = error instanceof ProtocolError && error.code === 'limit_exceeded';
      if (!stuck && !(error instanceof TransportError)) throw error;
      this.#options.log({ level: 'info', text: `${channel.remote} is gone: ${error.message}` });
      channel.close(error.message);
      return false;
    }
  }

  #refuse(channel: Channel, error: unknown): void {
    if (error instanceof TransportError && error.code !== 'aborted') {
      this.#options.log({ level: 'info', text: `${channel.remote} disconnected: ${error.message}` });
      return;
    }
    const reason = explain(error);
    const { code, message, remedy } = reason;
    this.#options.log({ level: 'warn', text: `${channel.remote} is refused (${code}): ${message}`, remedy });
    this.#deliver(channel, () => channel.send(refusal(reason)));
    channel.close(message);
  }
}

/**
 * The coordinator that is connected keeps the service: if two of the same run took it from each other, neither would complete a round.
 * @throws ProtocolError `taken`
 */
function requireOwner({ config, owner }: Run, hello: MessageOf<'host'>): void {
  if (config.runId === hello.runId && owner === hello.owner) return;
  const who = config.runId === hello.runId ? `another coordinator of run ${config.runId}` : `run ${config.runId}`;
  throw new ProtocolError(
    'taken',
    `this service is taken by ${who}`,
    'Stop that coordinator first, or start a second service on another port. If it crashed, its link ends within 20 s.',
  );
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
      message: 'no join or host message came in time',
      remedy: 'Check that the address belongs to an all-reduce service.',
    };
  }
  const remedy = error instanceof Error && 'remedy' in error ? String(error.remedy) : 'This is a bug in the service: report it.';
  return { code: 'internal', message: error instanceof Error ? error.message : String(error), remedy };
}

function unexpected(message: Message, rule: string): ProtocolError {
  return new ProtocolError(
    'unexpected_message',
    `${message.type} at the wrong moment: ${rule}`,
    'Run the same version of Troupe on all machines.',
  );
}

function bodyBytes({ run }: Session, message: Message): number {
  if (message.type !== 'contribution') return 0;
  if (run && message.streams.length > run.config.streams) {
    throw new ProtocolError(
      'invalid_message',
      `a contribution for ${message.streams.length} streams to a run of ${run.config.streams}`,
      'Run the same version of Troupe on all machines.',
    );
  }
  if (run) return contributionBytes(run.config, message.streams.length);
  throw unexpected(message, 'a worker joins first');
}

/** Resolves when the host sends something, the run ends or the signal aborts. */
function nextOrder(run: Run, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const wake = () => {
      run.waiting.delete(wake);
      signal.removeEventListener('abort', wake);
      resolve();
    };
    run.waiting.add(wake);
    signal.addEventListener('abort', wake, { once: true });
  });
}
