import { sentence } from '@troupe/protocol/text';

/** What went wrong and what to do about it, in one paragraph. The remedy may be empty. */
export function problemText(message: string, remedy: string | undefined): string {
  return remedy ? `${sentence(message)} ${remedy}` : sentence(message);
}
