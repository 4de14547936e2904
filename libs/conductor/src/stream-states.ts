/**
 * The hidden state [L, S, H] of every stream before the current round's window, and the end states
 * counted so far. The end states replace the hidden states when the round commits, so a
 * contribution and its end states count together or not at all.
 */
export interface StreamStates {
  /** [B, L, S, H] before the current round; a view. */
  readonly current: Float32Array;
  /** The state of one stream; a view. */
  of(stream: number): Float32Array;
  /** Takes the end states [streams, L, S, H] of a contribution that counts. */
  count(streams: readonly number[], endStates: Float32Array): void;
  commit(): void;
}

export function createStreamStates(streams: number, floats: number, initial?: Float32Array): StreamStates {
  let current = new Float32Array(streams * floats);
  let next = new Float32Array(streams * floats);
  if (initial) current.set(initial);
  return {
    get current() {
      return current;
    },
    of: (stream) => current.subarray(stream * floats, (stream + 1) * floats),
    count(ids, endStates) {
      ids.forEach((stream, i) => next.set(endStates.subarray(i * floats, (i + 1) * floats), stream * floats));
    },
    commit() {
      [current, next] = [next, current];
    },
  };
}
