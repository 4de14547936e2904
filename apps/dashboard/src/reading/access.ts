/** The admin token in the address: in the fragment, so that no server ever sees it. */

/** "#admin=TOKEN" taken apart; `rest` is the fragment without it, "" when nothing remains. */
export function takeToken(fragment: string): { token: string | undefined; rest: string } {
  const parts = fragment.replace(/^#/, '').split('&');
  const found = parts.find((part) => part.startsWith('admin='));
  const rest = parts.filter((part) => part !== found && part !== '').join('&');
  return { token: found ? decoded(found.slice('admin='.length)) || undefined : undefined, rest: rest && `#${rest}` };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A token that happens to hold a per cent sign.
    return text;
  }
}
