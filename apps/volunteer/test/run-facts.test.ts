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
      config: { model: { vocabulary: 65, cell: 'lstm', layers: 2, hidden: 8 } },
    });
    expect(facts).toEqual({
      ...{ runId: 'r1', roundCharacters: 2048, earlier: { rounds: 0, characters: 0 } },
      ...{ name: 'sonnets', organizer: undefined, model: 'LSTM 2x256', corpus: 'Sonnets', parameters: 10 },
      exchange: {
        upBytes: 4,
        downBytes: 4,
        streams: 32,
        window: 64,
        localSteps: 1,
        leases: undefined,
        stateFloats: 2 * 2 * 8,
        optimizerSlots: 2,
      },
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
    ['fp16', 2, 2],
    ['int8', 1, 2],
    ['fp32', 4, 4],
    ['unheard of', 2, 2],
    [undefined, 2, 2],
  ])('say what a round of the codec %s moves: %i bytes per parameter up, %i down', (codec, upBytes, downBytes) => {
    expect(readRunFacts({ codec })?.exchange).toMatchObject({ upBytes, downBytes });
  });

  it('say how many contributions a round has, where their number does not depend on the workers', () => {
    const leasesOf = (config: object) => readRunFacts({ streams: 30, window: 10, config })?.exchange.leases;
    expect(leasesOf({})).toBeUndefined();
    expect(leasesOf({ leaseStreams: 8 })).toBe(4);
    expect(leasesOf({ localSteps: 32, tracks: 6, leaseStreams: 0 })).toBe(6);
    expect(leasesOf({ localSteps: 1, tracks: 0 })).toBeUndefined();
  });

  it.each([
    [{ optimizer: { kind: 'adamw' } }, 2],
    [{ optimizer: { kind: 'sgd' } }, 1],
    [{ optimizer: { kind: 'adam' }, localSteps: 32 }, 1],
    [{ optimizer: 'adam' }, 2],
  ])('say what the optimizer of rounds keeps for a parameter: %j', (config, slots) => {
    expect(readRunFacts({ config })?.exchange.optimizerSlots).toBe(slots);
  });

  it('count the windows of a local round', () => {
    const facts = readRunFacts({ streams: 30, window: 10, config: { localSteps: 4, tracks: 6 } });
    expect(facts).toMatchObject({ roundCharacters: 1_200, exchange: { localSteps: 4 } });
    expect(readRunFacts({ config: { localSteps: 'many', model: { cell: 'constructor' } } })?.exchange).toMatchObject({
      ...{ localSteps: 1, stateFloats: 0 },
    });
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
