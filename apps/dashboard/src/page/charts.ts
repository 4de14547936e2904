/** The training curves, over one range of rounds. */
import { chanceInView, gradientPlot, lossPlot, speedPlot, stepNorms, timePlot, type Plot } from '../reading/curves.js';
import { MARKER_KINDS, markersOf, SIGNS } from '../reading/markers.js';
import { ROUND_AXIS, type RoundAxis, type XKind } from '../reading/round-axis.js';
import { COORDINATORS, smoothed } from '../reading/smoothing.js';
import { lastRound } from '../state/columns.js';
import { shownWindow, zoomed, type DashboardState, type Range } from '../state/state.js';
import { createChartGroup, type Chart } from '../chart/chart.js';
import type { ChartSpec, SeriesSpec } from '../chart/spec.js';
import { axisFor, createChartTools, xWords, type ChartSettings } from './chart-tools.js';
import { make, setAttribute, setText, the } from './dom.js';
import { changed, type Page, type Panel } from './page.js';

/** How many of the last rounds can be shown. */
const LAST = [1_000, 200] as const;

export function createCharts(page: Page): Panel {
  const choose = (range: Range): void => page.dispatch({ type: 'range', range });
  let axis: RoundAxis = ROUND_AXIS;
  const tools = createChartTools(page, (change) => {
    if (change === 'xKind') for (const chart of Object.values(charts)) chart.refresh();
    draw(page.state);
  });
  const group = createChartGroup({
    words: page,
    name: 'rounds',
    onZoom: (range) => choose(range ? roundsOf(range, axis) : 'all'),
    onStep: (factor) => choose(zoomed(page.state, factor)),
    announcer: the('reading'),
  });
  const charts = Object.fromEntries(
    Object.entries(specs(page, tools.settings, () => axis)).map(([name, spec]) => [name, group.add(spec)]),
  ) as Record<ChartName, Chart>;
  charts.loss.root.classList.add('wide');
  the('chart-grid').append(...Object.values(charts).map(({ root }) => root));
  const buttons = createRangeButtons(page, choose);

  return (state, before) => {
    if (!before) for (const chart of Object.values(charts)) chart.refresh();
    buttons(before === undefined);
    if (!before) tools.refresh();
    if (changed(state, before, 'events')) drawMarkers(page);
    if (before && state.view?.config.localSteps !== before.view?.config.localSteps) charts.gradient.refresh();
    const clipChanged = state.view?.config.clip !== before?.view?.config.clip;
    if (changed(state, before, 'points', 'detail', 'range', 'evaluations', 'events') || clipChanged) draw(state);
  };

  function draw(state: DashboardState): void {
    const { from, to, points } = shownWindow(state);
    const { clip } = stepNorms(state.view?.config);
    const { smoothing, xKind } = tools.settings;
    axis = axisFor(xKind, state);
    const over = ({ x, curves }: Plot): Plot => ({ x: x.map(axis.toX), curves });
    const show = (chart: Chart, plot: Plot): void => chart.draw(over(plot), axis.toX(from), axis.toX(to));
    const chance = chanceInView(points, from, to, state.view?.config.model.vocabulary);
    const own = smoothing === COORDINATORS ? points.smoothedLoss : smoothed(points.round, points.trainLoss, smoothing);
    show(charts.loss, lossPlot({ ...points, smoothedLoss: own }, state.evaluations, chance));
    show(charts.gradient, gradientPlot(points, clip));
    show(charts.time, timePlot(points));
    show(charts.speed, speedPlot(points, state.view?.config));
    show(charts.rate, { x: points.round, curves: [points.learningRate] });
  }
}

/** At least two rounds. */
function roundsOf(range: { from: number; to: number }, axis: RoundAxis): { from: number; to: number } {
  const [from, to] = [range.from, range.to].map((x) => Math.max(0, Math.round(axis.toRound(x))));
  return { from, to: Math.max(to, from + 2) };
}

/** What the signs in the chart mean; only of those that occur. */
function drawMarkers({ state, texts }: Page): void {
  const kinds = new Set(markersOf(state.events).map(({ kind }) => kind));
  const items = MARKER_KINDS.filter((kind) => kinds.has(kind)).map((kind) =>
    make('li', {}, make('b', { text: SIGNS[kind] }), make('span', { text: texts.markers[kind] })),
  );
  the('markers').replaceChildren(...items);
  the('markers').hidden = items.length === 0;
}

type ChartName = 'loss' | 'gradient' | 'time' | 'speed' | 'rate';

function specs(page: Page, settings: ChartSettings, axis: () => RoundAxis): Record<ChartName, ChartSpec> {
  const { figure, loss, compact, duration } = {
    figure: (n: number) => page.format.figure(n),
    loss: (n: number) => page.format.loss(n),
    compact: (n: number) => page.format.compact(n),
    duration: (n: number) => page.format.duration(n),
  };
  const x = xWords(page, () => settings.xKind satisfies XKind);
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
  const small = { ...x, height: 215 };
  return {
    loss: {
      title: () => page.texts.lossTitle,
      unit: () => page.texts.lossUnit,
      ...x,
      height: 340,
      limits: () => settings.limits,
      marks: () => markersOf(page.state.events).map(({ round, kind }) => ({ x: axis().toX(round), sign: SIGNS[kind] })),
      format: figure,
      log: false,
      series: [
        { ...series(() => page.texts.train, 1, loss, 'thin'), colour: '--series-1-faint' },
        series(() => page.texts.smoothed, 1, loss),
        series(() => page.texts.validation, 2, loss),
        series(() => page.texts.chance, 4, loss, 'dashed'),
        series(() => page.texts.validationAverage, 3, loss),
      ],
    },
    gradient: {
      ...small,
      title: () => (stepNorms(page.state.view?.config).ofDifference ? page.texts.differenceTitle : page.texts.gradientTitle),
      unit: () => (stepNorms(page.state.view?.config).ofDifference ? page.texts.differenceUnit : page.texts.gradientUnit),
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
