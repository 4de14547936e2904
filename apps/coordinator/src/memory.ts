import type { TrainingConfig } from '@troupe/config';
import { memoryProblem } from '@troupe/engines';
import type { MachineMemory } from '@troupe/process';
import type { PreparationNote } from './preparation.js';
import { SettingsError } from './settings.js';

/**
 * What to tell of the memory that the coordinator of this run needs; nothing if it fits.
 * @param reducers threads of this process that sum gradients
 * @throws SettingsError if the machine can never give it
 */
export function memoryNotes(config: TrainingConfig, reducers: number, machine: MachineMemory): readonly PreparationNote[] {
  const problem = memoryProblem(config, { coordinators: 1, reducers, workers: 0, threads: 1 }, machine);
  if (problem === undefined) return [];
  const { verdict, text, remedy } = problem;
  if (verdict === 'impossible') throw new SettingsError(text, remedy);
  return [{ level: 'warn', text, remedy }];
}
