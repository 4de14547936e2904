/** The log of the run, newest entry first. */
import { sentence } from '@troupe/protocol/text';
import type { EventKind, LoggedEvent } from '@troupe/run';
import { langOf, translated } from '../reading/translate.js';
import { logUpdate, MAX_ENTRIES } from '../reading/log.js';
import type { DashboardState } from '../state/state.js';
import { make, setAttribute, setText, the } from './dom.js';
import { changed, type Page, type Panel } from './page.js';

export function createEvents(page: Page): Panel {
  const filter = the('event-filter', HTMLSelectElement);
  const list = the('event-list');
  let kind: EventKind | undefined;
  /** What the list shows; undefined: it must be drawn again as a whole. */
  let drawn: DashboardState | undefined;
  filter.addEventListener('change', () => {
    kind = (filter.value || undefined) as EventKind | undefined;
    drawn = undefined;
    draw(page.state);
  });
  return (state, before) => {
    if (!before) {
      fillFilter(page, filter, kind);
      drawn = undefined;
    }
    if (changed(state, before, 'events')) draw(state);
  };

  function draw(state: DashboardState): void {
    const { replaces, entries } = logUpdate(state, drawn, kind);
    drawn = state;
    const elements = entries.map((event) => createEntry(page, event));
    if (replaces) list.replaceChildren(...elements);
    else list.prepend(...elements);
    while (list.childElementCount > MAX_ENTRIES) list.lastElementChild!.remove();
    the('events-none').hidden = list.childElementCount > 0;
    the('event-log').hidden = list.childElementCount === 0;
  }
}

function fillFilter({ texts }: Page, filter: HTMLSelectElement, kind: EventKind | undefined): void {
  const kinds = Object.keys(texts.eventKinds) as EventKind[];
  filter.replaceChildren(
    make('option', { value: '', text: texts.eventAll }),
    ...kinds.map((value) => make('option', { value, text: texts.eventKinds[value] })),
  );
  filter.value = kind ?? '';
}

function createEntry({ texts, format, language }: Page, { at, round, kind, level, text, remedy }: LoggedEvent): HTMLElement {
  const time = make('time', { text: format.clock(at) });
  setAttribute(time, 'datetime', new Date(at).toISOString());
  const shown = translated(text, language);
  const what = make('span', {
    className: 'what',
    lang: langOf(shown.language),
    text: remedy ? sentence(shown.text) : shown.text,
  });
  if (remedy) what.append(make('span', { className: 'hint', lang: 'en', text: ` ${remedy}` }));
  const label = make('span', { className: `badge ${kind}` });
  setText(label, texts.eventKinds[kind]);
  return make(
    'li',
    { className: level },
    time,
    make('span', { className: 'hint', text: texts.eventRound(format.whole(round)) }),
    label,
    what,
  );
}
