/** Why a run goes back to an earlier round, and what it takes along. */
import { VALIDATION } from './follow-ups.js';
import type { Knobs } from './training.js';

/** What an admin has set, and who has paused the run: it goes on like that. */
export interface StandingOrders {
  readonly knobs: Knobs;
  readonly pausedBy: readonly string[];
}

/** The run must go on from a checkpoint that is not after round `since`. */
export abstract class RunReturns extends Error implements StandingOrders {
  /** Rounds completed. */
  readonly since: number;
  readonly knobs: Knobs;
  readonly pausedBy: readonly string[];
  constructor(message: string, since: number, { knobs, pausedBy }: StandingOrders) {
    super(message);
    this.since = since;
    this.knobs = { ...knobs };
    // The validations for which the run waits are those of rounds that it gives up.
    this.pausedBy = [...pausedBy].filter((by) => by !== VALIDATION);
  }
}

/** A lie has counted, or something else has spoiled the parameters. The run must go back to a state of before, and goes on from there. */
export class RunTainted extends RunReturns {
  override readonly name = 'RunTainted';
  readonly code = 'tainted';
  readonly remedy = 'Continue with --resume from a checkpoint of an earlier round: move newer files of the run elsewhere first.';
}

/** An admin takes the run back to a checkpoint. */
export class RunRewound extends RunReturns {
  override readonly name = 'RunRewound';
  readonly code = 'rewound';
  /** Rounds that were complete when it was ordered. */
  readonly left: number;
  constructor(since: number, left: number, orders: StandingOrders) {
    super(`an admin took the run back from round ${left} to round ${since}`, since, orders);
    this.left = left;
  }
}
