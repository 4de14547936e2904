import { LIMITS, PROTOCOL_VERSION, ProtocolError, receiveWithin, type Channel, type MessageOf } from '@troupe/protocol';
import { CollectiveError } from '../errors.js';
import type { EntryOptions } from '../port.js';

/** Sends the first message and waits for `answer`; closes the channel when it does not come. */
export async function shakeHands<K extends 'joined' | 'hosted'>(
  channel: Channel,
  hello: MessageOf<'join'> | MessageOf<'host'>,
  answer: K,
  { signal, deadline }: Pick<EntryOptions, 'signal' | 'deadline'>,
): Promise<MessageOf<K>> {
  try {
    channel.send(hello);
    const what = `the answer to ${hello.type}`;
    const { message } = await (deadline
      ? receiveWithin(channel, { deadline: deadline(LIMITS.answerMs), signal, what })
      : channel.receive(signal));
    if (message.type === 'refuse') throw refused(message);
    if (message.type !== answer) {
      throw new ProtocolError(
        'unexpected_message',
        `the all-reduce service answered ${hello.type} with ${message.type}`,
        'Run the same version of Troupe on all machines.',
      );
    }
    const answered = message as MessageOf<K>;
    if (answered.version === PROTOCOL_VERSION) return answered;
    throw new ProtocolError(
      'version_mismatch',
      `the all-reduce service speaks protocol ${answered.version}, and this side ${PROTOCOL_VERSION}`,
      'Run the same version of Troupe on all machines.',
    );
  } catch (error) {
    channel.close(error instanceof Error ? error.message : String(error));
    throw error;
  }
}

export function refused({ code, message, remedy }: MessageOf<'refuse'>): CollectiveError {
  return new CollectiveError(
    code === 'taken' ? 'taken' : 'refused',
    `the all-reduce service refused (${code}): ${message}`,
    remedy,
  );
}
