/** What a launch tells: to the table, to plain lines and to `--json`. */

export const SLOT_STATES = [
  'waiting',
  'connecting',
  'copying',
  'installing',
  'starting',
  'running',
  'restarting',
  'failed',
  'done',
  'stopped',
] as const;

/**
 * `waiting`: its turn has not come, or its host is not reached now and is tried again. `failed`: it does not start again. `done`: it has
 * left because the run is over or the coordinator dismissed it. `stopped`: by the person who launched it.
 */
export type SlotState = (typeof SLOT_STATES)[number];

export type LaunchEvent =
  | {
      readonly event: 'state';
      /** A host, or one of its slots. */
      readonly who: string;
      readonly slots: readonly string[];
      readonly state: SlotState;
      readonly text?: string | undefined;
      readonly remedy?: string | undefined;
      /** Until the next attempt. */
      readonly retryInMs?: number | undefined;
    }
  /** About once a second for each slot that computes. `credit`: characters since it started. */
  | { readonly event: 'progress'; readonly slot: string; readonly round: number; readonly credit: number }
  /** The Slurm job that runs the workers: submitted now, or by an earlier launch. */
  | { readonly event: 'job'; readonly id: string; readonly tasks: number; readonly isAdopted: boolean; readonly script: string }
  | { readonly event: 'note'; readonly text: string; readonly remedy?: string };

/** Nothing more happens to a slot in these states. */
export function isOver(state: SlotState): boolean {
  return state === 'failed' || state === 'done' || state === 'stopped';
}
