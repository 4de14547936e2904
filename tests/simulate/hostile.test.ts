import { describe, expect, it } from 'vitest';
import type { Lie } from './engine.js';
import { bansIn } from './liars.js';
import { after, LIES, scaled } from './lies.js';
import { createSimulation, type Simulation } from './simulation.js';
import { truthOf } from './storm.js';
import { BY_SPEED, LOCAL, REPRODUCIBLE } from './training.js';

const bannedIn = (simulation: Simulation): readonly string[] => bansIn(simulation).map(({ name }) => name);

describe('a run with a volunteer that lies from the start', () => {
  const config = { ...REPRODUCIBLE, rounds: 20 };

  it.each(Object.keys(LIES))('bans it and counts nothing of %s', async (what) => {
    const truth = await truthOf(config);
    const volunteers = [{ charsPerSecond: 400, lie: LIES[what] }, { charsPerSecond: 200 }, { charsPerSecond: 300 }];
    for (const workers of [[200], []]) {
      const simulation = createSimulation({ seed: 3, config, workers, volunteers, truth });
      simulation.boot();
      await simulation.finish();
      expect(bannedIn(simulation)).toEqual(['v0']);
      expect(simulation.audit.files.get('20')).toEqual(truth.files!.get('20'));
    }
  });
});

describe('a run with honest volunteers', () => {
  it('bans nobody, with any codec, with reducers and without', async () => {
    for (const [seed, codec] of (['fp16', 'fp32', 'int8'] as const).entries()) {
      for (const reducers of [0, 2]) {
        const config = { ...BY_SPEED, codec, rounds: 60 };
        const volunteers = [300, 200, 90].map((charsPerSecond) => ({ charsPerSecond }));
        const simulation = createSimulation({ seed, config, workers: [150], volunteers, reducers });
        simulation.boot();
        await simulation.finish();
        expect(bannedIn(simulation)).toEqual([]);
      }
    }
  });
});

describe('a volunteer that lies after a hundred honest leases', () => {
  it('is found, and the run goes back to a state that it has not touched', async () => {
    const config = { ...REPRODUCIBLE, rounds: 200 };
    const truth = await truthOf(config);
    const volunteers = [{ charsPerSecond: 400, lie: after(100, scaled(-1)) }, { charsPerSecond: 200 }];
    const cadences = { checkpointEvery: 40, evaluateEvery: 40 };
    const simulation = createSimulation({ seed: 5, config, workers: [200], volunteers, cadences });
    simulation.boot();
    await simulation.finish();
    expect(bannedIn(simulation)).toEqual(['v0']);
    expect(simulation.coordinator.failures.map(({ name }) => name)).toEqual(['RunTainted']);
    const last = simulation.audit.parameters.get(200)!;
    expect(last).toEqual(truth.parameters[200]);
  });
});

describe('a volunteer whose gradient is suddenly a hundred times as large', () => {
  it.each([
    ['exact', BY_SPEED],
    // Clipping would hide it in the steps of a track.
    ['local', { ...LOCAL, clip: 0 }],
  ])('is found with its first lie, in %s rounds, with reducers and without', async (_, of) => {
    for (const [seed, reducers] of [0, 0, 0, 2, 2].entries()) {
      let lied: number | undefined;
      const volunteers = [
        {
          charsPerSecond: 400,
          lie: after(100, (...computed: Parameters<Lie>) => {
            lied ??= simulation.coordinator.conductor!.shell.round;
            return scaled(-100)(...computed);
          }),
        },
        { charsPerSecond: 200 },
      ];
      const config = { ...of, rounds: 200 };
      const simulation: Simulation = createSimulation({ seed, config, workers: [200], volunteers, reducers });
      simulation.boot();
      await simulation.finish();
      expect(lied).toBeGreaterThan(20);
      expect(bansIn(simulation)).toEqual([{ name: 'v0', round: lied }]);
    }
  });
});

describe('a run whose validation loss jumps', () => {
  const config = { ...REPRODUCIBLE, rounds: 100 };
  const cadences = { checkpointEvery: 10, evaluateEvery: 10 };
  const sameBits = (a: Float32Array, b: Float32Array): boolean => a.every((value, i) => Object.is(value, b[i]));
  const backs = ({ coordinator }: Simulation): readonly string[] => coordinator.failures.map(({ message }) => message);

  it('goes back, and gives the bits of a run to which nothing happened, if a trusted machine failed once', async () => {
    const truth = await truthOf(config);
    const simulation = createSimulation({ seed: 6, config, workers: [300, 200], cadences });
    let failures = 1;
    simulation.workers[0].machine.lie = (result, batch, computed) =>
      computed > 100 && failures-- > 0 ? scaled(-1000)(result, batch, computed) : result;
    // The moving average may well be right when the parameters are not.
    simulation.coordinator.side.lossOf = (parameters) =>
      truth.parameters.some((each) => sameBits(each, parameters)) || simulation.coordinator.events.length === 0 ? 1 : 9;
    simulation.boot();
    await simulation.finish();
    expect(failures).toBeLessThan(1);
    expect(backs(simulation)).toEqual([expect.stringMatching(/validation loss jumped to 9.000 .* between rounds \d+0 and \d+0/)]);
    expect(simulation.audit.parameters.get(100)).toEqual(truth.parameters[100]);
  });

  it('goes back once, and then on, if the jump is that of the training itself', async () => {
    const truth = await truthOf(config);
    const { files: _, ...parameters } = truth;
    const simulation = createSimulation({ seed: 7, config, workers: [300, 200], cadences, truth: parameters });
    simulation.coordinator.side.lossOf = (values) => (sameBits(values, truth.parameters[60]) ? 9 : 1);
    simulation.boot();
    await simulation.finish();
    expect(backs(simulation)).toHaveLength(1);
    expect(simulation.coordinator.events).toContainEqual(
      expect.objectContaining({ event: 'note', level: 'warn', text: expect.stringMatching(/the run continues/) as string }),
    );
    expect(simulation.audit.parameters.get(100)).toEqual(truth.parameters[100]);
  });

  it('goes on where it has no checkpoint of before', async () => {
    const simulation = createSimulation({ seed: 8, config, workers: [300], cadences: { checkpointEvery: 0, evaluateEvery: 10 } });
    let validations = 0;
    simulation.coordinator.side.lossOf = () => (++validations === 12 ? 9 : 1);
    simulation.boot();
    await simulation.finish();
    expect(backs(simulation)).toEqual([]);
  });
});
