/** Smooths the training loss in the page, where the person chooses over how many rounds. */

/** Rounds; the coordinator's own smoothed loss is over `COORDINATORS`. */
export const SMOOTHINGS = [5, 20, 50, 200, 1_000] as const;
export const COORDINATORS = 50;

/**
 * An exponential moving average without the bias of its start. Where rounds were left out, the next one counts for all of them, so the
 * average is slightly off there: the points that remain are the lowest and the highest.
 * @param over N rounds: the newest has the weight 2 / (N + 1)
 */
export function smoothed(round: readonly number[], losses: readonly number[], over: number): number[] {
  const keep = 1 - 2 / (over + 1);
  let [mean, weight] = [0, 0];
  return losses.map((loss, i) => {
    const gap = i === 0 ? 1 : Math.max(1, round[i] - round[i - 1]);
    const fresh = 1 - keep ** gap;
    mean += (loss - mean) * fresh;
    weight += (1 - weight) * fresh;
    return mean / weight;
  });
}
