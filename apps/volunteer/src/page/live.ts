/** Asks the coordinator every few seconds what its run is doing; less often while the page is hidden. */
import type { Invitation } from '../decisions/link.js';
import { readRunFacts, type RunFacts } from '../decisions/run-facts.js';

const VISIBLE_INTERVAL_MS = 4_000;
const HIDDEN_INTERVAL_MS = 30_000;
const REQUEST_TIMEOUT_MS = 10_000;

/** Calls `onFacts` with each valid answer. A coordinator that does not answer is asked again later. */
export function watchRun(invitation: Invitation, onFacts: (facts: RunFacts) => void): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const poll = async (): Promise<void> => {
    timer = undefined;
    const facts = await fetchFacts(invitation);
    if (facts) onFacts(facts);
    timer = setTimeout(() => void poll(), document.hidden ? HIDDEN_INTERVAL_MS : VISIBLE_INTERVAL_MS);
  };
  // A page that is visible again does not show facts that are half a minute old.
  document.addEventListener('visibilitychange', () => {
    if (document.hidden || timer === undefined) return;
    clearTimeout(timer);
    void poll();
  });
  void poll();
}

async function fetchFacts({ base, token }: Invitation): Promise<RunFacts | undefined> {
  try {
    const response = await fetch(`${base}/api/run`, {
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

/** Whether the server of this page answers over HTTP. */
export async function isReachable(): Promise<boolean> {
  try {
    await fetch(location.pathname, { method: 'HEAD', cache: 'no-store', signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
    return true;
  } catch {
    return false;
  }
}
