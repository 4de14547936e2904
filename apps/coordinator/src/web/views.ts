/** The state of a run as pages show it, from the conductor and the board. */
import type { IncomingMessage } from 'node:http';
import type { Conductor } from '@troupe/conductor';
import { modelName } from '@troupe/config';
import { LIMITS } from '@troupe/protocol';
import { lossOf, type RunFacts, type RunHistory, type RunView } from '@troupe/run';
import type { Board } from '../record/board.js';
import type { Reader } from './auth.js';
import type { RunLinks } from './paths.js';
import { withoutPrivateData, workersFor } from './redact.js';

const MAX_CURVE_POINTS = 200;

export interface ViewSource {
  readonly conductor: Pick<Conductor, 'status' | 'workers'>;
  readonly board: Pick<Board, 'history' | 'best' | 'checkpoint' | 'corpus' | 'etaMs'>;
  readonly runId: string;
  /** [P] */
  readonly parameters: number;
  readonly organizer: string | undefined;
  readonly links: Pick<RunLinks, 'joinLink'>;
  /** Makes a token for volunteers, where the coordinator runs. */
  readonly inviteCommand: string;
}

/** @param request has the host name for the volunteers' link */
export function runView(source: ViewSource, { access, isSigned }: Reader, request: IncomingMessage): RunView {
  const { board, organizer } = source;
  const { history, best, checkpoint, corpus, etaMs } = board;
  const { run, latest, evaluations } = history;
  const status = source.conductor.status();
  const admin = access.includes('admin');
  const validated = evaluations.at(-1);
  return {
    ...status,
    phaseReason: admin ? status.phaseReason : withoutPrivateData(status.phaseReason),
    // Volunteers see the number of other workers, not their names.
    workers: access.includes('read') ? workersFor(access, source.conductor.workers()) : [],
    runId: source.runId,
    rounds: status.config.rounds,
    model: modelName(status.config.model),
    parameters: source.parameters,
    corpus: corpus ?? { name: '', characters: 0, train: 0, validation: 0 },
    maxWorkers: LIMITS.workers,
    name: run?.name ?? '',
    startedAt: run?.startedAt ?? 0,
    access,
    ...(organizer === undefined ? {} : { organizer }),
    ...(etaMs === undefined || status.phase !== 'running' ? {} : { etaMs }),
    ...(best === undefined ? {} : { best }),
    ...(latest === undefined ? {} : { latest }),
    ...(validated === undefined ? {} : { validated }),
    ...(admin ? inviteFor(source, isSigned, request) : {}),
    ...(admin && checkpoint ? { checkpoint } : {}),
  };
}

/** The link has the token of the run, which is valid even when a signed token has ended. */
function inviteFor(
  { links, inviteCommand }: ViewSource,
  isSigned: boolean,
  request: IncomingMessage,
): Pick<RunView, 'joinLink' | 'inviteCommand'> {
  return isSigned ? { inviteCommand } : { joinLink: links.joinLink(request) };
}

export function runFacts(source: ViewSource, reader: Reader, request: IncomingMessage): RunFacts {
  const view = runView(source, reader, request);
  const { history } = source.board;
  const sample = history.samples.at(-1);
  const { codec, streams, window } = view.config;
  return {
    ...view,
    lossHistory: lossCurve(history),
    validation: history.evaluations.slice(-MAX_CURVE_POINTS).map((one) => [one.round, lossOf(one)]),
    ...(sample ? { sample } : {}),
    codec,
    streams,
    window,
  };
}

const curves = new WeakMap<RunHistory, { readonly lastRound: number; readonly curve: RunFacts['lossHistory'] }>();

/** Every volunteer requests it every few seconds. It is computed again when the run is a little longer. */
function lossCurve(history: RunHistory): RunFacts['lossHistory'] {
  const { lastRound } = history;
  const stored = curves.get(history);
  if (stored && lastRound <= stored.lastRound * (1 + 1 / MAX_CURVE_POINTS)) return stored.curve;
  const { round, smoothedLoss } = history.points(0, lastRound, MAX_CURVE_POINTS).points;
  const curve = round.map((at, i) => [at, smoothedLoss[i]] as const);
  curves.set(history, { lastRound, curve });
  return curve;
}
