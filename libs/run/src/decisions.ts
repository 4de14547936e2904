/** Texts for people, of what the scheduler decides. */
import type { Decision, Lent, WaitReason } from '@troupe/scheduler';

export type DecisionKind = Decision['kind'];

const TEXTS: { readonly [K in DecisionKind]: (decision: Extract<Decision, { kind: K }>) => string } = {
  paused: ({ by }) => `paused by ${by}: open leases still count, no new ones are dealt`,
  resumed: ({ by, lent }) => [`resumed by ${by}`, ...(isNothing(lent) ? [] : [lentText(lent)])].join('; '),
  late: ({ workers, lent }) => `late: ${workers.join(', ')}; ${lentText(lent)}`,
  stuck: ({ workers, lent }) => `silent long after the deadline, sent a snapshot: ${workers.join(', ')}; ${lentText(lent)}`,
  workerLeft: ({ worker, reason, lent }) => `${worker} left (${reason}); ${lentText(lent)}`,
  workerResynced: ({ worker, reason, lent }) => `${worker} fetches a snapshot (${reason}); ${lentText(lent)}`,
  workerPaused: ({ worker, reason, lent }) => `${worker} paused (${reason}); ${lentText(lent)}`,
  parked: ({ workers, faster }) => `parked: ${listed(workers)}; ${parkedText(faster, workers.length)}`,
  lagging: ({ worker, restMs }) => `parked: ${worker}; ${laggingText(restMs)}`,
  unparked: ({ workers, why }) => `fetched back: ${listed(workers)}; ${UNPARKED[why]}`,
  declined: ({ worker, reason, lent }) => `${worker} returned a lease (${reason}); ${lentText(lent)}`,
  rejected: ({ worker, reason, lent }) => `a result of ${worker} was rejected (${reason}); ${lentText(lent)}`,
  auditFailed: ({ worker, reason, since }) => {
    const counted =
      since === undefined ? 'nothing of it counted unaudited' : `what it contributed since round ${since + 1} was not audited`;
    return `${worker} is banned: the coordinator computed its lease again, and ${reason}; ${counted}`;
  },
  lossHigh: ({ trainLoss, chanceLoss, stopsAbove, rounds }) => {
    const stop = stopsAbove > 0 ? `; the run stops if it stays above ${lossText(stopsAbove)} for ${rounds} rounds` : '';
    return `training is unstable: the loss is ${lossText(trainLoss)} nats/char, and guessing has ${lossText(chanceLoss)}${stop}`;
  },
  topology: topologyText,
  thinLinks: ({ workers, utilisation, localUtilisation, localSteps, tracks }) =>
    `${counted(workers, 'worker')} on thin links: busy ${percentText(utilisation)} of the time; ` +
    `${localRoundsFlags(localSteps, tracks)} would make it ${percentText(localUtilisation)}`,
  reopened: ({ lent }) => `the all-reduce service is back, and the round starts over; ${lentText(lent)}`,
};

export const DECISION_KINDS = Object.keys(TEXTS) as readonly DecisionKind[];

/** Decisions whose text a warning repeats, with a remedy. Logs for people show the warning alone. */
const WARNED: ReadonlySet<DecisionKind> = new Set(['lossHigh']);

export function isWarnedOf({ kind }: Decision): boolean {
  return WARNED.has(kind);
}

/** What happened and what follows from it, in one line. */
export function decisionText(decision: Decision): string {
  return (TEXTS[decision.kind] as (decision: Decision) => string)(decision);
}

/** For the owner of a worker that is banned. An honest one has a machine that computes wrongly. */
export function bannedText(reason: string): string {
  const what = `the coordinator computed one of your leases again, and ${reason}`;
  return `${what}. If you changed nothing, your machine may compute wrongly: try another engine, or test its memory`;
}

/** Why a worker is parked. `faster`: by how much a round is faster without it, as a part of the round. */
export function parkedText(faster: number, workers = 1): string {
  const without = workers === 1 ? 'without it' : 'without them';
  const percent = Math.round(faster * 100);
  return percent >= 1 ? `the round is ${percent} % faster ${without}` : `the round is as fast ${without}`;
}

/** The flags of local rounds that keep workers on thin links busy, as people type them. */
export function localRoundsFlags(localSteps: number, tracks: number): string {
  return `--local-steps ${localSteps} --tracks ${tracks} --codec int8-both`;
}

/** Why a worker is parked whose link cannot take the updates. */
export function laggingText(restMs: number): string {
  const minutes = Math.max(1, Math.round(restMs / 60_000));
  return `its link is too slow for the updates of this run; it is tried again in ${counted(minutes, 'minute')}`;
}

function topologyText({ reducers, able, compared }: Extract<Decision, { kind: 'topology' }>): string {
  const [peers, star] = compared ? [compared.peersMs, compared.starMs].map(durationText) : [];
  if (reducers.length > 0) {
    const because = compared ? `: a round takes ${peers} instead of ${star}` : '';
    return `${listed(reducers)} sum the gradients, each a part of the parameters${because}`;
  }
  const few = able === 0 ? 'no worker can' : `only ${counted(able, 'worker')} can be reached by the others`;
  const why = compared ? `a round takes ${star}, and ${peers} when ${counted(able, 'worker')} sum` : few;
  return `the all-reduce service sums the gradients: ${why}`;
}

/** "12 %". */
function percentText(fraction: number): string {
  return `${Math.round(fraction * 100)} %`;
}

/** "12 ms", "3.4 s". */
function durationText(ms: number): string {
  return ms < 1_000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}

const UNPARKED: Readonly<Record<Extract<Decision, { kind: 'unparked' }>['why'], string>> = {
  faster: 'rounds will be faster',
  alone: 'nobody else can compute',
  trial: 'a trial has shown that rounds are faster with it',
};

/** At most this many names are listed. */
const MOST_NAMES = 8;

function listed(names: readonly string[]): string {
  const rest = names.length - MOST_NAMES;
  return rest > 0 ? `${names.slice(0, MOST_NAMES).join(', ')} and ${rest} more` : names.join(', ');
}

const WAITING: Readonly<Record<WaitReason, string>> = {
  noWorker: 'no worker is connected; the run continues when one joins',
};

export function waitingText(reason: WaitReason): string {
  return WAITING[reason];
}

/** A run that has not started lends nothing, and nothing in it waits. */
function isNothing({ streams, uncovered, pausedBy }: Lent): boolean {
  return streams === 0 && uncovered === 0 && pausedBy.length === 0;
}

function lentText({ streams, workers, uncovered, pausedBy }: Lent): string {
  if (streams > 0) return `${counted(streams, 'stream')} lent to ${counted(workers, 'worker')}`;
  if (pausedBy.length > 0) return `nothing is lent while the run is paused by ${pausedBy.join(', ')}`;
  if (uncovered > 0) return `${counted(uncovered, 'stream')} ${uncovered === 1 ? 'waits' : 'wait'} for a free worker`;
  return 'every stream is counted or lent';
}

function lossText(loss: number): string {
  return loss < 1000 ? loss.toFixed(2) : loss.toPrecision(3);
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
