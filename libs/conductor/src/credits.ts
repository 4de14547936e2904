/**
 * Credits each round's characters to those whose contributions counted. What was added since the last report is reported whenever the run may be
 * saved: a run that resumes there finds the credits of exactly its rounds in its history. Nothing of the training depends on them.
 */
import { addCredits, createCreditLedger, partsOf, type CreditLedger, type RunEvent } from '@troupe/run';
import type { ConductorEvent } from './events.js';
import type { Roster } from './roster.js';

export interface CreditBookParts {
  /** Of the whole run, earlier sessions included. */
  readonly ledger: CreditLedger;
  readonly roster: Pick<Roster, 'workers'>;
  report(event: RunEvent): void;
}

export interface CreditBook {
  handle(event: ConductorEvent): void;
  /** Reports what is new. @param round rounds completed */
  report(round: number): void;
}

export function createCreditBook({ ledger, roster, report }: CreditBookParts): CreditBook {
  /** Of the current round, which may start over. */
  const current = createCreditLedger();
  const unreported = createCreditLedger();
  const bookRound = (): void => {
    const credits = current.take();
    for (const book of [ledger, unreported]) addCredits(book, credits);
  };
  const reportNews = (round: number): void => {
    for (const part of partsOf(unreported.take())) report({ event: 'credits', round, ...part });
  };
  return {
    report: reportNews,
    handle(event) {
      switch (event.type) {
        case 'counted': {
          const { workerId, tokens } = event.contribution;
          return current.add(roster.workers.get(workerId)?.credit, tokens);
        }
        case 'reduceRestored':
          return void current.take();
        case 'update':
          return bookRound();
        case 'outcome':
          if (SAVED_AT.includes(event.outcome.type)) reportNews(event.round);
          return;
        default:
      }
    },
  };
}

/** Outcomes at whose round a checkpoint may be taken. */
const SAVED_AT: readonly string[] = ['checkpoint', 'evaluate', 'finish', 'fail'];
