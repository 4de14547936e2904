/** Workers' control links: hello and token, welcome, and from then on their messages as inputs of the run core. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import {
  createChannel,
  LIMITS,
  PROTOCOL_VERSION,
  ProtocolError,
  selectVersion,
  type Channel,
  type Message,
  type MessageOf,
} from '@troupe/protocol';
import type { RunInput } from '@troupe/run';
import { TransportError, type Connection } from '@troupe/transport';

/** Links at once that may be open without having said hello. */
const STRANGERS = 256;

export interface DoorOptions {
  readonly token: string;
  readonly layoutHash: string;
  /** What every welcome says, but for who is welcomed. */
  readonly welcome: Omit<MessageOf<'welcome'>, 'type' | 'version' | 'workerId' | 'ticket'>;
  /** Lets the worker's ticket in at the all-reduce service, and out again. */
  admit(workerId: string, ticket: string): void;
  dismiss(workerId: string, reason: string): void;
  feed(input: RunInput): void;
  onChange(
    worker: { workerId: string; name: string },
    change: 'joined' | 'ready' | 'left' | 'refused' | 'resynced',
    reason: string,
  ): void;
}

export interface ControlDoor {
  readonly workers: number;
  /** Serves one incoming link until it ends. Never rejects. */
  serve(connection: Connection, signal: AbortSignal): Promise<void>;
  /** False when the worker is gone; its leaving is on its way to the run core then. */
  send(workerId: string, message: Message, body?: Uint8Array): boolean;
  /** Tells everyone that the run is over and waits, up to `deadlineMs`, until they have heard it. */
  dismissAll(reason: string, deadlineMs: number): Promise<void>;
}

export function createControlDoor(options: DoorOptions): ControlDoor {
  const channels = new Map<string, Channel>();
  let joined = 0;
  /** Links that have not said hello yet. */
  let strangers = 0;
  let over: string | undefined;

  return {
    get workers() {
      return channels.size;
    },
    serve,
    send(workerId, message, body) {
      const channel = channels.get(workerId);
      return channel !== undefined && trySend(channel, message, body);
    },
    async dismissAll(reason, deadlineMs) {
      over = reason;
      const open = [...channels.values()];
      for (const channel of open) {
        trySend(channel, { type: 'stop', reason });
        channel.close(reason);
      }
      const everyone = Promise.all(open.map((channel) => channel.closed));
      await Promise.race([everyone, new Promise((resolve) => setTimeout(resolve, deadlineMs).unref())]);
    },
  };

  async function serve(connection: Connection, signal: AbortSignal): Promise<void> {
    const channel = createChannel(connection, {
      accepts: ['hello', 'ready', 'decline', 'resync', 'bye'],
      bodyBytes: () => 0,
    });
    let name = connection.remote;
    try {
      const hello = await welcomeStranger(channel, signal);
      name = printable(hello.name) || connection.remote;
      await attend(channel, { workerId: `w${++joined}-${randomBytes(3).toString('hex')}`, name }, signal);
    } catch (error) {
      if (error instanceof ProtocolError) {
        refuse(channel, error);
        options.onChange({ workerId: '', name }, 'refused', `${error.code}: ${error.message}`);
      } else if (!(error instanceof TransportError)) throw error;
    } finally {
      channel.close('the coordinator is done with this link');
    }
  }

  async function welcomeStranger(channel: Channel, signal: AbortSignal): Promise<MessageOf<'hello'>> {
    if (strangers >= STRANGERS) throw new ProtocolError('run_full', 'too many links wait to say hello', 'Try again in a moment.');
    strangers++;
    try {
      return await greet(channel, signal);
    } finally {
      strangers--;
    }
  }

  async function greet(channel: Channel, signal: AbortSignal): Promise<MessageOf<'hello'>> {
    const { message } = await receiveSoon(channel, signal);
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
    if (over !== undefined)
      throw new ProtocolError('run_over', `the run is over: ${over}`, 'Start a new run, or join another one.');
    if (channels.size >= LIMITS.workers) {
      throw new ProtocolError('run_full', `the run has its ${LIMITS.workers} workers`, 'Try again later.');
    }
    return message;
  }

  async function attend(channel: Channel, worker: { workerId: string; name: string }, signal: AbortSignal): Promise<void> {
    const { workerId } = worker;
    const ticket = randomBytes(24).toString('base64url');
    options.admit(workerId, ticket);
    channels.set(workerId, channel);
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
      reason = (error as Error).message;
      throw error;
    } finally {
      channels.delete(workerId);
      options.dismiss(workerId, reason.slice(0, LIMITS.reasonLength));
      // That everyone leaves when the run is over is no news.
      if (over === undefined) options.onChange(worker, 'left', reason);
      options.feed({ type: 'workerLeft', workerId, reason });
    }
  }

  function onMessage(worker: { workerId: string; name: string }, message: Message): void {
    const { workerId, name } = worker;
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
        return options.feed({ type: 'workerSyncing', workerId, reason: message.reason });
      default:
        throw new ProtocolError(
          'unexpected_message',
          `a ${message.type} came at the wrong moment`,
          'Run the same release of Troupe on both sides.',
        );
    }
  }
}

/** The hello, within its deadline. The timer is held here: signals combined by AbortSignal.any may lose theirs to the collector. */
async function receiveSoon(channel: Channel, signal: AbortSignal): Promise<{ readonly message: Message }> {
  const hurry = new AbortController();
  const timer = setTimeout(() => hurry.abort(new Error('no hello came in time')), LIMITS.helloMs);
  const end = (): void => hurry.abort(signal.reason);
  signal.addEventListener('abort', end, { once: true });
  try {
    return await channel.receive(hurry.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', end);
  }
}

function refuse(channel: Channel, { code, message, remedy }: ProtocolError): void {
  const short = (text: string): string => text.slice(0, LIMITS.reasonLength);
  trySend(channel, { type: 'refuse', code, message: short(message), remedy: short(remedy) });
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

/** What others chose goes to logs and terminals: nothing in it may steer them. */
function printable(text: string): string {
  return text.replace(/\p{C}/gu, '\u{fffd}');
}

/** Takes the same time wherever the texts differ. */
function sameText(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
