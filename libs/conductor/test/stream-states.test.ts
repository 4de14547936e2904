import { describe, expect, it } from 'vitest';
import { createStreamStates } from '../src/stream-states.js';

const floats = (...values: number[]): Float32Array => Float32Array.from(values);

describe('the hidden states of streams', () => {
  it('start with zeros or with the states of a checkpoint', () => {
    expect([...createStreamStates(2, 2).current]).toEqual([0, 0, 0, 0]);
    const initial = floats(1, 2, 3, 4);
    const states = createStreamStates(2, 2, initial);
    initial.fill(9);
    expect([...states.of(1)]).toEqual([3, 4]);
  });

  it('become the counted end states when the round is committed, and not before', () => {
    const states = createStreamStates(3, 2, floats(1, 1, 2, 2, 3, 3));
    states.count([2, 0], floats(30, 31, 10, 11));
    expect([...states.current]).toEqual([1, 1, 2, 2, 3, 3]);
    states.count([1], floats(20, 21));
    states.commit();
    expect([...states.current]).toEqual([10, 11, 20, 21, 30, 31]);
  });

  it('take the last end states when a round is computed twice', () => {
    const states = createStreamStates(1, 1);
    states.count([0], floats(1));
    states.count([0], floats(2));
    states.commit();
    expect([...states.of(0)]).toEqual([2]);
  });
});
