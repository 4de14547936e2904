import { printable, ProtocolError, type Message, type MessageOf } from '@troupe/protocol';

/** The coordinator refused this worker for a reason that another attempt does not change. */
export class WorkerRefused extends Error {
  override readonly name = 'WorkerRefused';
  readonly code: string;
  readonly remedy: string;
  constructor(code: string, message: string, remedy: string) {
    // They are the coordinator's words, and are shown on a terminal or a page.
    super(printable(message));
    this.code = code;
    this.remedy = printable(remedy);
  }
}

/** Another attempt would be refused again with these codes. All others pass, such as a full run or a garbled frame. */
const LASTING: ReadonlySet<string> = new Set([
  ...['wrong_token', 'token_expired', 'token_revoked', 'wrong_scope'],
  ...['run_over', 'layout_mismatch', 'banned'],
]);

export function refusalError(
  { code, message, remedy }: MessageOf<'refuse'>,
  when: 'before the welcome' | 'after the welcome',
): WorkerRefused | ProtocolError {
  // Once both sides agree on a version, a frame of another version is a garbled one.
  const lasting = LASTING.has(code) || (code === 'version_mismatch' && when === 'before the welcome');
  return lasting ? new WorkerRefused(code, message, remedy) : new ProtocolError('internal', message, remedy);
}

export function unexpected(message: Message): ProtocolError {
  return new ProtocolError(
    'unexpected_message',
    `the coordinator sent ${message.type} at the wrong moment`,
    'Install the same release of Troupe on both machines.',
  );
}
