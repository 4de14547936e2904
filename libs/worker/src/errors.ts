import { ProtocolError, type Message, type MessageOf } from '@troupe/protocol';

/** The coordinator refused this worker for a reason that trying again does not change. */
export class WorkerRefused extends Error {
  override readonly name = 'WorkerRefused';
  readonly code: string;
  readonly remedy: string;
  constructor(code: string, message: string, remedy: string) {
    super(message);
    this.code = code;
    this.remedy = remedy;
  }
}

/** The next try would meet these refusals again; all others pass, as a full run or a garbled frame does. */
const LASTING: ReadonlySet<string> = new Set(['wrong_token', 'run_over', 'layout_mismatch', 'banned']);

export function refusalError(
  { code, message, remedy }: MessageOf<'refuse'>,
  when: 'before the welcome' | 'after the welcome',
): WorkerRefused | ProtocolError {
  // Once versions are agreed on, a frame of another version is a garbled one.
  const lasting = LASTING.has(code) || (code === 'version_mismatch' && when === 'before the welcome');
  return lasting ? new WorkerRefused(code, message, remedy) : new ProtocolError('internal', message, remedy);
}

export function unexpected(message: Message): ProtocolError {
  return new ProtocolError(
    'unexpected_message',
    `a ${message.type} came at the wrong moment`,
    'Run the same release of Troupe on both sides.',
  );
}
