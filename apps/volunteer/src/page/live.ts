/** Asks the coordinator what its run is doing, every few seconds, as long as someone looks. */
import type { Invitation } from '../decisions/link.js';
import { readRunFacts, type RunFacts } from '../decisions/run-facts.js';

const SEEN_MS = 4_000;
const HIDDEN_MS = 30_000;
const REQUEST_TIMEOUT_MS = 10_000;

/** Calls `onFacts` with each answer that makes sense; a coordinator that tells nothing, or cannot be reached, is asked again later. */
export function watchRun(invitation: Invitation, onFacts: (facts: RunFacts) => void): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = async (): Promise<void> => {
    timer = undefined;
    const facts = await fetchFacts(invitation);
    if (facts) onFacts(facts);
    timer = setTimeout(() => void look(), document.hidden ? HIDDEN_MS : SEEN_MS);
  };
  // Whoever comes back wants no news of half a minute ago.
  document.addEventListener('visibilitychange', () => {
    if (document.hidden || timer === undefined) return;
    clearTimeout(timer);
    void look();
  });
  void look();
}

async function fetchFacts({ origin, token }: Invitation): Promise<RunFacts | undefined> {
  try {
    const response = await fetch(`${origin}/api/run`, {
      headers: token === '' ? {} : { authorization: `Bearer ${token}` },
      cache: 'no-store',
      credentials: 'omit',
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    return response.ok ? readRunFacts(await response.json()) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether the server that this page came from answers over HTTP. */
export async function isReachable(): Promise<boolean> {
  try {
    await fetch(location.pathname, { method: 'HEAD', cache: 'no-store', signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
    return true;
  } catch {
    return false;
  }
}
