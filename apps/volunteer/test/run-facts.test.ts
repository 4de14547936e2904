import { describe, expect, it } from 'vitest';
import { readRunFacts } from '../src/decisions/run-facts.js';

describe('the facts of a run', () => {
  it('are read as the coordinator sends them', () => {
    const facts = readRunFacts({
      ...{ runId: 'r1', streams: 32, window: 64 },
      ...{ name: 'sonnets', model: 'LSTM 2x256', corpus: { name: 'Sonnets', characters: 9 }, parameters: 10, codec: 'fp32' },
      ...{
        round: 4,
        rounds: 9,
        workers: [{}, {}],
        workerCount: 2,
        phase: 'waiting',
        lossHistory: [
          [1, 4],
          [2, 3.5],
        ],
      },
      ...{ validation: [[2, 3.6]], sample: { round: 2, text: 'Shall I\ncompare' } },
      latest: { computeMs: 10, transferMs: 5, reduceMs: 1, waitingMs: 4 },
      config: { model: { vocabulary: 65 } },
    });
    expect(facts).toEqual({
      ...{ runId: 'r1', roundCharacters: 2048 },
      ...{ name: 'sonnets', organizer: undefined, model: 'LSTM 2x256', corpus: 'Sonnets', parameters: 10, exchangedBytes: 8 },
      ...{ round: 4, rounds: 9, workers: 2, phase: 'waiting', roundMs: 20 },
      ...{
        losses: [
          [1, 4],
          [2, 3.5],
        ],
        validation: [[2, 3.6]],
        chance: Math.log(65),
        sample: { round: 2, text: 'Shall I\ncompare' },
      },
    });
  });

  it.each([
    ['fp16', 4],
    ['int8', 3],
    ['fp32', 8],
    ['unheard of', 4],
    [undefined, 4],
  ])('say what a round of the codec %s moves: %i bytes per parameter', (codec, bytes) => {
    expect(readRunFacts({ codec })?.exchangedBytes).toBe(bytes);
  });

  it.each([null, 7, 'text', [], undefined])('%j holds no facts', (json) => expect(readRunFacts(json)).toBeUndefined());

  it('leave out fields of another shape, and only those', () => {
    const facts = readRunFacts({
      ...{ name: { markup: 1 }, organizer: 'x'.repeat(999), round: -1, rounds: 1.5, workers: 'many', phase: 'constructor' },
      ...{
        parameters: 12,
        lossHistory: [[1, 2], [1, 3], 'x', [2, NaN], [3, 1, 9], [2, 1]],
        sample: { text: 5 },
        latest: { computeMs: 'x' },
      },
    });
    expect(facts).toMatchObject({
      ...{ name: undefined, round: undefined, rounds: undefined, workers: undefined, phase: undefined, roundMs: undefined },
      ...{
        parameters: 12,
        losses: [
          [1, 2],
          [3, 1],
        ],
        sample: undefined,
      },
    });
    expect(facts!.organizer).toHaveLength(200);
  });

  it('contain no characters that control the writing direction or a terminal', () => {
    expect(readRunFacts({ name: 'a\u202eb\u0007c' })!.name).toBe('a\u{fffd}b\u{fffd}c');
  });
});
