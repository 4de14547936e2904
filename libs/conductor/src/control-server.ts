/** Workers' control links: hello and token, welcome, and from then on their messages as inputs of the run core. */
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
import type { RunInput } from '@troupe/scheduler';
import { TransportError, type Connection } from '@troupe/transport';

/** Links at once that may be open without having said hello. */
const STRANGERS = 256;

const GOODBYES: Readonly<Record<Exclude<StopCode, 'dismissed'>, string>> = {
  completed: 'the run is complete',
  stopped: 'the run was stopped',
  diverged: 'the run has diverged',
};

export interface ControlServerOptions {
  readonly token: string;
  readonly layoutHash: string;
  /** What every welcome says, but for who is welcomed. */
  readonly welcome: Omit<MessageOf<'welcome'>, 'type' | 'version' | 'workerId' | 'ticket'>;
  /** Aborts after `ms`. */
  deadline(ms: number): AbortSignal;
  /** Text that nobody can guess, of so many random bytes. */
  secret(bytes: number): string;
  /** Lets the worker's ticket in at the all-reduce service, and out again. */
  admit(workerId: string, ticket: string): void;
  dismiss(workerId: string, reason: string): void;
  feed(input: RunInput): void;
  /** What a worker said, its hello first. */
  onHeard(worker: { workerId: string; name: string }, message: Message): void;
  onChange(
    worker: { workerId: string; name: string },
    change: 'joined' | 'ready' | 'left' | 'refused' | 'resynced',
    reason: string,
  ): void;
}

export interface ControlServer {
  readonly workers: number;
  /** Serves one incoming link until it ends. Never rejects. */
  serve(connection: Connection, signal: AbortSignal): Promise<void>;
  /** False when the worker is gone; its leaving is on its way to the run core then. */
  send(workerId: string, message: Message, body?: Uint8Array): boolean;
  /**
   * Tells one worker to go; it stays away unless a person starts it again. `ban`: whoever comes from its address under its name is
   * turned down from now on. @returns its name, or undefined when it is not there
   */
  remove(workerId: string, reason: string, ban: boolean): string | undefined;
  /** Tells everyone that the run is over and waits, up to `deadlineMs`, until they have heard it. */
  dismissAll(code: Exclude<StopCode, 'dismissed'>, deadlineMs: number): Promise<void>;
  /** Lets every link go and takes no new ones; nobody is told that the run is over. */
  closeAll(reason: string): void;
}

interface ControlSession {
  readonly channel: Channel;
  readonly name: string;
  /** A person sent it away, and why. */
  removedFor?: string;
}

/** By what a banned worker is known again: the host it comes from, and its name. */
function identity({ channel, name }: ControlSession): string {
  return `${channel.remote.replace(/:\d+$/, '')} ${name}`;
}

export function createControlServer(options: ControlServerOptions): ControlServer {
  const sessions = new Map<string, ControlSession>();
  /** Address and name of those who are not let in. */
  const banned = new Set<string>();
  let joined = 0;
  /** Links that have not said hello yet. */
  let unauthenticated = 0;
  let over: string | undefined;
  /** The coordinator is on its way out; another may take up its run. */
  let failed: string | undefined;

  return {
    get workers() {
      return sessions.size;
    },
    serve,
    send(workerId, message, body) {
      const session = sessions.get(workerId);
      return session !== undefined && trySend(session.channel, message, body);
    },
    remove(workerId, reason, ban) {
      const session = sessions.get(workerId);
      if (!session) return undefined;
      if (ban) banned.add(identity(session));
      session.removedFor = reason;
      trySend(session.channel, { type: 'stop', code: 'dismissed', reason: brief(reason) });
      session.channel.close(reason);
      return session.name;
    },
    closeAll(reason) {
      failed = reason;
      for (const { channel } of sessions.values()) channel.close(reason);
    },
    async dismissAll(code, deadlineMs) {
      const reason = GOODBYES[code];
      over = reason;
      const open = [...sessions.values()].map(({ channel }) => channel);
      for (const channel of open) {
        trySend(channel, { type: 'stop', code, reason });
        channel.close(reason);
      }
      const everyone = Promise.all(open.map((channel) => channel.closed));
      await Promise.race([everyone, aborted(options.deadline(deadlineMs))]);
    },
  };

  async function serve(connection: Connection, signal: AbortSignal): Promise<void> {
    const channel = createChannel(connection, {
      accepts: ['hello', 'ready', 'decline', 'resync', 'bye'],
      bodyBytes: () => 0,
    });
    let name = connection.remote;
    try {
      const hello = await authenticate(channel, signal);
      name = printable(hello.name) || connection.remote;
      refuseBanned({ channel, name });
      await attend({ channel, name }, hello, signal);
    } catch (error) {
      if (error instanceof ProtocolError) {
        trySend(channel, refusal(error));
        options.onChange({ workerId: '', name }, 'refused', printable(`${error.code}: ${error.message}`));
      } else if (!(error instanceof TransportError)) throw error;
    } finally {
      channel.close('the coordinator is done with this link');
    }
  }

  async function authenticate(channel: Channel, signal: AbortSignal): Promise<MessageOf<'hello'>> {
    if (unauthenticated >= STRANGERS)
      throw new ProtocolError('run_full', 'too many links wait to say hello', 'Try again in a moment.');
    unauthenticated++;
    try {
      return await greet(channel, signal);
    } finally {
      unauthenticated--;
    }
  }

  async function greet(channel: Channel, signal: AbortSignal): Promise<MessageOf<'hello'>> {
    const { message } = await receiveWithin(channel, { deadline: options.deadline(LIMITS.helloMs), signal, what: 'a hello' });
    if (message.type !== 'hello')
      throw new ProtocolError('unexpected_message', `a ${message.type} came before the hello`, 'Say hello first.');
    selectVersion(message.versions);
    if (!sameText(message.token, options.token)) {
      throw new ProtocolError(
        'wrong_token',
        'the token is not the one of this run',
        'Use the token that the coordinator printed when it started: --token TOKEN.',
      );
    }
    if (failed !== undefined) throw new ProtocolError('internal', failed, 'Look at its log; workers try again by themselves.');
    if (over !== undefined) throw new ProtocolError('run_over', over, 'Start a new run, or join another one.');
    if (sessions.size >= LIMITS.workers) {
      throw new ProtocolError('run_full', `the run has its ${LIMITS.workers} workers`, 'Try again later.');
    }
    return message;
  }

  function refuseBanned(session: ControlSession): void {
    if (!banned.has(identity(session))) return;
    throw new ProtocolError('banned', 'whoever runs this training has shut this worker out', 'Ask them, or join another run.');
  }

  async function attend(session: ControlSession, hello: MessageOf<'hello'>, signal: AbortSignal): Promise<void> {
    const { channel, name } = session;
    const workerId = `w${++joined}-${options.secret(3)}`;
    const worker = { workerId, name };
    const ticket = options.secret(24);
    options.admit(workerId, ticket);
    sessions.set(workerId, session);
    options.onHeard(worker, hello);
    options.onChange(worker, 'joined', `from ${channel.remote}`);
    let reason = 'the link ended';
    try {
      channel.send({ type: 'welcome', version: PROTOCOL_VERSION, workerId, ticket, ...options.welcome });
      for (;;) {
        const { message } = await channel.receive(signal);
        if (message.type === 'bye') {
          reason = printable(message.reason);
          return;
        }
        onMessage(worker, message);
      }
    } catch (error) {
      reason = session.removedFor ?? printable((error as Error).message);
      throw error;
    } finally {
      sessions.delete(workerId);
      options.onChange(worker, 'left', reason);
      options.feed({ type: 'workerLeft', workerId, reason });
      options.dismiss(workerId, brief(reason));
    }
  }

  function onMessage(worker: { workerId: string; name: string }, message: Message): void {
    const { workerId, name } = worker;
    options.onHeard(worker, message);
    switch (message.type) {
      case 'ready':
        if (message.layoutHash !== options.layoutHash) {
          throw new ProtocolError(
            'layout_mismatch',
            'the worker lays parameters out differently',
            'Install the same release of Troupe on both machines.',
          );
        }
        options.onChange(worker, 'ready', `${printable(message.engine)}, ${Math.round(message.charsPerSecond)} chars/s`);
        return options.feed({ type: 'workerReady', workerId, name, charsPerSecond: message.charsPerSecond });
      case 'decline':
        return options.feed({
          type: 'declined',
          workerId,
          leaseId: message.leaseId,
          code: message.code,
          reason: printable(message.reason),
        });
      case 'resync':
        if (message.reason !== 'joining') options.onChange(worker, 'resynced', printable(message.reason));
        return options.feed({ type: 'workerSyncing', workerId, reason: printable(message.reason) });
      default:
        throw new ProtocolError(
          'unexpected_message',
          `a ${message.type} came at the wrong moment`,
          'Run the same release of Troupe on both sides.',
        );
    }
  }
}

/** A link that closed meanwhile, or whose peer reads nothing any more, is closed here: whoever reads from it hears of that. */
function trySend(channel: Channel, message: Message, body?: Uint8Array): boolean {
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
