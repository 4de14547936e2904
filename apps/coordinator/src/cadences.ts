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

/** The flags whose values count rounds. */
export const CADENCE_FLAGS: readonly string[] = Object.values(FLAGS);

/** In run.json, beside such a flag: H of the rounds that its value counts. Absent: of those that the run has always had. */
export function stepsOf(flag: string): string {
  return `${flag} in rounds of`;
}

/** H of the rounds that a given value counts: one that is given as it is stored counts what it counted. */
function stepsCounted(flag: string, given: Flags, stored: Flags, usual: number, now: number): number {
  return given.get(flag) === stored.get(flag) ? Number(stored.get(stepsOf(flag)) ?? usual) : now;
}

/** For the person who resumes, what has become of these flags. */
export function describeChanged(before: Flags, after: Flags): readonly string[] {
  const changed = [...after].filter(([flag, value]) => before.get(flag) !== value);
  const texts = changed.map(([flag, value]) => `${flag} ${value} (it was ${before.get(flag)})`);
  return texts.length === 0 ? [] : [`What counts rounds follows them: ${texts.join(', ')}.`];
}

export interface Rounds {
  /** H of the checkpoint. */
  readonly before: number;
  /** H from now on. */
  readonly now: number;
}

/**
 * The flags with cadences in rounds of H = `steps`. Those that nobody has changed go on after as many characters.
 * @param stored flags of the run so far
 */
export function cadencesIn(steps: number, given: Flags, stored: Flags, { before }: Rounds): Flags {
  const followed = CADENCE_FLAGS.flatMap((flag): [string, string][] => {
    const value = given.get(flag);
    if (value === undefined) return [];
    return [[flag, String(scaled(Number(value), 'count', steps / stepsCounted(flag, given, stored, before, steps)))]];
  });
  return new Map([...given, ...followed]);
}

/** `flags`, which are to be stored, and what their cadences count. */
export function withStepsCounted(flags: Flags, stored: Flags, { before, now }: Rounds): Flags {
  const cadences = CADENCE_FLAGS.filter((flag) => flags.has(flag));
  return new Map([
    ...flags,
    ...cadences.map((flag): [string, string] => [stepsOf(flag), String(stepsCounted(flag, flags, stored, before, now))]),
  ]);
}
