/** A chart with its legend, its crosshair, its keys and its text alternative. */
import type uPlot from 'uplot';
import { nearest, type Plot } from '../reading/curves.js';
import { make, saveFile, setAttribute, setText } from '../page/dom.js';
import { canvasData, createCanvas, css } from './canvas.js';
import { pictureHeight, toCsv, toSvg } from './export.js';
import { createLegend, createTable, reading, summary, type FileFormat } from './legend.js';
import { toPng } from './png.js';
import type { ChartSpec, SeriesSpec, Shown, Words } from './spec.js';

export interface Chart {
  readonly root: HTMLElement;
  /** Draws `plot` between the x values `from` and `to`. */
  draw(plot: Plot, from: number, to: number): void;
  /** Gives the chart other curves. */
  replace(series: readonly SeriesSpec[]): void;
  /** Draws the texts again, in the current language. */
  refresh(): void;
}

export interface GroupOptions {
  readonly words: Words;
  /** Unique on the page. */
  readonly name: string;
  /** The person chose a range, or with undefined all of it. Absent: the charts cannot be zoomed. */
  readonly onZoom?: (range: { from: number; to: number } | undefined) => void;
  /** Keys + and -: the range changes by this factor. */
  readonly onStep?: (factor: number) => void;
  /** A live region for the values under a crosshair that the keyboard moves. */
  readonly announcer?: HTMLElement;
}

/** Charts over the same x: they share one crosshair and one zoom. */
export interface ChartGroup {
  add(spec: ChartSpec): Chart;
}

/** A chart as its group sees it. */
interface Member extends Chart {
  crosshair(x: number | undefined): void;
  /** The x value `step` points further, within the range that is shown. */
  neighbour(x: number | undefined, step: number): number | undefined;
  reading(x: number): string;
}

export function createChartGroup(options: GroupOptions): ChartGroup {
  const members: Member[] = [];
  let at: number | undefined;
  const show = (x: number | undefined): void => {
    at = x;
    for (const member of members) member.crosshair(x);
  };
  return {
    add(spec) {
      const member = createMember(spec, options, {
        step(by) {
          show(member.neighbour(at, by));
          if (options.announcer && at !== undefined) setText(options.announcer, member.reading(at));
        },
        leave: () => show(undefined),
      });
      members.push(member);
      return member;
    },
  };
}

interface Keys {
  step(by: number): void;
  leave(): void;
}

function createMember(spec: ChartSpec, options: GroupOptions, keys: Keys): Member {
  const { words } = options;
  let shown: Shown = nothing(spec.series);
  let log = spec.log ?? false;
  let canvas: uPlot | undefined;
  /** A chart out of sight is drawn when it comes into view. */
  let [visible, stale] = [false, true];
  const legend = createLegend(spec, words);
  const table = createTable(
    spec,
    words,
    () => shown,
    (format) => void save(format),
  );
  const frame = createFrame(spec, words, [legend.root, table.root]);

  frame.logButton.addEventListener('click', () => {
    log = !log;
    rebuild();
  });
  listenForKeys(frame.place, options, keys, () => shown.plot.x.length);
  new ResizeObserver(() => canvas?.setSize({ width: frame.place.clientWidth, height: spec.height })).observe(frame.place);
  new IntersectionObserver((entries) => {
    visible = entries.some(({ isIntersecting }) => isIntersecting);
    if (visible && stale) paint();
  }).observe(frame.root);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => canvas?.redraw());
  refresh();
  return { root: frame.root, draw, replace, refresh, crosshair, neighbour, reading: read };

  function draw(plot: Plot, from: number, to: number): void {
    shown = { ...shown, plot, from, to };
    frame.setEmpty(plot.x.length === 0);
    stale = true;
    if (visible) paint();
  }

  function paint(): void {
    stale = false;
    if (shown.plot.x.length > 0)
      canvas ??= createCanvas({ words, spec, shown, log, group: options.name, onCursor, onZoom: options.onZoom }, frame.place);
    canvas?.batch((self: uPlot) => {
      self.setData(canvasData(spec, shown, log), false);
      self.setScale('x', { min: shown.from, max: shown.to });
    });
    onCursor(canvas?.cursor.idx);
    setAttribute(frame.place, 'aria-label', summary(spec, shown, words));
    table.update();
  }

  async function save(format: FileFormat): Promise<void> {
    const { min, max } = canvas?.scales.y ?? {};
    const [low, high] = [min ?? 0, max ?? 1];
    const width = Math.max(MIN_PICTURE, frame.place.clientWidth);
    const picture = (): string => toSvg(spec, shown, { width, log, low, high, colour: css });
    if (format === 'csv') return download(new Blob([toCsv(spec, shown)], { type: 'text/csv' }), spec, format);
    if (format === 'svg') return download(new Blob([picture()], { type: 'image/svg+xml' }), spec, format);
    return download(await toPng(picture(), width, pictureHeight(spec)), spec, format);
  }

  function onCursor(index: number | null | undefined): void {
    legend.read(shown, index);
  }

  function rebuild(): void {
    canvas?.destroy();
    canvas = undefined;
    stale = true;
    setAttribute(frame.logButton, 'aria-pressed', String(log));
    if (visible) paint();
  }

  function replace(series: readonly SeriesSpec[]): void {
    shown = nothing(series);
    refresh();
  }

  function refresh(): void {
    frame.setTexts();
    legend.setTexts(shown);
    table.update();
    rebuild();
  }

  function crosshair(x: number | undefined): void {
    if (canvas)
      canvas.setCursor({ left: x === undefined ? -10 : canvas.valToPos(x, 'x'), top: x === undefined ? -10 : spec.height / 3 });
  }

  function neighbour(x: number | undefined, step: number): number | undefined {
    const { plot, from, to } = shown;
    const index = x === undefined ? (step > 0 ? -1 : plot.x.length) : nearest(plot.x, x);
    const next = plot.x[Math.max(0, Math.min(plot.x.length - 1, index + step))];
    return next === undefined ? undefined : Math.max(from, Math.min(to, next));
  }

  function read(x: number): string {
    return reading(spec, shown, nearest(shown.plot.x, x), words);
  }
}

/** CSS pixels: a narrower picture would have no room for its legend. */
const MIN_PICTURE = 640;

function download(blob: Blob, spec: ChartSpec, format: FileFormat): void {
  saveFile(blob, `${spec.title().toLowerCase().replaceAll(' ', '-')}.${format}`);
}

function nothing(series: readonly SeriesSpec[]): Shown {
  return { series, plot: { x: [], curves: series.map(() => []) }, from: 0, to: 1 };
}

interface Frame {
  readonly root: HTMLElement;
  /** The chart is drawn in it; it takes the focus. */
  readonly place: HTMLElement;
  readonly logButton: HTMLButtonElement;
  setTexts(): void;
  setEmpty(isEmpty: boolean): void;
}

function createFrame(spec: ChartSpec, words: Words, [legend, table]: readonly HTMLElement[]): Frame {
  const title = make('h3');
  const unit = make('span', { className: 'hint' });
  const logButton = make('button', { type: 'button', className: 'small toggle', hidden: spec.log === undefined });
  const empty = make('p', { className: 'hint empty' });
  const place = make('div', { className: 'plot', tabIndex: 0 });
  place.setAttribute('role', 'group');
  place.style.height = `${spec.height}px`;
  const root = make(
    'figure',
    { className: 'chart' },
    make('figcaption', {}, title, unit, logButton),
    legend,
    place,
    empty,
    table,
  );
  return {
    root,
    place,
    logButton,
    setTexts() {
      setText(title, spec.title());
      setText(unit, spec.unit());
      setText(logButton, words.texts.logScale);
      setAttribute(logButton, 'aria-label', `${words.texts.logScale}: ${spec.title()}`);
      setText(empty, words.texts.noData);
      setAttribute(place, 'aria-label', spec.title());
    },
    setEmpty(isEmpty) {
      setText(unit, spec.unit());
      if (empty.hidden === isEmpty) empty.hidden = !isEmpty;
    },
  };
}

/** Arrow keys move the crosshair by one point, with Shift by a twentieth of all points. */
function listenForKeys(place: HTMLElement, { onZoom, onStep }: GroupOptions, keys: Keys, length: () => number): void {
  place.addEventListener('blur', () => keys.leave());
  place.addEventListener('keydown', (event) => {
    const stride = event.shiftKey ? Math.max(1, Math.round(length() / 20)) : 1;
    const actions: Readonly<Record<string, () => void>> = {
      ArrowLeft: () => keys.step(-stride),
      ArrowRight: () => keys.step(stride),
      Home: () => keys.step(-Infinity),
      End: () => keys.step(Infinity),
      '+': () => onStep?.(0.5),
      '=': () => onStep?.(0.5),
      '-': () => onStep?.(2),
      '0': () => onZoom?.(undefined),
      Escape: () => keys.leave(),
    };
    const action = event.ctrlKey || event.metaKey || event.altKey ? undefined : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
