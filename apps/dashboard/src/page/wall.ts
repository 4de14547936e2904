/** `?wall`: the run on a screen that nobody touches, with large figures, changing samples and a ring of workers. */
import { roundCharacters } from '@troupe/protocol';
import { lossOf } from '@troupe/run';
import { figuresOf } from '../reading/figures.js';
import { NOTHING } from '../reading/format.js';
import { lossPath, ringOf, type Dot } from '../reading/wall.js';
import { lastRound } from '../state/columns.js';
import type { DashboardState } from '../state/state.js';
import { setAttribute, setClass, setText, the } from './dom.js';
import { changed, type Page, type Panel } from './page.js';

/** How long a sample stays. */
const SAMPLE_MS = 15_000;
/** The newest samples take turns: earlier ones are much worse. */
const SAMPLES = 8;

/** @param search of the page's address */
export const isWall = (search: string): boolean => new URLSearchParams(search).has('wall');

export function createWall(page: Page): Panel {
  const svg = createRing(the('wall-ring', SVGSVGElement));
  document.body.classList.add('wall');
  let turn = 0;
  const drawSample = (): void => {
    const newest = page.state.samples.slice(-SAMPLES).reverse();
    const sample = newest.length > 0 ? newest[turn % newest.length] : undefined;
    setText(the('wall-sample'), sample?.text ?? page.texts.samplesNone);
    setText(the('wall-sample-at'), sample ? page.texts.sampleAt(page.format.whole(sample.round), '') : '');
  };
  setInterval(() => {
    turn++;
    drawSample();
  }, SAMPLE_MS);
  return (state, before) => {
    const { view } = state;
    the('wall').hidden = view === undefined;
    if (!view) return;
    if (changed(state, before, 'samples')) drawSample();
    if (!changed(state, before, 'view', 'points', 'evaluations')) return;
    drawFigures(page, state);
    svg(ringOf(view.workers));
    setAttribute(the('wall-ring', SVGSVGElement), 'aria-label', page.texts.wallWorkers(page.format.whole(view.workerCount)));
    setAttribute(the('wall-curve', SVGPathElement), 'd', lossPath(state.points));
  };
}

function drawFigures({ texts, format }: Page, { view, points, evaluations }: DashboardState): void {
  const { name, runId, phase, rounds, workerCount, config, etaMs } = view!;
  const isStill = phase === 'paused' || phase === 'waiting' || phase === 'over';
  const figures = isStill ? undefined : figuresOf(points, roundCharacters(config));
  const write = (value: number | undefined, how: (n: number) => string): string => (value === undefined ? NOTHING : how(value));
  setText(the('wall-name'), name || runId);
  setClass(the('wall-phase'), `phase ${phase}`);
  setText(the('wall-phase'), texts.phase[phase]);
  const round = Math.max(view!.round, lastRound(points));
  setText(the('wall-round'), texts.roundOf(format.whole(round), format.whole(rounds)));
  setText(the('wall-eta'), etaMs === undefined ? '' : texts.eta(format.duration(etaMs)));
  setAttribute(the('wall-progress'), 'value', String(rounds > 0 ? round / rounds : 0));
  setText(the('wall-loss'), write(points.smoothedLoss.at(-1), format.loss));
  const last = evaluations.at(-1) ?? view!.validated;
  setText(the('wall-validation'), write(last && lossOf(last), format.loss));
  setText(the('wall-speed'), write(figures?.charsPerSecond, format.compact));
  setText(the('wall-workers'), format.whole(workerCount));
}

const SVG = 'http://www.w3.org/2000/svg';

/** Circles are moved, not made again, so that a wall can run for weeks. */
function createRing(root: SVGSVGElement): (dots: readonly Dot[]) => void {
  return (dots) => {
    while (root.childElementCount > dots.length) root.lastElementChild!.remove();
    while (root.childElementCount < dots.length) root.append(document.createElementNS(SVG, 'circle'));
    const radius = dots.length > 40 ? 1.2 : 2.2;
    dots.forEach(({ x, y, state }, i) => {
      const circle = root.children[i];
      setAttribute(circle, 'cx', x.toFixed(2));
      setAttribute(circle, 'cy', y.toFixed(2));
      setAttribute(circle, 'r', String(radius));
      setAttribute(circle, 'class', state);
    });
  };
}
