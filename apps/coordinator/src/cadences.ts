/** How often a run is validated and saved, and writes samples, in rounds. */
import { RUN_OPTIONS, scaled, type TrainingConfig } from '@troupe/config';
import type { Cadences } from '@troupe/conductor';

type Flags = ReadonlyMap<string, string>;

const FLAGS: Readonly<Record<keyof Cadences, string>> = {
  evaluateEvery: '--eval-every',
  checkpointEvery: '--checkpoint-every',
  sampleEvery: '--sample-every',
};

/** Those that are given. The defaults are for exact rounds: rounds of H windows have H times as many characters. */
export function cadencesOf(given: Flags, { localSteps }: Pick<TrainingConfig, 'localSteps'>): Cadences {
  const rounds = (flag: string): number => {
    const { default: usual, scaling } = RUN_OPTIONS.find((option) => option.flag === flag)!;
    return given.has(flag) ? Number(given.get(flag)) : scaled(Number(usual), scaling, localSteps);
  };
  return {
    evaluateEvery: rounds(FLAGS.evaluateEvery),
    checkpointEvery: rounds(FLAGS.checkpointEvery),
    sampleEvery: rounds(FLAGS.sampleEvery),
  };
}

/** For the person who resumes, what has become of these flags. */
export function describeChanged(before: Flags, after: Flags): readonly string[] {
  const changed = [...after].filter(([flag, value]) => before.get(flag) !== value);
  const texts = changed.map(([flag, value]) => `${flag} ${value} (it was ${before.get(flag)})`);
  return texts.length === 0 ? [] : [`What counts rounds follows them: ${texts.join(', ')}.`];
}

/**
 * The flags of a run whose rounds have `ratio` times as many windows from now on. Cadences that nobody has changed go on after as many
 * characters.
 * @param stored flags of the run so far
 */
export function withOtherCadences(given: Flags, stored: Flags, ratio: number): Flags {
  const changed = Object.values(FLAGS).flatMap((flag): [string, string][] => {
    const value = stored.get(flag);
    return value === undefined || given.get(flag) !== value ? [] : [[flag, String(scaled(Number(value), 'count', ratio))]];
  });
  return new Map([...given, ...changed]);
}
