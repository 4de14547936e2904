/** Fetches what the live link does not report. */
import type { Page } from './page.js';

/** Seldom: it changes slowly. */
const ASK_MS = 15_000;

/**
 * Asks now and then while the page is seen and connected.
 * @returns asks at once, unless an answer is under way
 */
export function askNowAndThen<T>(
  page: Page,
  ask: (signal: AbortSignal) => Promise<T>,
  onAnswer: (answer: T) => void,
  isWanted: () => boolean = () => true,
): () => Promise<void> {
  let isAsking = false;
  const askOnce = async (): Promise<void> => {
    if (isAsking || document.hidden || page.state.link.at !== 'live' || !isWanted()) return;
    isAsking = true;
    try {
      onAnswer(await ask(new AbortController().signal));
    } catch {
      // The live link notices that the coordinator is away.
    } finally {
      isAsking = false;
    }
  };
  setInterval(() => void askOnce(), ASK_MS);
  return askOnce;
}
