/** Asks the coordinator every few seconds what its run is doing; less often while the page is hidden. */
import { readCredits, type CreditFacts } from '../decisions/board.js';
import type { Invitation } from '../decisions/link.js';
import { readRunFacts, type RunFacts } from '../decisions/run-facts.js';
import { hasModel } from './keepsakes.js';

const VISIBLE_INTERVAL_MS = 4_000;
const CREDITS_INTERVAL_MS = 15_000;
const MODEL_INTERVAL_MS = 60_000;
const HIDDEN_INTERVAL_MS = 30_000;
const REQUEST_TIMEOUT_MS = 10_000;

/** Calls `onFacts` with each valid answer. A coordinator that does not answer is asked again later. */
export function watchRun(invitation: Invitation, onFacts: (facts: RunFacts) => void): void {
  poll(VISIBLE_INTERVAL_MS, async () => {
    const facts = readRunFacts(await ask(invitation, '/api/run'));
    if (facts) onFacts(facts);
  });
}

/** The same for who computed what. */
export function watchCredits(invitation: Invitation, onCredits: (credits: CreditFacts) => void): void {
  poll(CREDITS_INTERVAL_MS, async () => {
    const credits = readCredits(await ask(invitation, '/api/credits'));
    if (credits) onCredits(credits);
  });
}

/** Calls `onAnswer` with whether the coordinator offers the model as a file; not again once it does. */
export function watchModel(invitation: Invitation, onAnswer: (isOffered: boolean) => void): void {
  let isOffered = false;
  poll(MODEL_INTERVAL_MS, async () => {
    isOffered ||= await hasModel(invitation);
    onAnswer(isOffered);
  });
}

/** Acts now and every `ms` while the page is visible, and seldom while it is not. `act` never rejects. */
function poll(ms: number, act: () => Promise<void>): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const again = async (): Promise<void> => {
    timer = undefined;
    await act();
    timer = setTimeout(() => void again(), document.hidden ? Math.max(ms, HIDDEN_INTERVAL_MS) : ms);
  };
  // A page that is visible again does not show facts that are half a minute old.
  document.addEventListener('visibilitychange', () => {
    if (document.hidden || timer === undefined) return;
    clearTimeout(timer);
    void again();
  });
  void again();
}

/** @returns undefined when there is no answer, or none that can be read */
async function ask({ base, token }: Invitation, path: string): Promise<unknown> {
  try {
    const response = await fetch(`${base}${path}`, {
      headers: token === '' ? {} : { authorization: `Bearer ${token}` },
      cache: 'no-store',
      credentials: 'omit',
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    return response.ok ? await response.json() : undefined;
  } catch {
    return undefined;
  }
}

/** Whether the server of this page answers over HTTP. */
export async function isReachable(): Promise<boolean> {
  try {
    await fetch(location.pathname, { method: 'HEAD', cache: 'no-store', signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
    return true;
  } catch {
    return false;
  }
}
