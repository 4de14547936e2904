/** What happened to the run, for marks in the chart of the loss. */
import type { LoggedEvent } from '@troupe/run';

export const MARKER_KINDS = ['joined', 'paused', 'resumed', 'rate', 'continued'] as const;
export type MarkerKind = (typeof MARKER_KINDS)[number];

/** One character that stands above the line. */
export const SIGNS: Readonly<Record<MarkerKind, string>> = { joined: '+', paused: '‖', resumed: '▸', rate: 'η', continued: '↻' };

export interface Marker {
  /** Rounds completed when it happened. */
  readonly round: number;
  readonly kind: MarkerKind;
}

/** The coordinator's texts, which are English in every language of the page. */
const PATTERNS: readonly (readonly [MarkerKind, LoggedEvent['kind'], RegExp])[] = [
  ['joined', 'worker', / joined(:|$)/],
  ['paused', 'decision', /^paused by /],
  ['resumed', 'decision', /^resumed by /],
  ['rate', 'control', /learning rate/],
  ['continued', 'note', /^the run continues from round /],
];

/** One marker for all events of a kind in a round. */
export function markersOf(events: readonly LoggedEvent[]): Marker[] {
  const markers = new Map<string, Marker>();
  for (const { round, kind, text } of events) {
    const found = PATTERNS.find(([, of, pattern]) => kind === of && pattern.test(text));
    if (found) markers.set(`${found[0]} ${round}`, { round, kind: found[0] });
  }
  return [...markers.values()];
}
