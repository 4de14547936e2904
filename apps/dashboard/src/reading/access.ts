/** The token of an admin or a viewer: where it comes from, and what happens when the coordinator refuses it. */
import type { LiveMessage } from '@troupe/run';

/** How a fragment names the token: that of an admin, or that of a viewer. */
const NAMES = ['admin=', 'token='];

/** "#admin=TOKEN" or "#token=TOKEN" taken apart; `rest` is the fragment without, "" when nothing remains. No server ever sees a fragment. */
export function takeToken(fragment: string): { token: string | undefined; rest: string } {
  const parts = fragment.replace(/^#/, '').split('&');
  const [text] = NAMES.flatMap((name) => parts.filter((part) => part.startsWith(name)).map((part) => part.slice(name.length)));
  const rest = parts.filter((part) => part !== '' && !NAMES.some((name) => part.startsWith(name))).join('&');
  return { token: text === undefined ? undefined : decoded(text) || undefined, rest: rest && `#${rest}` };
}

/** Whether a fragment contains a token. */
export function hasToken(fragment: string): boolean {
  return takeToken(fragment).token !== undefined;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A token that happens to contain a per cent sign.
    return text;
  }
}

type Refusal = Extract<LiveMessage, { type: 'refused' }>;

export interface Access {
  readonly token: string | undefined;
  /** Why the coordinator refused the token that the page had before. */
  readonly refusal: Refusal | undefined;
}

export interface Reception {
  readonly access: Access;
  /** The page connects again: without the token if that was refused, because the run may be public. */
  readonly retries: boolean;
  /** The run is public, but the token that the person gave was refused. */
  readonly announces: Refusal | undefined;
  /** For the state; undefined: nothing, as the page tries again. */
  readonly message: LiveMessage | undefined;
}

/** What the page does with a message of the live link. */
export function receive({ token, refusal }: Access, message: LiveMessage): Reception {
  switch (message.type) {
    case 'refused':
      if (token !== undefined) {
        // On a slow link the token may arrive after the coordinator has stopped waiting for one: the token was not refused.
        const next = message.code === 'no_token' ? { token, refusal } : { token: undefined, refusal: message };
        return { access: next, retries: true, announces: undefined, message: undefined };
      }
      // The refusal of the token says more than that of the attempt without one.
      return { access: { token, refusal: undefined }, retries: false, announces: undefined, message: refusal ?? message };
    case 'hello':
      return { access: { token, refusal: undefined }, retries: false, announces: refusal, message };
    case 'update':
      return { access: { token, refusal }, retries: false, announces: undefined, message };
    default:
      return message satisfies never;
  }
}
