/** Runs many storms one after the other. */
import { FAULTS, possibleIn } from './faults.js';
import { weather, type StormOptions } from './storm.js';

export interface SoakOptions {
  /** The first seed; the others follow it. */
  readonly first: number;
  readonly storms: number;
  readonly rounds: number;
  /** Which of reproducible (true) and by speed (false) to run. */
  readonly modes: readonly boolean[];
  /** Which of separate (true) and embedded (false) all-reduce to run. */
  readonly places: readonly boolean[];
  /** Numbers of reducers, or workers that sum; the seeds take turns. */
  readonly reducers: readonly (number | 'peers')[];
  /** Part of the names of the faults that strike; absent: the seed chooses them. */
  readonly only?: string | undefined;
  print(line: string): void;
  readonly trace: boolean;
}

/** @returns how many failed */
export async function soak(options: SoakOptions): Promise<number> {
  const { first, storms, modes, places, print } = options;
  const totals = { failed: 0, committed: 0, faults: 0, simulatedMs: 0, longestWaitMs: 0 };
  const cells = modes.flatMap((reproducible) => places.map((separate) => ({ reproducible, separate })));
  for (let seed = first; seed < first + storms; seed++) {
    for (const cell of cells) {
      try {
        const { simulation, faults } = await weather(stormOf(options, seed, cell));
        totals.committed += simulation.commits.length;
        totals.faults += faults.length;
        totals.simulatedMs += simulation.clock.nowMs;
        totals.longestWaitMs = Math.max(totals.longestWaitMs, simulation.longestWait.ms);
      } catch (error) {
        totals.failed++;
        print(
          `FAILED: ${(error as Error).message}${options.only === undefined ? '' : ` --faults ${JSON.stringify(options.only)}`}`,
        );
      }
    }
  }
  const { failed, committed, faults, simulatedMs, longestWaitMs } = totals;
  const time = `${(simulatedMs / 3_600_000).toFixed(1)} simulated hours, ${(longestWaitMs / 1000).toFixed(0)} s the longest wait`;
  print(`${storms * cells.length} storms: ${failed} failed; ${committed} rounds, ${faults} faults, ${time}`);
  return failed;
}

function stormOf(
  { rounds, reducers: counts, only, print, trace }: SoakOptions,
  seed: number,
  cell: Pick<StormOptions, 'reproducible' | 'separate'>,
): StormOptions {
  const turn = counts[seed % counts.length];
  const [reducers, peers] = turn === 'peers' ? [0, true] : [turn, false];
  const storm = { seed, rounds, ...cell, reducers, peers, trace: trace ? print : undefined };
  if (only === undefined) return storm;
  const faults = possibleIn({ ...cell, reducers, peers }, FAULTS).filter(({ name }) => name.includes(only));
  return faults.length > 0 ? { ...storm, faults } : storm;
}
