import type { Batch } from '../engine.js';

/**
 * Writes the kernels' look-up tables into `ids`: characters [T, B], targets [T, B], the rows in
 * order of their character [T, B], the start of each character's rows in that order [V + 1], the
 * number of each stream in the run [B]. Returns the words written.
 */
export function writeIds(ids: Uint32Array, vocabulary: number, { streams, window, tokens, dropout }: Batch): number {
  const rows = streams * window;
  for (let stream = 0; stream < streams; stream++) {
    const from = stream * (window + 1);
    for (let t = 0; t < window; t++) {
      ids[t * streams + stream] = tokens[from + t];
      ids[rows + t * streams + stream] = tokens[from + t + 1];
    }
  }
  const starts = ids.subarray(3 * rows, 3 * rows + vocabulary + 1);
  sortByCharacter(ids.subarray(0, rows), ids.subarray(2 * rows, 3 * rows), starts);
  const numbers = 3 * rows + vocabulary + 1;
  if (dropout) ids.set(dropout.streams, numbers);
  return numbers + streams;
}

/** Counting sort; stable, so that sums over a character's rows have a fixed order. */
function sortByCharacter(characters: Uint32Array, order: Uint32Array, starts: Uint32Array): void {
  starts.fill(0);
  for (const character of characters) starts[character + 1]++;
  for (let v = 1; v < starts.length; v++) starts[v] += starts[v - 1];
  characters.forEach((character, row) => (order[starts[character]++] = row));
  // Each start has become that of the next character.
  starts.copyWithin(1, 0, starts.length - 1);
  starts[0] = 0;
}
