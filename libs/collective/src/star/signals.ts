/** Signals of WebRTC links between workers, which travel through the service. */
import { LIMITS, type MessageOf } from '@troupe/protocol';
import { TransportError } from '@troupe/transport';
import type { Signal, Signalling } from '@troupe/transport/webrtc';

/** The address of a reducer that is reached over WebRTC. */
export const RTC_ADDRESS = 'rtc:';

/** The signals of one link. */
export interface OpenSignalling extends Signalling {
  /** Nothing more is sent or received. Idempotent. */
  end(): void;
}

type SignalMessage = Omit<MessageOf<'signal'>, 'type'>;

/** One side's end of all its links' signalling. */
export class Signals {
  readonly #send: (message: SignalMessage) => void;
  readonly #open = new Map<string, Conversation>();

  /** @param send throws when the link to the service is closed */
  constructor(send: (message: SignalMessage) => void) {
    this.#send = send;
  }

  /** Replaces an older link to the same worker or reducer. */
  open(peer: string, link: number): OpenSignalling {
    this.#open.get(peer)?.end();
    const conversation = new Conversation(link, (signal) => this.#send({ peer, link, signal: JSON.stringify(signal) }));
    this.#open.set(peer, conversation);
    return {
      send: (signal) => conversation.send(signal),
      receive: (abort) => conversation.receive(abort),
      end: () => {
        conversation.end();
        if (this.#open.get(peer) === conversation) this.#open.delete(peer);
      },
    };
  }

  /** A signal from the service. @returns whether its link is open here; all but those of later links may be forgotten */
  take({ peer, link, signal }: SignalMessage): boolean {
    const conversation = this.#open.get(peer);
    if (conversation?.link !== link) return conversation !== undefined && link < conversation.link;
    conversation.take(signal);
    return true;
  }

  end(): void {
    for (const conversation of this.#open.values()) conversation.end();
    this.#open.clear();
  }
}

class Conversation implements Signalling {
  readonly link: number;
  readonly #send: (signal: Signal) => void;
  readonly #received: string[] = [];
  #wake = (): void => undefined;
  #isOver = false;

  constructor(link: number, send: (signal: Signal) => void) {
    this.link = link;
    this.#send = send;
  }

  send(signal: Signal): void {
    if (this.#isOver) throw ended();
    this.#send(signal);
  }

  /** One that sends more than a link needs is not read further. */
  take(signal: string): void {
    if (this.#isOver) return;
    if (this.#received.push(signal) > LIMITS.signalsPerLink) return this.end();
    this.#wake();
  }

  async receive(abort: AbortSignal): Promise<unknown> {
    while (this.#received.length === 0) {
      if (this.#isOver || abort.aborted) throw ended();
      await this.#news(abort);
    }
    return parsed(this.#received.shift()!);
  }

  #news(abort: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        abort.removeEventListener('abort', this.#wake);
        resolve();
      };
      abort.addEventListener('abort', this.#wake, { once: true });
    });
  }

  end(): void {
    this.#isOver = true;
    this.#received.length = 0;
    this.#wake();
  }
}

/** Of what is no JSON: nothing, which is no signal either. */
function parsed(signal: string): unknown {
  try {
    return JSON.parse(signal) as unknown;
  } catch {
    return undefined;
  }
}

function ended(): TransportError {
  return new TransportError('lost', 'the link that carries the signals has ended', 'Nothing to do: the worker tries again.');
}
