/** Gradient flow: this run's curve at any round, the curves of other cells beside it, and what they mean. */
import type { FlowState, GradientFlow } from '@troupe/run';
import { align, clippedFraction, stepNorms } from '../reading/curves.js';
import { reachOf, readFlow, relative, type Measured } from '../reading/flow.js';
import { comparableFlows, runLabel } from '../reading/runs.js';
import { shownWindow, type DashboardState } from '../state/state.js';
import { createChartGroup } from '../chart/chart.js';
import type { SeriesSpec } from '../chart/spec.js';
import { NOTHING } from '../reading/format.js';
import { make, setAttribute, setText, the } from './dom.js';
import { changed, type Page, type Panel } from './page.js';
import { runColour } from './runs.js';

/** At most this many runs are compared. */
const MAX_COMPARED = 6;
const HEIGHT = 260;

export function createFlow(page: Page): Panel {
  const slider = the('flow-slider', HTMLInputElement);
  let [following, layers, shown] = [true, 0, ''];
  let round: number | undefined;
  let state: FlowState = 'h';
  const figure = (n: number): string => page.format.figure(n);
  const common = { xLabel: () => page.texts.stepsBack, namesX: true, height: HEIGHT, format: figure, log: true, series: [] };
  const group = createChartGroup({ words: page, name: 'steps' });
  const now = group.add({
    ...common,
    title: () => page.texts.flowNow,
    unit: () =>
      round === undefined ? page.texts.flowNone : page.texts.flowAt(page.format.whole(round), page.texts.flowStates[state]),
  });
  const others = group.add({ ...common, title: () => page.texts.flowCompare, unit: () => '' });
  the('flow-now').append(now.root);
  the('flow-others').append(others.root);
  slider.addEventListener('input', () => {
    following = Number(slider.value) === page.state.flows.length - 1;
    drawNow(page.state);
  });
  the('flow-newest').addEventListener('click', () => {
    following = true;
    drawNow(page.state);
  });

  return (state, before) => {
    if (!before) {
      now.refresh();
      others.refresh();
    }
    if (changed(state, before, 'flows') || state.view?.config.clip !== before?.view?.config.clip) drawNow(state);
    if (changed(state, before, 'flows', 'runs')) drawOthers(state, before === undefined);
  };

  function drawNow(of: DashboardState): void {
    const { flows } = of;
    the('flow-tools').hidden = flows.length < 2;
    setAttribute(slider, 'max', String(Math.max(0, flows.length - 1)));
    if (following) slider.value = String(flows.length - 1);
    const flow = flows.at(following ? -1 : Number(slider.value));
    round = flow?.round;
    state = flow?.state ?? 'h';
    setAttribute(slider, 'aria-label', page.texts.flowSlider);
    setAttribute(slider, 'aria-valuetext', page.format.whole(round ?? 0));
    if (flow && flow.layers.length !== layers) {
      layers = flow.layers.length;
      now.replace(flow.layers.map((_, i) => layerSeries(page, i, figure)));
    }
    const x = steps(flow?.layers[0] ?? []);
    now.draw({ x, curves: flow?.layers ?? [] }, 0, Math.max(1, x.length - 1));
    drawLessons(page, of, flow);
  }

  function drawOthers({ runs, flows, view }: DashboardState, texts: boolean): void {
    const compared = comparableFlows(runs ?? [], flows).slice(0, MAX_COMPARED);
    setText(the('flow-others-hint'), compared.length > 1 ? page.texts.flowCompareHint : page.texts.flowCompareNone);
    const names = JSON.stringify([compared.map(({ run }) => run.folder), view?.runId]);
    if (names !== shown || texts) {
      shown = names;
      others.replace(
        compared.map(({ run }, i) => ({
          label: () => runLabel(run, runs ?? [], page.texts.runCurrent),
          colour: runColour(i),
          format: figure,
        })),
      );
    }
    const parts = compared.map(({ norms }) => ({ x: steps(norms), curves: [relative(norms)] }));
    const plot = parts.length > 0 ? align(parts) : { x: [], curves: [] };
    others.draw(plot, 0, Math.max(1, plot.x.length - 1));
    drawCompared(
      page,
      compared.map(({ run, round: after, ...flow }) => ({
        label: runLabel(run, runs ?? [], page.texts.runCurrent),
        after,
        ...flow,
      })),
    );
  }
}

interface Compared {
  readonly label: string;
  /** [T], of the top layer. */
  readonly norms: readonly number[];
  /** Rounds that were completed when it was computed. */
  readonly after: number;
  readonly state: FlowState;
}

/** A table of how far back each cell can learn. */
function drawCompared({ texts, format }: Page, runs: readonly Compared[]): void {
  const table = the('flow-compared', HTMLTableElement);
  const scroll = the('flow-scroll');
  scroll.hidden = runs.length < 2;
  setAttribute(scroll, 'aria-label', texts.flowCompare);
  const heads = [texts.runName, texts.flowState, texts.flowAfter, texts.flowReach, texts.flowLeft];
  const rows = runs.map(({ label, norms, after, state }, i) => {
    const swatch = make('i', { className: 'swatch' });
    swatch.style.setProperty('--colour', `var(${runColour(i)})`);
    const reach = reachOf(norms);
    const cells = [
      texts.flowStates[state],
      format.whole(after),
      reach === undefined ? texts.flowReachAll(format.whole(norms.length - 1)) : texts.flowReachSteps(format.whole(reach)),
      norms[0] > 0 ? format.percent(norms[norms.length - 1] / norms[0]) : NOTHING,
    ];
    const name = make('th', { scope: 'row' }, swatch, make('span', { text: label }));
    return make('tr', {}, name, ...cells.map((text) => make('td', { text })));
  });
  const head = make('tr', {}, ...heads.map((text) => make('th', { text, scope: 'col' })));
  table.replaceChildren(make('thead', {}, head), make('tbody', {}, ...rows));
}

const steps = (norms: readonly number[]): number[] => norms.map((_, i) => i);

function layerSeries(page: Page, index: number, format: (n: number) => string): SeriesSpec {
  return { label: () => page.texts.layer(page.format.whole(index + 1)), colour: runColour(index), format };
}

function clipLesson({ texts, format }: Page, state: DashboardState): string {
  const clip = state.view?.config.clip ?? 0;
  if (clip === 0) return texts.flowNoClip;
  if (stepNorms(state.view?.config).ofDifference) return texts.flowClipSteps(format.figure(clip));
  return texts.flowClip(format.figure(clip), format.percent(clippedFraction(shownWindow(state).points)));
}

function drawLessons(page: Page, state: DashboardState, flow: GradientFlow | undefined): void {
  const measured = { cell: state.view?.config.model.cell ?? '', state: flow?.state };
  const sentences = (flow?.layers ?? []).flatMap((norms, i) =>
    lesson(page, norms, measured, page.texts.layer(page.format.whole(i + 1))),
  );
  if (flow) sentences.push(clipLesson(page, state));
  const list = the('flow-lessons');
  if (list.childElementCount !== sentences.length) list.replaceChildren(...sentences.map(() => make('li')));
  sentences.forEach((text, i) => setText(list.children[i], text));
}

function lesson({ texts, format }: Page, norms: readonly number[], measured: Measured, layer: string): string[] {
  const reading = readFlow(norms, measured);
  switch (reading.kind) {
    case 'vanishing':
      return [texts.flowVanishing(layer, format.whole(reading.reach))];
    case 'fading':
      return [texts.flowFading(layer, format.whole(reading.reach))];
    case 'exploding':
      return [texts.flowExploding(layer, format.whole(reading.factor))];
    case 'steady':
      return [texts.flowSteady(layer, format.percent(reading.left), format.whole(reading.steps))];
    case 'hidden':
      return [texts.flowHidden(layer)];
    case 'unknown':
      return [];
    default:
      return reading satisfies never;
  }
}
