/** Runs many storms one after the other. */
import { weather } from './storm.js';

export interface SoakOptions {
  /** The first seed; the others follow it. */
  readonly first: number;
  readonly storms: number;
  readonly rounds: number;
  /** Which of reproducible (true) and by speed (false) to run. */
  readonly modes: readonly boolean[];
  /** Which of separate (true) and embedded (false) all-reduce to run. */
  readonly places: readonly boolean[];
  /** Numbers of reducers; the seeds take turns. */
  readonly reducers: readonly number[];
  print(line: string): void;
  readonly trace: boolean;
}

/** @returns how many failed */
export async function soak({ first, storms, rounds, modes, places, reducers, print, trace }: SoakOptions): Promise<number> {
  let failed = 0;
  let committed = 0;
  let faults = 0;
  let simulatedMs = 0;
  const cells = modes.flatMap((reproducible) => places.map((separate) => ({ reproducible, separate })));
  for (let seed = first; seed < first + storms; seed++) {
    for (const cell of cells) {
      try {
        const storm = await weather({ seed, rounds, ...cell, reducers: reducers[seed % reducers.length], trace: trace ? print : undefined });
        committed += storm.simulation.commits.length;
        faults += storm.faults.length;
        simulatedMs += storm.simulation.clock.nowMs;
      } catch (error) {
        failed++;
        print(`FAILED: ${(error as Error).message}`);
      }
    }
  }
  const hours = (simulatedMs / 3_600_000).toFixed(1);
  print(`${storms * cells.length} storms: ${failed} failed; ${committed} rounds, ${faults} faults, ${hours} simulated hours`);
  return failed;
}
