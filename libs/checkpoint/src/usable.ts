import { largestState } from '@troupe/model';
import type { Checkpoint } from './checkpoint.js';
import { CheckpointError, TAKE_ANOTHER } from './errors.js';

/**
 * Checks that a run can continue from these numbers. They may be wrong in a file that is whole: then they were wrong before they were written.
 * @throws CheckpointError `unusable` if a weight, a state or a value of the optimizer is not finite, or no cell reaches a state
 */
export function requireUsable(checkpoint: Checkpoint): void {
  const { parameters, twin, optimizer, streamStates } = checkpoint;
  const vectors: [string, Float32Array][] = [
    ['weights', parameters],
    ['other weights', twin ?? new Float32Array(0)],
    ['hidden states', streamStates],
    ...optimizer.slots.map(({ name, values }): [string, Float32Array] => [`values of the optimizer (${name})`, values]),
  ];
  for (const [what, values] of vectors) {
    const wrong = values.findIndex((value) => !Number.isFinite(value));
    if (wrong >= 0) throw unusable(`one of its ${what} is ${values[wrong]}`);
  }
  const limit = largestState(checkpoint.model, stepsSinceZero(checkpoint));
  const beyond = limit === 0 ? undefined : streamStates.find((value) => Math.abs(value) > limit);
  if (beyond !== undefined)
    throw unusable(`a hidden state is ${beyond.toPrecision(3)}, and its cell reaches no more than ${limit.toPrecision(3)}`);
}

/** Characters that each stream has read since its state was zero. Stream 0 begins at the start of the text, and all are of one length. */
function stepsSinceZero({ cursors: [first, second], corpus }: Checkpoint): number {
  const pass = second === undefined ? corpus.characters : second - first;
  return first || pass;
}

function unusable(what: string): CheckpointError {
  return new CheckpointError('unusable', `no run can continue from this checkpoint: ${what}`, TAKE_ANOTHER);
}
