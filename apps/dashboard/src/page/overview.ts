/** The top of the page: the state of the run in a few figures, and whether the coordinator answers. */
import { roundCharacters } from '@troupe/protocol';
import { isAverageBetter, lossOf, type EvaluationPoint } from '@troupe/run';
import { computeFraction } from '../reading/curves.js';
import { figuresOf } from '../reading/figures.js';
import { NOTHING } from '../reading/format.js';
import { problemText } from '../reading/problem.js';
import { langOf, translated } from '../reading/translate.js';
import { lastRound } from '../state/columns.js';
import type { DashboardState } from '../state/state.js';
import { setAttribute, setClass, setText, the } from './dom.js';
import { changed, type Page, type Panel } from './page.js';

export function createOverview(page: Page): Panel {
  const link = createLinkBanner(page);
  return (state, before) => {
    if (changed(state, before, 'link')) link(state);
    const { view } = state;
    for (const id of ['run', 'sections']) the(id).hidden = view === undefined;
    the('refused').hidden = state.link.at !== 'refused';
    if (!view || !changed(state, before, 'view', 'points')) return;
    drawTitle(page, state);
    drawProgress(page, state);
    drawFigures(page, state);
  };
}

function createLinkBanner(page: Page): (state: DashboardState) => void {
  const banner = the('link');
  // Hidden from screen readers, because it changes every second.
  const wait = the('link-wait');
  let timer = 0;
  const countDown = (retryAt: number): void => {
    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    setText(wait, seconds > 0 ? page.texts.nextTry(page.format.whole(seconds)) : '');
  };
  return ({ link, view }) => {
    clearInterval(timer);
    setText(wait, '');
    switch (link.at) {
      case 'live':
        return setText(banner, '');
      case 'connecting':
        return setText(banner, view ? page.texts.awayNow : page.texts.connecting);
      case 'away':
        if (view?.phase === 'over') return setText(banner, page.texts.awayOver);
        setText(banner, page.texts.away);
        countDown(link.retryAt);
        timer = setInterval(() => countDown(link.retryAt), 1000);
        return;
      case 'refused':
        setText(banner, '');
        return setText(the('refused-why'), problemText(link.error.message, link.error.remedy));
      default:
        return link satisfies never;
    }
  };
}

function drawTitle({ texts, format, language }: Page, { view }: DashboardState): void {
  const { name, runId, phase, phaseReason, organizer, model, parameters, corpus } = view!;
  const title = name || runId;
  setText(the('run-name'), title);
  if (document.title !== texts.documentTitle(title)) document.title = texts.documentTitle(title);
  // While the run is running, the reason says nothing new.
  const reason = phase === 'running' ? '' : phaseReason;
  setClass(the('phase'), `phase ${phase}`);
  setText(the('phase-name'), texts.phase[phase]);
  const shown = translated(reason, language);
  setText(the('phase-reason'), reason ? ` · ${shown.text}` : '');
  setAttribute(the('phase-reason'), 'lang', langOf(shown.language));
  const facts = [
    model,
    texts.parameters(format.compact(parameters)),
    texts.trainedOn(corpus.name, format.compact(corpus.characters)),
    ...(organizer ? [texts.organizedBy(organizer)] : []),
  ];
  setText(the('run-facts'), facts.join(' · '));
}

function drawProgress({ texts, format }: Page, { view, points }: DashboardState): void {
  const { rounds, progress = 0, etaMs } = view!;
  // Points arrive more often than views.
  const round = Math.max(view!.round, lastRound(points));
  const part = round === view!.round ? progress : 0;
  setAttribute(the('progress'), 'value', String(rounds > 0 ? (round + part) / rounds : 0));
  const text = texts.roundOf(format.whole(round), format.whole(rounds));
  setText(the('progress-text'), part > 0 ? texts.roundPart(text, format.percent(part)) : text);
  setText(the('progress-eta'), etaMs === undefined ? '' : texts.eta(format.duration(etaMs)));
}

type Words = Pick<Page, 'texts' | 'format'>;

function validationNote({ texts, format }: Words, last: EvaluationPoint, best: EvaluationPoint): string {
  const round = format.whole(last.round);
  const isBest = lossOf(last) <= lossOf(best);
  const note = isBest
    ? texts.statValidationBest(round)
    : texts.statValidationNote(round, format.loss(lossOf(best)), format.whole(best.round));
  return isAverageBetter(last) ? texts.statValidationAverage(note, format.loss(last.validationLoss)) : note;
}

function drawFigures({ texts, format }: Page, { view, points, evaluations }: DashboardState): void {
  const { best, validated, workers, workerCount, phase, config, latest } = view!;
  const newest = <K extends keyof typeof points>(field: K): number | undefined => points[field].at(-1) ?? latest?.[field];
  const show = (id: string, value: number | undefined, write: (n: number) => string): void =>
    setText(the(id), value === undefined ? NOTHING : write(value));
  show('stat-loss', newest('smoothedLoss'), format.loss);
  const last = evaluations.at(-1) ?? validated;
  show('stat-validation', last && lossOf(last), format.loss);
  setText(the('stat-validation-note'), best && last ? validationNote({ texts, format }, last, best) : '');
  // Of a run that stands still, the speed of its last rounds would be wrong.
  const figures = phase === 'paused' || phase === 'waiting' ? undefined : figuresOf(points, roundCharacters(config));
  show('stat-speed', figures?.charsPerSecond, format.compact);
  show('stat-round', figures?.roundMs, format.duration);
  const fraction = computeFraction(latest);
  setText(the('stat-round-note'), fraction === undefined ? '' : `${format.percent(fraction)} ${texts.compute}`);
  setText(the('stat-workers'), format.whole(workerCount));
  const computing = workers.filter(({ state }) => state === 'computing' || state === 'late').length;
  setText(the('stat-workers-note'), workerCount > 0 ? texts.statWorkersNote(format.whole(computing)) : '');
  show('stat-rate', newest('learningRate'), format.figure);
  setText(the('stat-rate-note'), config.clip > 0 ? texts.statRateNote(format.figure(config.clip)) : texts.statRateNoClip);
}
