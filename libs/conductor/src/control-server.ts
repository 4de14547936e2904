/** Workers' control links: hello and token, welcome, and from then on their messages as events of the run. */
import {
  brief,
  createChannel,
  LIMITS,
  printable,
  PROTOCOL_VERSION,
  ProtocolError,
  receiveWithin,
  refusal,
  sameText,
  selectVersion,
  type Channel,
  type Message,
  type MessageOf,
  type StopCode,
} from '@troupe/protocol';
import { TransportError, type Connection } from '@troupe/transport';
import type { ConductorEvent, ControlSession, WorkerIdentity, WorkerMessage } from './events.js';
import type { ReduceLink } from './reduce-link.js';
import { openSessions, sessionOf, type Roster } from './roster.js';

const ACCEPTED = ['hello', 'ready', 'decline', 'resync', 'bye'] as const;
type Incoming = MessageOf<(typeof ACCEPTED)[number]>;
type ControlChannel = Channel<Incoming['type']>;

const GOODBYES: Readonly<Record<Exclude<StopCode, 'dismissed'>, string>> = {
  completed: 'the run is complete',
  stopped: 'the run was stopped',
  diverged: 'the run has diverged',
};

export interface ControlServerOptions {
  readonly token: string;
  readonly layoutHash: string;
  /** What every welcome says, whoever is welcomed. */
  readonly welcome: Omit<MessageOf<'welcome'>, 'type' | 'version' | 'workerId' | 'ticket'>;
  /** Where the open sessions are; it follows from the events that are put here. */
  readonly roster: Roster;
  /** Lets a worker's ticket in at the all-reduce service, and out again. */
  readonly reduce: Pick<ReduceLink, 'admit' | 'dismiss'>;
  put(event: ConductorEvent): void;
  /** Aborts after `ms`. */
  deadline(ms: number): AbortSignal;
  /** Text that nobody can guess, of so many random bytes. */
  secret(bytes: number): string;
}

export class ControlServer {
  readonly #options: ControlServerOptions;
  /** Address and name of those who are not let in. */
  readonly #banned = new Set<string>();
  #joined = 0;
  /** Links that have not said hello yet. */
  #unauthenticated = 0;
  /** Why nobody can join any more: the run is over. */
  #over: string | undefined;
  /** Why nobody can join now: this coordinator is on its way out; another may take up its run. */
  #failed: string | undefined;

  constructor(options: ControlServerOptions) {
    this.#options = options;
  }

  /** Serves one incoming link until it ends. Never rejects. */
  async serve(connection: Connection, signal: AbortSignal): Promise<void> {
    const channel = createChannel(connection, { accepts: ACCEPTED, bodyBytes: () => 0 });
    let name = connection.remote;
    try {
      const hello = await this.#authenticate(channel, signal);
      name = printable(hello.name) || connection.remote;
      const { remote } = channel;
      this.#refuseBanned({ name, remote });
      await this.#attend(channel, { id: this.#newId(), name, kind: hello.kind, remote }, signal);
    } catch (error) {
      if (error instanceof ProtocolError) {
        trySend(channel, refusal(error));
        this.#options.put({ type: 'peerRefused', name, reason: printable(`${error.code}: ${error.message}`) });
      } else if (!(error instanceof TransportError)) throw error;
    } finally {
      channel.close('the coordinator is done with this link');
    }
  }

  /** @returns false when the worker is gone; `workerLeft` is on its way then */
  send(workerId: string, message: Message, body?: Uint8Array): boolean {
    const session = sessionOf(this.#options.roster, workerId);
    return session !== undefined && trySend(session.channel, message, body);
  }

  /**
   * Tells one worker to go; it stays away unless a person starts it again. `ban`: whoever comes from its address under its name is
   * refused from now on. @returns its name, or undefined when it is not there
   */
  remove(workerId: string, reason: string, ban: boolean): string | undefined {
    const worker = this.#options.roster.workers.get(workerId);
    if (!worker?.session) return undefined;
    if (ban) this.#banned.add(recognizedBy(worker));
    worker.session.removedFor = reason;
    trySend(worker.session.channel, { type: 'stop', code: 'dismissed', reason: brief(reason) });
    worker.session.channel.close(reason);
    return worker.name;
  }

  /** Tells everyone that the run is over and waits, up to `deadlineMs`, until they have heard it. */
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

  /** Lets every link go and takes no new ones; nobody is told that the run is over. */
  closeAll(reason: string): void {
    this.#failed = reason;
    for (const { channel } of openSessions(this.#options.roster)) channel.close(reason);
  }

  async #authenticate(channel: ControlChannel, signal: AbortSignal): Promise<MessageOf<'hello'>> {
    if (this.#unauthenticated >= LIMITS.unauthenticatedLinks)
      throw new ProtocolError('run_full', 'too many links wait to say hello', 'Try again in a moment.');
    this.#unauthenticated++;
    try {
      const wait = { deadline: this.#options.deadline(LIMITS.helloMs), signal, what: 'a hello' };
      return this.#check((await receiveWithin(channel, wait)).message);
    } finally {
      this.#unauthenticated--;
    }
  }

  #check(message: Incoming): MessageOf<'hello'> {
    if (message.type !== 'hello')
      throw new ProtocolError('unexpected_message', `a ${message.type} came before the hello`, 'Say hello first.');
    selectVersion(message.versions);
    if (!sameText(message.token, this.#options.token)) {
      throw new ProtocolError(
        'wrong_token',
        'the token is not the one of this run',
        'Use the token that the coordinator printed when it started: --token TOKEN.',
      );
    }
    if (this.#failed !== undefined)
      throw new ProtocolError('internal', this.#failed, 'Look at its log; workers try again by themselves.');
    if (this.#over !== undefined) throw new ProtocolError('run_over', this.#over, 'Start a new run, or join another one.');
    if (this.#options.roster.connected >= LIMITS.workers)
      throw new ProtocolError('run_full', `the run has its ${LIMITS.workers} workers`, 'Try again later.');
    return message;
  }

  #refuseBanned(worker: Pick<WorkerIdentity, 'name' | 'remote'>): void {
    if (!this.#banned.has(recognizedBy(worker))) return;
    throw new ProtocolError('banned', 'whoever runs this training has shut this worker out', 'Ask them, or join another run.');
  }

  #newId(): string {
    return `w${++this.#joined}-${this.#options.secret(3)}`;
  }

  /** Welcomes the worker and hears it until it leaves. */
  async #attend(channel: ControlChannel, worker: WorkerIdentity, signal: AbortSignal): Promise<void> {
    const { reduce, welcome, put, secret } = this.#options;
    const ticket = secret(24);
    reduce.admit(worker.id, ticket);
    const session: ControlSession = { channel };
    put({ type: 'workerJoined', worker, session });
    let reason = 'the link ended';
    try {
      channel.send({ type: 'welcome', version: PROTOCOL_VERSION, workerId: worker.id, ticket, ...welcome });
      reason = await this.#hear(channel, worker, signal);
    } catch (error) {
      reason = session.removedFor ?? printable((error as Error).message);
      throw error;
    } finally {
      put({ type: 'workerLeft', worker, reason });
      reduce.dismiss(worker.id, brief(reason));
    }
  }

  /** @returns why the worker leaves, as it says itself */
  async #hear(channel: ControlChannel, worker: WorkerIdentity, signal: AbortSignal): Promise<string> {
    for (;;) {
      const { message } = await channel.receive(signal);
      if (message.type === 'bye') return printable(message.reason);
      this.#options.put({ type: 'workerMessage', worker, message: this.#valid(message) });
    }
  }

  #valid(message: Exclude<Incoming, { type: 'bye' }>): WorkerMessage {
    switch (message.type) {
      case 'ready':
        if (message.layoutHash === this.#options.layoutHash)
          return { ...message, engine: printable(message.engine), device: printable(message.device) };
        throw new ProtocolError(
          'layout_mismatch',
          'the worker lays parameters out differently',
          'Install the same release of Troupe on both machines.',
        );
      case 'decline':
      case 'resync':
        return { ...message, reason: printable(message.reason) };
      default:
        throw new ProtocolError(
          'unexpected_message',
          `a ${message.type} came at the wrong moment`,
          'Run the same release of Troupe on both sides.',
        );
    }
  }
}

/** By what a banned worker is known again: the host that it comes from, and its name. */
function recognizedBy({ remote, name }: Pick<WorkerIdentity, 'name' | 'remote'>): string {
  return `${remote.replace(/:\d+$/, '')} ${name}`;
}

/** A link that closed meanwhile, or whose peer reads nothing any more, is closed here: whoever reads from it hears of that. */
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

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
