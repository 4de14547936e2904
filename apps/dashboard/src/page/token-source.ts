/** Where the token comes from: the page's address, or this tab's storage. */
import { takeToken } from '../reading/access.js';
import type { StoredText } from './stored-text.js';

/** The part of the page's address that is used. */
export interface Address {
  /** "#admin=TOKEN" or "#token=TOKEN". */
  readonly fragment: string;
  replaceFragment(fragment: string): void;
}

/**
 * Moves the token from the address into storage; without one in the address, reads it from there. If the browser stores nothing, the
 * token stays in the address: without it, a reload would lose the token.
 */
export function takeFromAddress(address: Address, stored: StoredText): string | undefined {
  const { token, rest } = takeToken(address.fragment);
  if (token === undefined) return stored.read();
  if (stored.write(token)) address.replaceFragment(rest);
  return token;
}
