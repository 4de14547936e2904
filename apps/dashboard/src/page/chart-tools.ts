/** What the person chooses for the training charts: the x axis, smoothing, and the range of the loss. */
import { characterAxis, clockAxis, ROUND_AXIS, X_KINDS, type RoundAxis, type XKind } from '../reading/round-axis.js';
import { COORDINATORS, SMOOTHINGS } from '../reading/smoothing.js';
import type { DashboardState } from '../state/state.js';
import type { ChartSpec } from '../chart/spec.js';
import { make, setAttribute, setText, the } from './dom.js';
import type { Page } from './page.js';

export interface ChartSettings {
  readonly xKind: XKind;
  /** Rounds over which the loss is averaged. */
  readonly smoothing: number;
  /** Nats/char; absent: the curves decide. */
  readonly limits: { readonly low?: number; readonly high?: number };
}

export interface ChartTools {
  /** Its fields change; the object stays. */
  readonly settings: ChartSettings;
  /** Draws the texts, in the current language. */
  refresh(): void;
}

export function createChartTools(page: Page, onChange: (what: keyof ChartSettings) => void): ChartTools {
  const settings: { -readonly [K in keyof ChartSettings]: ChartSettings[K] } = {
    xKind: 'rounds',
    smoothing: COORDINATORS,
    limits: {},
  };
  const xKind = the('x-kind', HTMLSelectElement);
  const smoothing = the('smoothing', HTMLInputElement);
  const [low, high] = ['loss-low', 'loss-high'].map((id) => the(id, HTMLInputElement));
  const set = <K extends keyof ChartSettings>(key: K, value: ChartSettings[K]): void => {
    settings[key] = value;
    onChange(key);
  };
  xKind.addEventListener('change', () => set('xKind', xKind.value as XKind));
  smoothing.addEventListener('input', () => {
    set('smoothing', SMOOTHINGS[smoothing.valueAsNumber] ?? COORDINATORS);
    showSmoothing();
  });
  for (const field of [low, high]) {
    field.addEventListener('input', () => set('limits', { ...given('low', low), ...given('high', high) }));
  }
  return {
    settings,
    refresh() {
      xKind.replaceChildren(...X_KINDS.map((value) => make('option', { value, text: page.texts.xKinds[value] })));
      xKind.value = settings.xKind;
      for (const field of [low, high]) field.placeholder = page.texts.automatic;
      showSmoothing();
    },
  };

  function showSmoothing(): void {
    const text = page.texts.smoothingOver(page.format.whole(settings.smoothing));
    setText(the('smoothing-over'), text);
    setAttribute(smoothing, 'aria-valuetext', text);
  }
}

function given<K extends string>(key: K, { valueAsNumber }: HTMLInputElement): Partial<Record<K, number>> {
  return (Number.isFinite(valueAsNumber) ? { [key]: valueAsNumber } : {}) as Partial<Record<K, number>>;
}

/** The axis for the state as it is; a clock axis changes with every entry of the log. */
export function axisFor(kind: XKind, { view, points, events }: DashboardState): RoundAxis {
  if (kind === 'rounds' || !view) return ROUND_AXIS;
  return kind === 'characters' ? characterAxis(view.config) : clockAxis(points, events, view.startedAt);
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** Distances between labels of a clock, ms. */
const CLOCK_STEPS = [
  ...[1, 2, 5, 10, 20, 30].map((n) => n * SECOND),
  ...[1, 2, 5, 10, 20, 30].map((n) => n * MINUTE),
  ...[1, 2, 4, 8, 12].map((n) => n * HOUR),
  ...[1, 2, 5, 10, 20, 50, 100].map((n) => n * DAY),
];

/** How charts write their x values. Each call asks for the kind again, because people change it. */
export function xWords(page: Page, kind: () => XKind): Pick<ChartSpec, 'xLabel' | 'xFormat' | 'xSteps'> {
  return {
    xLabel: () => page.texts.xLabels[kind()],
    xFormat(x) {
      const { format } = page;
      switch (kind()) {
        case 'clock':
          return format.duration(Math.round(x / SECOND) * SECOND);
        case 'characters':
          return format.compact(x);
        default:
          return format.whole(x);
      }
    },
    xSteps: () => (kind() === 'clock' ? CLOCK_STEPS : undefined),
  };
}
