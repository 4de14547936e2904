/** The training curves, over one range of rounds. */
import { chanceInView, gradientPlot, lossPlot, timePlot } from '../reading/curves.js';
import { lastRound } from '../state/columns.js';
import { shownWindow, zoomed, type Range } from '../state/state.js';
import { createChartGroup, type Chart } from '../chart/chart.js';
import type { ChartSpec, SeriesSpec } from '../chart/spec.js';
import { make, setAttribute, setText, the } from './dom.js';
import { changed, type Page, type Panel } from './page.js';

/** How many of the last rounds can be shown. */
const LAST = [1_000, 200] as const;

export function createCharts(page: Page): Panel {
  const choose = (range: Range): void => page.dispatch({ type: 'range', range });
  const group = createChartGroup({
    words: page,
    name: 'rounds',
    onZoom: (range) => choose(range ?? 'all'),
    onStep: (factor) => choose(zoomed(page.state, factor)),
    announcer: the('reading'),
  });
  const charts = Object.fromEntries(Object.entries(specs(page)).map(([name, spec]) => [name, group.add(spec)])) as Record<
    ChartName,
    Chart
  >;
  charts.loss.root.classList.add('wide');
  the('chart-grid').append(...Object.values(charts).map(({ root }) => root));
  const buttons = createRangeButtons(page, choose);

  return (state, before) => {
    if (!before) for (const chart of Object.values(charts)) chart.refresh();
    buttons(before === undefined);
    const clip = state.view?.config.clip ?? 0;
    if (!changed(state, before, 'points', 'detail', 'range', 'evaluations') && clip === before?.view?.config.clip) return;
    const { from, to, points } = shownWindow(state);
    const chance = chanceInView(points, from, to, state.view?.config.model.vocabulary);
    charts.loss.draw(lossPlot(points, state.evaluations, chance), from, to);
    charts.gradient.draw(gradientPlot(points, clip), from, to);
    charts.time.draw(timePlot(points), from, to);
    charts.speed.draw({ x: points.round, curves: [points.charsPerSecond] }, from, to);
    charts.rate.draw({ x: points.round, curves: [points.learningRate] }, from, to);
  };
}

type ChartName = 'loss' | 'gradient' | 'time' | 'speed' | 'rate';

function specs(page: Page): Record<ChartName, ChartSpec> {
  const { figure, loss, compact, duration } = {
    figure: (n: number) => page.format.figure(n),
    loss: (n: number) => page.format.loss(n),
    compact: (n: number) => page.format.compact(n),
    duration: (n: number) => page.format.duration(n),
  };
  const xLabel = (): string => page.texts.round;
  const series = (
    label: () => string,
    colour: number,
    format: (n: number) => string,
    style: SeriesSpec['style'] = 'line',
  ): SeriesSpec => ({ label, colour: `--series-${colour}`, format, style });
  const area = (label: () => string, colour: number): SeriesSpec => ({
    ...series(label, 1, duration, 'area'),
    colour: `--area-${colour}`,
  });
  const small = { xLabel, height: 215 };
  return {
    loss: {
      title: () => page.texts.lossTitle,
      unit: () => page.texts.lossUnit,
      xLabel,
      height: 340,
      format: figure,
      log: false,
      series: [
        { ...series(() => page.texts.train, 1, loss, 'thin'), colour: '--series-1-faint' },
        series(() => page.texts.smoothed, 1, loss),
        series(() => page.texts.validation, 2, loss),
        series(() => page.texts.chance, 4, loss, 'dashed'),
      ],
    },
    gradient: {
      ...small,
      title: () => page.texts.gradientTitle,
      unit: () => page.texts.gradientUnit,
      format: figure,
      log: true,
      series: [
        series(() => page.texts.norm, 1, figure, 'thin'),
        series(() => page.texts.clipped, 2, figure, 'points'),
        { ...series(() => page.texts.clipLine, 2, figure, 'dashed') },
      ],
    },
    time: {
      ...small,
      title: () => page.texts.timeTitle,
      unit: () => page.texts.timeUnit,
      format: duration,
      stack: true,
      cutsPeaks: true,
      series: [
        area(() => page.texts.compute, 1),
        area(() => page.texts.transfer, 2),
        area(() => page.texts.reduceTime, 3),
        area(() => page.texts.waiting, 4),
      ],
    },
    speed: {
      ...small,
      title: () => page.texts.speedTitle,
      unit: () => page.texts.speedUnit,
      format: compact,
      series: [series(() => page.texts.speed, 3, compact)],
    },
    rate: {
      ...small,
      title: () => page.texts.rateTitle,
      unit: () => '',
      format: figure,
      log: false,
      series: [series(() => page.texts.rate, 4, figure)],
    },
  };
}

/** Buttons for the range: the charts can then be zoomed without a mouse. */
function createRangeButtons(page: Page, choose: (range: Range) => void): (texts: boolean) => void {
  const button = (onClick: () => void): HTMLButtonElement => {
    const made = make('button', { type: 'button', className: 'small' });
    made.addEventListener('click', onClick);
    return made;
  };
  const all = button(() => choose('all'));
  const last = LAST.map((count) => button(() => choose({ last: count })));
  const zoomIn = button(() => choose(zoomed(page.state, 0.5)));
  const zoomOut = button(() => choose(zoomed(page.state, 2)));
  const bar = the('range');
  bar.append(all, ...last, zoomIn, zoomOut);
  return (texts) => {
    const { range, points } = page.state;
    setAttribute(all, 'aria-pressed', String(range === 'all'));
    LAST.forEach((count, i) => {
      setAttribute(last[i], 'aria-pressed', String(typeof range === 'object' && 'last' in range && range.last === count));
      last[i].disabled = lastRound(points) <= count;
    });
    if (!texts) return;
    setAttribute(bar, 'aria-label', page.texts.range);
    setText(all, page.texts.rangeAll);
    LAST.forEach((count, i) => setText(last[i], page.texts.rangeLast(page.format.whole(count))));
    setText(zoomIn, '+');
    setText(zoomOut, '−');
    setAttribute(zoomIn, 'aria-label', page.texts.zoomIn);
    setAttribute(zoomOut, 'aria-label', page.texts.zoomOut);
  };
}
